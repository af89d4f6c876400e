/* Breakpoints of instructions, data and ports, and RF (SDM vol. 3, 17.3.1). */
#include "tests.h"

#include "conformance.h"
#include "machine.h"

#define PORT 0x92

/* Arms breakpoint 0 for label 1 of what follows in the same asm. */
#define ON_LABEL_1 "leaq 1f(%%rip), %%rcx; movq %%rcx, %%dr0;"

static void test_instructions(void)
{
	topic("instruction breakpoints");
	trace_begin(BREAKPOINT(0, BREAK_EXECUTE, LENGTH_1));
	trace.returned = RFLAGS_RF;
	RUN(ON_LABEL_1 "nop; 1: nop; nop", "m"(trace));
	CHECK_COUNT("NOP", 1);
	CHECK_EVENT("NOP", 1, 0, 1);
	CHECK("NOP, RF in the frame", trace.event[0].rf, 0);

	trace_begin(BREAKPOINT(0, BREAK_EXECUTE, LENGTH_1) | BREAKPOINT(1, BREAK_EXECUTE, LENGTH_1));
	trace.returned = RFLAGS_RF;
	RUN(ON_LABEL_1 "incq %%rcx; movq %%rcx, %%dr1; 1: nop; nop", "m"(trace));
	CHECK_EVENT("two in a row", 1, 0, 1);
	CHECK_NOT_QEMU("two in a row, events", trace.count, 2, "keeps RF for a block; vol. 3, 17.3.1.1");
	CHECK_EVENT_NOT_QEMU("two in a row", 2, 1, 2, "keeps RF for a block; vol. 3, 17.3.1.1");

	trace_begin(BREAKPOINT(0, BREAK_EXECUTE, LENGTH_1));
	trace.returned = RFLAGS_RF;
	RUN(ON_LABEL_1 "movl $3, %%ecx; leaq %1, %%rdi; xorl %%eax, %%eax; 1: rep stosb", "m"(area));
	CHECK_NOT_QEMU("REP STOSB at a breakpoint events", trace.count, 1,
		       "loses RF between iterations; vol. 3, 17.3.1.1");

	trace_begin(BREAKPOINT(0, BREAK_EXECUTE, LENGTH_1));
	set_dr(6, DR6_ONES | DR6_BS);
	trace.returned = RFLAGS_RF;
	RUN(ON_LABEL_1 "1: nop", "m"(trace));
	CHECK_EVENT("BS that software has set", 1, 0, DR6_BS | 1);

	trace_begin(BREAKPOINT(0, BREAK_EXECUTE, LENGTH_1));
	set_dr(7, DR7_ONES);
	RUN(ON_LABEL_1 "1: nop", "m"(trace));
	CHECK_COUNT("a breakpoint that is off", 0);
}

static void test_data(void)
{
	topic("data breakpoints");
	trace_begin(BREAKPOINT(1, BREAK_WRITE, LENGTH_4));
	set_dr(1, (uint64_t)area);
	RUN("movl $42, %1; 1: nop; nop", "m"(area[0]));
	CHECK_COUNT("store", 1);
	CHECK_EVENT("store", 1, 0, 2);

	trace_begin(BREAKPOINT(1, BREAK_WRITE, LENGTH_4));
	set_dr(1, (uint64_t)area);
	set_dr(6, DR6_ONES | DR6_BS);
	RUN("movl $42, %1; 1: nop; nop", "m"(area[0]));
	CHECK_EVENT("store with BS set by software", 1, 0, DR6_BS | 2);

	trace_begin(BREAKPOINT(1, BREAK_WRITE, LENGTH_4));
	set_dr(1, (uint64_t)area);
	RUN("movl %1, %%ecx; movl $1, 4 + %1; 1: nop", "m"(area[0]));
	CHECK_COUNT("load, and a store beside it", 0);

	trace_begin(BREAKPOINT(0, BREAK_READ_WRITE, LENGTH_8));
	set_dr(0, (uint64_t)&area[1]);
	RUN("movb 7 + %1, %%cl; 1: nop", "m"(area[1]));
	CHECK_COUNT("load of the last of 8 bytes", 1);
	CHECK_EVENT("load of the last of 8 bytes", 1, 0, 1);

	trace_begin(BREAKPOINT(0, BREAK_READ_WRITE, LENGTH_4));
	set_dr(0, (uint64_t)area);
	RUN("lock incl %1; 1: nop", "m"(area[0]));
	CHECK_COUNT("locked addition", 1);
	CHECK_EVENT("locked addition", 1, 0, 1);
	trace_begin(BREAKPOINT(0, BREAK_READ_WRITE, LENGTH_4));
	set_dr(0, (uint64_t)area);
	RUN("xorl %%eax, %%eax; xchgl %%eax, %1; 1: nop", "m"(area[0]));
	CHECK_COUNT("XCHG", 1);

	trace_begin(BREAKPOINT(0, BREAK_WRITE, LENGTH_1));
	set_dr(0, (uint64_t)area);
	RUN("pushq %%rbx; pushq %%rax; popfq; movb $1, %1; 1: popfq", "m"(area[0]));
#define QEMU_TELLS_TWICE "tells of the step twice; vol. 3, 17.3.1"
	CHECK_NOT_QEMU("a store under TF events", trace.count, 2, QEMU_TELLS_TWICE);
	CHECK_EVENT_NOT_QEMU("a store under TF", 1, 0, DR6_BS | 1, QEMU_TELLS_TWICE);
	CHECK_EVENT_NOT_QEMU("a store under TF", 2, 1, DR6_BS, QEMU_TELLS_TWICE);
}

static void test_ports(void)
{
	uint8_t a20 = inb(PORT);

	topic("I/O breakpoints");
	trace_begin(BREAKPOINT(2, BREAK_IO, LENGTH_1));
	write_cr4(read_cr4() | CR4_DE);
	set_dr(2, PORT);
	RUN("inb $0x92, %%al; 1: nop; nop", "m"(trace));
	CHECK_COUNT("IN", 1);
	CHECK_EVENT("IN", 1, 0, 4);
	trace_begin(BREAKPOINT(2, BREAK_IO, LENGTH_1));
	set_dr(2, PORT);
	RUN("movb %1, %%al; outb %%al, $0x92; 1: nop; nop", "m"(a20));
	CHECK_COUNT("OUT", 1);
	CHECK_EVENT("OUT", 1, 0, 4);
	trace_begin(BREAKPOINT(2, BREAK_IO, LENGTH_1));
	set_dr(2, PORT);
	RUN("inb $0x80, %%al; 1: nop; nop", "m"(trace));
	CHECK_COUNT("IN from another port", 0);
	set_dr(7, DR7_ONES);
	write_cr4(read_cr4() & ~(uint64_t)CR4_DE);
}

void test_breakpoints(void)
{
	test_instructions();
	test_data();
	test_ports();
	set_dr(7, DR7_ONES);
}
