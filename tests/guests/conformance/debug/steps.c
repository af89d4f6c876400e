/* Single steps, and INT1 (SDM vol. 3, 17.3.1.4; vol. 2, INT n). */
#include "tests.h"

#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "machine.h"

#define QEMU_DROPS "drops the step over STI; vol. 3, 6.8.3"
#define QEMU_STOPS "stops for a debugger; vol. 2, INT1"

static void end_of_interrupt(struct interrupt_frame *frame)
{
	(void)frame;
	apic_eoi();
}

/* The #DB comes with HLT's end; what had been sent before is taken first or then, and comes back to it. */
static void test_halt(void)
{
	set_handler(VECTOR_TEST, end_of_interrupt);
	apic_enable();
	apic_send(0, ICR_SELF | ICR_ASSERT | VECTOR_TEST);
	trace_begin(0);
	RUN("cli; pushq %%rax; popfq; sti; 1: hlt; pushq %%rbx; popfq; cli", "m"(trace));
	CHECK_EVENT_NOT_QEMU("STI, HLT", 1, 0, DR6_BS, QEMU_DROPS);
	CHECK_EVENT_NOT_QEMU("STI, HLT", 2, 1, DR6_BS, "does not step over HLT; vol. 3, 17.3.1.4");
}

void test_steps(void)
{
	topic("single steps");
	trace_begin(0);
	RUN("pushq %%rax; popfq; 1: pushq %%rbx; popfq; nop; nop", "m"(trace));
	CHECK_COUNT("POPF", 2);
	CHECK_EVENT("POPF", 1, 1, DR6_BS);
	CHECK_EVENT("POPF", 2, 2, DR6_BS);

	trace_begin(0);
	RUN("pushq %%rbx; pushq %%rax; popfq; 1: xorl %%eax, %%eax; movl $0x92, %%edx; inb %%dx, %%al; pushfq; popq %%rcx; popfq",
	    "m"(trace));
	CHECK_COUNT("a port and PUSHF", 6);
	CHECK_EVENT("a port and PUSHF", 1, 2, DR6_BS);
	CHECK_EVENT("a port and PUSHF", 2, 7, DR6_BS);
	CHECK_EVENT("a port and PUSHF", 3, 8, DR6_BS);
	CHECK_EVENT("a port and PUSHF", 4, 9, DR6_BS);
	CHECK_EVENT("a port and PUSHF", 5, 10, DR6_BS);
	CHECK_EVENT("a port and PUSHF", 6, 11, DR6_BS);

	trace_begin(0);
	RUN("pushq %%rbx; pushq %%rax; movl $2, %%ecx; leaq %1, %%rdi; popfq; 1: rep stosb; popfq", "m"(area));
	CHECK_COUNT("REP STOSB", 3);
	CHECK_EVENT("REP STOSB", 1, 0, DR6_BS);
	CHECK_EVENT("REP STOSB", 2, 2, DR6_BS);
	CHECK_EVENT("REP STOSB", 3, 3, DR6_BS);
	CHECK_NOT_QEMU("REP STOSB, RF between iterations", trace.event[0].rf, 1, "no trap sets RF; vol. 3, 17.3.1.1");
	CHECK("REP STOSB, RF after the last", trace.event[1].rf, 0);

	trace_begin(0);
	set_dr(6, DR6_ONES | DR6_BD | 2);
	RUN("pushq %%rbx; pushq %%rax; popfq; 1: popfq", "m"(trace));
	CHECK_EVENT("bits that software has set", 1, 1, DR6_BS | DR6_BD);

	trace_begin(0);
	RUN("cli; pushq %%rbx; pushq %%rax; popfq; 1: sti; nop; popfq", "m"(trace));
	CHECK_NOT_QEMU("STI events", trace.count, 3, QEMU_DROPS);
	CHECK_EVENT_NOT_QEMU("STI", 1, 1, DR6_BS, QEMU_DROPS);
	CHECK_EVENT_NOT_QEMU("STI", 2, 2, DR6_BS, QEMU_DROPS);
	test_halt();

	topic("INT1");
	if (option("qemu", 0))
		return;
	trace_begin(0);
	RUN("1: .byte 0xf1; nop", "m"(trace));
	CHECK_NOT_QEMU("INT1 events", trace.count, 1, QEMU_STOPS);
	CHECK_EVENT_NOT_QEMU("INT1", 1, 1, 0, QEMU_STOPS);
	trace_begin(0);
	RUN("pushq %%rbx; pushq %%rax; popfq; 1: .byte 0xf1; popfq", "m"(trace));
	CHECK_NOT_QEMU("INT1 under TF events", trace.count, 2, QEMU_STOPS);
	CHECK_EVENT_NOT_QEMU("INT1 under TF", 1, 1, 0, QEMU_STOPS);
	CHECK_EVENT_NOT_QEMU("INT1 under TF", 2, 2, DR6_BS, QEMU_STOPS);
}
