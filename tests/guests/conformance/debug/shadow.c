/* The shadow of MOV SS and POP SS (SDM vol. 3, 6.8.3): single steps are dropped, data breakpoints wait. */
#include "tests.h"

#include "conformance.h"
#include "guest.h"
#include "layout.h"
#include "machine.h"

#define QEMU_STOPS "stops for a debugger; vol. 2, INT1"
#define VECTOR_SOFTWARE (VECTOR_TEST + 2)

static uint64_t handled;

static void on_software(struct interrupt_frame *frame)
{
	(void)frame;
	handled++;
}

static void test_steps_in_it(void)
{
	trace_begin(0);
	RUN("movl %%ss, %%ecx; pushq %%rbx; pushq %%rax; popfq; movl %%ecx, %%ss; nop; 1: nop; popfq", "m"(trace));
	CHECK_COUNT("a step in the shadow of MOV SS", 3);
	CHECK_EVENT("a step in the shadow of MOV SS", 1, 0, DR6_BS);
	CHECK_EVENT("a step in the shadow of MOV SS", 2, 1, DR6_BS);

#define QEMU_HAS_NO_GD "has no general detect; vol. 3, 17.2.4"
	trace_begin(DR7_GD);
	RUN("movl %%ss, %%ecx; movl %%ecx, %%ss; 1: movq %%dr0, %%rcx", "m"(trace));
	CHECK_EVENT_NOT_QEMU("general detect in it", 1, 0, DR6_BD, QEMU_HAS_NO_GD);
	if (option("qemu", 0))
		return;
	trace_begin(0);
	RUN("movl %%ss, %%ecx; pushq %%rbx; pushq %%rax; popfq; movl %%ecx, %%ss; .byte 0xf1; 1: popfq", "m"(trace));
	CHECK_NOT_QEMU("INT1 in it events", trace.count, 2, QEMU_STOPS);
	CHECK_EVENT_NOT_QEMU("INT1 in it", 1, 0, 0, QEMU_STOPS);
	CHECK_EVENT_NOT_QEMU("INT1 in it", 2, 1, DR6_BS, QEMU_STOPS);
}

static void test_breakpoints_in_it(void)
{
#define QEMU_TELLS "tells of it at once; vol. 3, 6.8.3"
	area[0] = KERNEL_DATA;
	trace_begin(BREAKPOINT(0, BREAK_READ_WRITE, LENGTH_4));
	set_dr(0, (uint64_t)area);
	RUN("movw %1, %%ss; nop; 1: nop", "m"(area[0]));
	CHECK_COUNT("a watched MOV SS", 1);
	CHECK_EVENT_NOT_QEMU("a watched MOV SS", 1, 0, 1, QEMU_TELLS);

	set_handler(VECTOR_SOFTWARE, on_software);
	trace_begin(BREAKPOINT(0, BREAK_READ_WRITE, LENGTH_4));
	set_dr(0, (uint64_t)area);
	RUN("movw %1, %%ss; int $0x62; 1: nop", "m"(area[0]));
	CHECK_COUNT("a watched MOV SS before INT n", 1);
	CHECK_NOT_QEMU("a watched MOV SS before INT n, comes before the handler runs",
		       trace.event[0].at < -16 || trace.event[0].at > 16, 1, QEMU_TELLS);
	CHECK("a watched MOV SS before INT n, the INT is done", handled, 1);
	if (option("qemu", 0))
		return;
	trace_begin(BREAKPOINT(0, BREAK_READ_WRITE, LENGTH_4));
	set_dr(0, (uint64_t)area);
	RUN("movw %1, %%ss; .byte 0x2e, 0x2e, 0xf1; 1: nop", "m"(area[0]));
	CHECK_NOT_QEMU("a watched MOV SS before INT1 events", trace.count, 1, QEMU_STOPS);
	CHECK_EVENT_NOT_QEMU("a watched MOV SS before INT1", 1, 0, 1, QEMU_STOPS);
}

void test_shadow(void)
{
	topic("the shadow of MOV SS");
	test_steps_in_it();
	test_breakpoints_in_it();
	set_dr(7, DR7_ONES);
}
