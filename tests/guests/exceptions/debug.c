/* Single steps and data breakpoints in ring 0. */
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "paging.h"
#include "provoke.h"
#include "string.h"
#include "tests.h"

struct stepping stepping;

static uint64_t read_dr6(void)
{
	uint64_t value;

	__asm__ volatile("movq %%dr6, %0" : "=r"(value));
	return value;
}

static void clear_dr6(void)
{
	__asm__ volatile("movq %0, %%dr6" : : "r"(0xffff0ff0ull));
}

void step(struct interrupt_frame *frame)
{
	if (stepping.count < STEPS_MAX)
		stepping.rip[stepping.count] = frame->rip;
	stepping.count++;
	stepping.dr6 = read_dr6();
	if (stepping.count == 1)
		stepping.first_dr6 = stepping.dr6;
	clear_dr6();
	if (stepping.count >= stepping.wanted)
		frame->rflags &= ~(uint64_t)RFLAGS_TF;
}

void test_single_step(void)
{
	static uint8_t bytes[3];
	uint64_t first, copied = sizeof bytes;
	const void *source = user_code;
	void *target = bytes;

	topic("single step");
	set_handler(VECTOR_DB, step);
	clear_dr6();
	stepping.count = 0;
	stepping.wanted = 3;
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); leaq 1f(%%rip), %0; popfq; 1: nop; nop; nop"
			 : "=&r"(first)
			 :
			 : "cc", "memory");
	EXPECT("steps over three NOPs", stepping.count, 3);
	for (uint64_t i = 0; i < 3; i++)
		EXPECT("RIP after a step", stepping.rip[i], first + 1 + i);
	EXPECT("DR6.BS", stepping.dr6 >> 14 & 1, 1);

	/* A trap after each iteration (SDM vol. 3, section 17.3.1.4), the last leads to the NOP. */
	stepping.count = 0;
	stepping.wanted = 4;
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); leaq 1f(%%rip), %0; popfq; 1: rep movsb; nop"
			 : "=&r"(first), "+c"(copied), "+S"(source), "+D"(target)
			 :
			 : "cc", "memory");
	EXPECT("steps over REP MOVSB of 3 and a NOP", stepping.count, 4);
	EXPECT("RIP in the middle of REP", stepping.rip[1], first);
	EXPECT("RIP after REP", stepping.rip[2], first + 2);
	EXPECT("bytes copied", memcmp(bytes, user_code, sizeof bytes), 0);

	/* An interrupt gate clears TF for the handler; IRET brings it back, and it acts after the NOP. */
	stepping.count = 0;
	stepping.wanted = 1;
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); leaq 1f(%%rip), %0; popfq; 1: int3; nop"
			 : "=&r"(first)
			 :
			 : "cc", "memory");
	EXPECT("steps round INT3", stepping.count, 1);
	EXPECT("RIP after INT3 and NOP", stepping.rip[0], first + 2);
}

static void on_data_breakpoint(struct interrupt_frame *frame)
{
	record(frame);
	stepping.dr6 = read_dr6();
	clear_dr6();
}

/* DR0 at `address`; `control` is DR7's four bits of it (SDM vol. 3, section 17.2.4). */
static void set_data_breakpoint(const void *address, uint64_t control)
{
	__asm__ volatile("movq %0, %%dr7" : : "r"(0x400ull));
	__asm__ volatile("movq %0, %%dr0" : : "r"(address));
	__asm__ volatile("movq %0, %%dr7" : : "r"(0x401ull | control << 16));
}

/* Instructions that end in one which accesses memory; the trap, if any, shows the one after it. */
#define ACCESS(instructions, ...)                                                                          \
	({                                                                                                 \
		uint64_t after_;                                                                           \
		seen = (struct seen){ 0 };                                                                 \
		__asm__ volatile("leaq 1f(%%rip), %0;" instructions "; 1: nop; nop"                        \
				 : "=&r"(after_)                                                           \
				 : __VA_ARGS__                                                             \
				 : "rax", "rcx", "rdi", "cc", "memory");                                   \
		after_;                                                                                    \
	})

#define EXPECT_TRAP(what, after)                                                                           \
	do {                                                                                               \
		uint64_t right_ = after;                                                                   \
		EXPECT(what ": traps", seen.count, 1);                                                     \
		EXPECT(what ": RIP", seen.rip, right_);                                                    \
		EXPECT(what ": DR6", stepping.dr6 & 0xf, 1);                                                   \
	} while (0)

void test_data_breakpoints(void)
{
	enum { WRITE = 1, READ_WRITE = 3, BYTES_4 = 3 << 2, BYTES_8 = 2 << 2 };
	/* The trap of a push comes while RSP is here: below the bytes is room for its handler. */
	static _Alignas(16) volatile uint8_t stack[PAGE_BYTES];
	volatile uint8_t *const bytes = &stack[PAGE_BYTES - 16];

	topic("data breakpoints");
	set_handler(VECTOR_DB, on_data_breakpoint);
	clear_dr6();
	set_data_breakpoint((const void *)&bytes[4], WRITE | BYTES_4);
	EXPECT_TRAP("store", ACCESS("movl $1, %1", "m"(bytes[4])));
	EXPECT("the store is done", bytes[4], 1);
	EXPECT_TRAP("store of its last byte among others", ACCESS("incl %%eax; movw $2, %1", "m"(bytes[7])));
	EXPECT_TRAP("store and load", ACCESS("addb $2, %1", "m"(bytes[5])));
	EXPECT("the sum is stored once", bytes[5], 2);
	EXPECT_TRAP("locked addition", ACCESS("nop; lock addb $3, %1", "m"(bytes[5])));
	EXPECT("the locked sum is stored once", bytes[5], 5);
	ACCESS("movl $1, %1; movl $1, %2", "m"(bytes[0]), "m"(bytes[8]));
	EXPECT("stores beside it: traps", seen.count, 0);
	ACCESS("movl %1, %%eax", "m"(bytes[4]));
	EXPECT("load from where stores are looked for: traps", seen.count, 0);
	ACCESS("leaq %1, %%rdi; movl $16, %%ecx; xorl %%eax, %%eax; rep stosb", "m"(bytes[0]));
	EXPECT("REP STOSB: traps", seen.count, 4);
	EXPECT("REP STOSB is done", bytes[7], 0);
	set_data_breakpoint((const void *)&bytes[8], READ_WRITE | BYTES_8);
	EXPECT_TRAP("load", ACCESS("movb %1, %%al", "m"(bytes[15])));
	EXPECT_TRAP("push", ACCESS("movq %%rsp, %%rcx; leaq 8 + %1, %%rsp; pushq $3; movq %%rcx, %%rsp", "m"(bytes[8])) - 3);
	EXPECT("the value is pushed", bytes[8], 3);
	stepping.count = 0;
	stepping.wanted = 2;
	set_handler(VECTOR_DB, step);
	ACCESS("pushfq; orq $0x100, (%%rsp); popfq; movb $3, %1", "m"(bytes[8]));
	EXPECT("steps over a watched store and a NOP", stepping.count, 2);
	EXPECT("DR6 after the store", stepping.first_dr6 & 0x400f, 0x4001);
	__asm__ volatile("movq %0, %%dr7" : : "r"(0x400ull));
	ACCESS("movb $4, %1", "m"(bytes[8]));
	EXPECT("switched off: traps", seen.count, 0);
}
