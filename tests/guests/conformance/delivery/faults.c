/* Faults while an event is delivered: error codes (SDM vol. 3, 6.13), double faults (table 6-5), and that what could not be
 * delivered comes again. */
#include "tests.h"

#include "apic.h"
#include "conformance.h"
#include "interrupts.h"
#include "machine.h"
#include "provoke.h"

#define VECTOR_ABSENT 0x91
#define QEMU_CODE "has the index times 16 in long mode, and never EXT; vol. 3, 6.13"

void test_gates(void)
{
	topic("a gate that is not present");
	set_handler(VECTOR_NP, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	set_gate_present(VECTOR_ABSENT, false);
	PROVOKE("int $0x91", "b"(0));
	CHECK("INT n vector", seen.vector, VECTOR_NP);
	CHECK_NOT_QEMU("INT n error code", seen.error_code, GATE_CODE(VECTOR_ABSENT), QEMU_CODE);
	CHECK("INT n at the instruction", seen.rip == at_rip, 1);

	set_gate_present(VECTOR_UD, false);
	PROVOKE("ud2", "b"(0));
	CHECK("UD2 vector", seen.vector, VECTOR_NP);
	CHECK_NOT_QEMU("UD2 error code", seen.error_code, GATE_CODE(VECTOR_UD) | EXTERNAL, QEMU_CODE);
	CHECK("UD2 at the instruction", seen.rip == at_rip, 1);
	set_gate_present(VECTOR_UD, true);

	seen = (struct seen){ 0 };
	set_gate_present(VECTOR_TEST, false);
	apic_send(0, ICR_SELF | ICR_ASSERT | VECTOR_TEST);
	__asm__ volatile("leaq 1f(%%rip), %%rax; movq %%rax, %0; sti; nop; nop; nop; nop; 1: cli" : "=m"(resume_rip) : : "rax");
	CHECK("interrupt vector", seen.vector, VECTOR_NP);
	CHECK_NOT_QEMU("interrupt error code", seen.error_code, GATE_CODE(VECTOR_TEST) | EXTERNAL, QEMU_CODE);
	apic_eoi();
	set_gate_present(VECTOR_TEST, true);
}

/* The second fault is #NP, of the first one's gate, or #PF, of the first one's stack. */
#define AFTER_ABSENT_GATE(name, first, expected, instruction)           \
	do {                                                            \
		set_gate_present(first, false);                         \
		PROVOKE_AFTER("movl $1, %%eax; xorl %%edx, %%edx", instruction, "b"(0)); \
		set_gate_present(first, true);                          \
		CHECK(name ", then #NP vector", seen.vector, expected); \
		CHECK(name ", then #NP exceptions", seen.count, 1);     \
	} while (0)

#define AFTER_ABSENT_STACK(name, first, expected, instruction)          \
	do {                                                            \
		gate_set_stack(first, IST_FRAGILE);                     \
		fragile_stack_map(false);                               \
		PROVOKE_AFTER("movl $1, %%eax; xorl %%edx, %%edx", instruction, "b"(0)); \
		fragile_stack_map(true);                                \
		gate_set_stack(first, 0);                               \
		CHECK(name ", then #PF vector", seen.vector, expected); \
		CHECK(name ", then #PF exceptions", seen.count, 1);     \
	} while (0)

#define DIVIDE "divl %%ebx"
#define LOAD_BAD_SELECTOR "movl $0x1230, %%eax; movl %%eax, %%ds"
#define LOAD_UNMAPPED "movl 0xffffffffc0000000, %%eax"

void test_double_faults(void)
{
	topic("double faults");
	set_handler(VECTOR_DE, skip_fault);
	set_handler(VECTOR_PF, skip_fault);
	set_handler(VECTOR_DF, skip_fault);
	set_handler(VECTOR_UD, skip_fault);
	set_handler(VECTOR_BP, skip_fault);
	AFTER_ABSENT_GATE("#UD", VECTOR_UD, VECTOR_NP, "ud2");
	AFTER_ABSENT_GATE("INT3", VECTOR_BP, VECTOR_NP, "int3");
	AFTER_ABSENT_GATE("#DE", VECTOR_DE, VECTOR_DF, DIVIDE);
	CHECK("double fault error code", seen.error_code, 0);
	AFTER_ABSENT_GATE("#GP", VECTOR_GP, VECTOR_DF, LOAD_BAD_SELECTOR);
	AFTER_ABSENT_GATE("#PF", VECTOR_PF, VECTOR_DF, LOAD_UNMAPPED);
	gate_set_stack(VECTOR_PF, IST_SAFE);
	AFTER_ABSENT_STACK("#UD", VECTOR_UD, VECTOR_PF, "ud2");
	CHECK("CR2 below the stack", seen.cr2 < fragile_stack_top() && seen.cr2 >= fragile_stack_top() - 64, 1);
	CHECK("error code of a push", seen.error_code, 2);
	AFTER_ABSENT_STACK("#DE", VECTOR_DE, VECTOR_PF, DIVIDE);
	AFTER_ABSENT_STACK("#GP", VECTOR_GP, VECTOR_PF, LOAD_BAD_SELECTOR);
	AFTER_ABSENT_STACK("#PF", VECTOR_PF, VECTOR_DF, LOAD_UNMAPPED);
	gate_set_stack(VECTOR_PF, 0);
}

static uint64_t delivered;

static void bring_stack_in(struct interrupt_frame *frame)
{
	record(frame);
	fragile_stack_map(true);
}

static void count(struct interrupt_frame *frame)
{
	(void)frame;
	delivered++;
}

static void divide_by_10(struct interrupt_frame *frame)
{
	delivered++;
	frame->rbx = 10;
}

/* What could not be delivered, since its stack was not there, comes when the page fault's handler returns. */
void test_restart(void)
{
	uint32_t quotient;

	topic("delivery after a page fault");
	set_handler(VECTOR_PF, bring_stack_in);
	gate_set_stack(VECTOR_PF, IST_SAFE);
	set_handler(VECTOR_DE, divide_by_10);
	gate_set_stack(VECTOR_DE, IST_FRAGILE);
	fragile_stack_map(false);
	seen.count = delivered = 0;
	__asm__ volatile("movl $1500, %%eax; xorl %%edx, %%edx; xorl %%ebx, %%ebx; divl %%ebx" : "=a"(quotient) : : "rbx", "rdx", "memory");
	CHECK("#DE page faults", seen.count, 1);
	CHECK("#DE delivered", delivered, 1);
	CHECK("#DE quotient", quotient, 150);
	gate_set_stack(VECTOR_DE, 0);

	set_handler(VECTOR_TEST, count);
	gate_set_stack(VECTOR_TEST, IST_FRAGILE);
	fragile_stack_map(false);
	seen.count = delivered = 0;
	__asm__ volatile("int %0" : : "i"(VECTOR_TEST) : "memory");
	CHECK("INT n page faults", seen.count, 1);
	CHECK("INT n delivered", delivered, 1);

	gate_set_stack(VECTOR_TEST, 0);
	gate_set_stack(VECTOR_BP, IST_FRAGILE);
	set_handler(VECTOR_BP, count);
	fragile_stack_map(false);
	seen.count = delivered = 0;
	__asm__ volatile("int3" : : : "memory");
	CHECK("INT3 page faults", seen.count, 1);
	CHECK("INT3 delivered", delivered, 1);
	gate_set_stack(VECTOR_BP, 0);
	gate_set_stack(VECTOR_PF, 0);
	fragile_stack_map(true);
}
