/* When an interrupt is taken: IF, the shadow of STI, HLT, IRR and ISR. */
#include "tests.h"

#include "apic.h"
#include "check.h"
#include "timer.h"

#define VECTOR_A 0x65
#define VECTOR_IN_SERVICE 0xe5

enum { WAKE_UPS = 500 };

static bool in_service_seen, requested_seen;

static bool register_bit(enum apic_register base, int vector)
{
	return apic_read(base + (uint32_t)(vector / 32) * 16) >> (vector % 32) & 1;
}

static void look_at_isr(struct interrupt_frame *frame)
{
	(void)frame;
	in_service_seen = register_bit(APIC_ISR, VECTOR_IN_SERVICE);
	requested_seen = register_bit(APIC_IRR, VECTOR_IN_SERVICE);
	apic_eoi();
}

static void test_masked_by_if(void)
{
	topic("IF, IRR and ISR");
	forget_arrivals();
	interrupts_off();
	send_self(VECTOR_A);
	EXPECT("IRR while IF is clear", register_bit(APIC_IRR, VECTOR_A), true);
	EXPECT("taken while IF is clear", arrived(0, VECTOR_A), 0);
	/* The same vector again merges with the one that waits. */
	send_self(VECTOR_A);
	let_interrupts_in();
	interrupts_off();
	EXPECT("taken after STI", arrived(0, VECTOR_A), 1);
	EXPECT("IRR afterwards", register_bit(APIC_IRR, VECTOR_A), false);
	EXPECT("ISR afterwards", register_bit(APIC_ISR, VECTOR_A), false);

	set_handler(VECTOR_IN_SERVICE, look_at_isr);
	send_self(VECTOR_IN_SERVICE);
	let_interrupts_in();
	EXPECT("ISR in the handler", in_service_seen, true);
	EXPECT("IRR in the handler", requested_seen, false);
	EXPECT("ISR after EOI", register_bit(APIC_ISR, VECTOR_IN_SERVICE), false);
}

static void test_shadows(void)
{
	uint64_t after;

	topic("where an interrupt is taken");
	forget_arrivals();
	interrupts_off();
	send_self(VECTOR_A);
	__asm__ volatile("leaq 1f(%%rip), %0; sti; nop; 1: nop; nop; cli" : "=&r"(after) : : "memory");
	EXPECT("RIP after STI and one instruction", arrivals[0].rip, after);

	send_self(VECTOR_A);
	__asm__ volatile("sti; cli" : : : "memory");
	EXPECT("taken between STI and CLI", arrived(0, VECTOR_A), 1);

	/* STI;CLI has let nothing in, so it is still waiting: POPF lets it in at once. */
	__asm__ volatile("pushfq; orq $0x200, (%%rsp); leaq 1f(%%rip), %0; popfq; 1: nop; nop; cli" : "=&r"(after) : : "cc", "memory");
	EXPECT("RIP after POPF", arrivals[0].rip, after);
	EXPECT("taken after POPF", arrived(0, VECTOR_A), 2);
}

static void test_halt(void)
{
	uint64_t after;

	topic("STI and HLT");
	forget_arrivals();
	interrupts_off();
	send_self(VECTOR_A);
	__asm__ volatile("leaq 1f(%%rip), %0; sti; hlt; 1: cli" : "=&r"(after) : : "memory");
	EXPECT("woken", arrived(0, VECTOR_A), 1);
	EXPECT("RIP after HLT", arrivals[0].rip, after);

	/* Timers of every length, so that some end right between STI and HLT: none may be lost. */
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, VECTOR_A + 1);
	for (uint32_t i = 0; i < WAKE_UPS; i++) {
		apic_write(APIC_TIMER_INITIAL, 1 + i * 7);
		while (arrived(0, VECTOR_A + 1) == i)
			wait_for_interrupt();
	}
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	interrupts_on();
	EXPECT("wake-ups by the timer", arrived(0, VECTOR_A + 1), WAKE_UPS);
}

void test_delivery(void)
{
	test_masked_by_if();
	test_shadows();
	test_halt();
}
