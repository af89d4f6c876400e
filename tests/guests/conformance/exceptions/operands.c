/* Memory operands: 16 bytes that are not aligned (SDM vol. 2, 2.4), and addresses that are not canonical (vol. 1,
 * 3.3.7.1). */
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "provoke.h"
#include "tests.h"

#define HOLE 0x0000800000000000ull

#define QEMU_TAKES_IT "is taken; vol. 2, 2.4, exception type 4"

#define MISALIGNED(name, instruction)                                                              \
	do {                                                                                       \
		PROVOKE(instruction, "b"(area + 8));                                               \
		CHECK_FAULT(name, VECTOR_GP, 0);                                                   \
	} while (0)

#define MISALIGNED_NOT_QEMU(name, instruction)                                                     \
	do {                                                                                       \
		PROVOKE(instruction, "b"(area + 8));                                               \
		CHECK_NOT_QEMU(name " exceptions", seen.count, 1, QEMU_TAKES_IT);                  \
		CHECK_NOT_QEMU(name " vector", seen.vector, VECTOR_GP, QEMU_TAKES_IT);             \
	} while (0)

#define UNALIGNED(name, instruction)                                                               \
	do {                                                                                       \
		PROVOKE(instruction, "b"(area + 1));                                               \
		CHECK_NO_FAULT(name);                                                              \
	} while (0)

void test_alignment(void)
{
	topic("16-byte operands");
	MISALIGNED_NOT_QEMU("MOVAPS from memory", "movaps (%%rbx), %%xmm0");
	MISALIGNED_NOT_QEMU("MOVAPS to memory", "movaps %%xmm0, (%%rbx)");
	MISALIGNED_NOT_QEMU("MOVDQA", "movdqa (%%rbx), %%xmm0");
	MISALIGNED_NOT_QEMU("MOVNTDQ", "movntdq %%xmm0, (%%rbx)");
	MISALIGNED_NOT_QEMU("MOVNTPS", "movntps %%xmm0, (%%rbx)");
	MISALIGNED_NOT_QEMU("ADDPS", "addps (%%rbx), %%xmm0");
	MISALIGNED_NOT_QEMU("PADDB", "paddb (%%rbx), %%xmm0");
	MISALIGNED_NOT_QEMU("PSHUFB", "pshufb (%%rbx), %%xmm0");
	MISALIGNED("FXSAVE", "fxsave (%%rbx)");
	MISALIGNED("CMPXCHG16B", "cmpxchg16b (%%rbx)");
	UNALIGNED("MOVUPS", "movups (%%rbx), %%xmm0");
	UNALIGNED("MOVDQU", "movdqu %%xmm0, (%%rbx)");
	UNALIGNED("LDDQU", "lddqu (%%rbx), %%xmm0");
	UNALIGNED("MOVSD", "movsd (%%rbx), %%xmm0");
	UNALIGNED("CVTPS2PD", "cvtps2pd (%%rbx), %%xmm0");
	UNALIGNED("PMOVZXBW", "pmovzxbw (%%rbx), %%xmm0");
	UNALIGNED("PCMPISTRI", "pcmpistri $0, (%%rbx), %%xmm0");
}

/* Vectors whose handlers run on the double fault's stack, whatever has become of RSP. */
static void on_own_stack(int vector, int ist)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} idt;

	__asm__ volatile("sidt %0" : "=m"(idt));
	((uint8_t *)(uintptr_t)idt.base)[vector * 16 + 4] = (uint8_t)ist;
}

static uint64_t stack_pointer;

/* RSP is `HOLE + above` while the instruction runs; the handler comes back to where it is put right. */
#define WITH_STACK(instruction, above)                                                                   \
	do {                                                                                             \
		seen = (struct seen){ 0 };                                                               \
		__asm__ volatile("movq %%rsp, %2; leaq 771f(%%rip), %%r11; movq %%r11, %0;"              \
				 "leaq 772f(%%rip), %%r11; movq %%r11, %1; movq %3, %%rsp;"              \
				 "771:" instruction "; 772: movq %2, %%rsp"                              \
				 : "=m"(at_rip), "=m"(resume_rip), "=m"(stack_pointer)                   \
				 : "r"(HOLE + (above))                                \
				 : "rax", "rcx", "rdx", "r11", "cc", "memory");                          \
	} while (0)

#define QEMU_GP "is #GP; vol. 1, 3.3.7.1"

#define STACK_FAULT(name, instruction, above)                                                            \
	do {                                                                                             \
		WITH_STACK(instruction, above);                                                          \
		CHECK(name " exceptions", seen.count, 1);                                                \
		CHECK_NOT_QEMU(name " vector", seen.vector, VECTOR_SS, QEMU_GP);                         \
		CHECK(name " error code", seen.error_code, 0);                                           \
		CHECK(name " at the instruction", seen.rip == at_rip, 1);                                \
	} while (0)

#define OPERAND(name, instruction, vector_)                                                              \
	do {                                                                                             \
		PROVOKE(instruction, "b"(HOLE), "S"(HOLE));                                              \
		CHECK_FAULT(name, vector_, 0);                                                           \
	} while (0)

void test_canonical(void)
{
	topic("non-canonical addresses");
	OPERAND("load", "movb (%%rbx), %%al", VECTOR_GP);
	OPERAND("store", "movb %%al, (%%rbx)", VECTOR_GP);
	OPERAND("LODS", "lodsb", VECTOR_GP);
	OPERAND("PUSH from there", "pushq (%%rbx)", VECTOR_GP);
	OPERAND("LGDT from there", "lgdt (%%rbx)", VECTOR_GP);
	on_own_stack(VECTOR_SS, 1);
	on_own_stack(VECTOR_GP, 1);
	STACK_FAULT("load by RSP", "movb 8(%%rsp), %%cl", 0);
	STACK_FAULT("PUSH", "pushq %%rax", 8);
	STACK_FAULT("PUSHF", "pushfq", 8);
	STACK_FAULT("POP", "popq %%rax", 0);
	STACK_FAULT("CALL", "call 772f", 8);
	STACK_FAULT("RET", "ret", 0);
	STACK_FAULT("IRET", "iretq", 0);
	PROVOKE("jmp *%%rbx", "b"(HOLE));
	CHECK("JMP to a hole vector", seen.vector, VECTOR_GP);
	CHECK_NOT_QEMU("JMP to a hole at the instruction", seen.rip == at_rip, 1, "RIP is where it led; vol. 2, JMP");
	on_own_stack(VECTOR_SS, 0);
	on_own_stack(VECTOR_GP, 0);
}
