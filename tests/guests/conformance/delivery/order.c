/* Stacks of handlers (SDM vol. 3, 6.14), what of several events comes first (table 6-2), and NMI (6.7). */
#include "tests.h"

#include "apic.h"
#include "conformance.h"
#include "interrupts.h"
#include "machine.h"
#include "provoke.h"

#define VECTOR_LOW (VECTOR_TEST + 3)
#define VECTOR_HIGH (VECTOR_TEST + 0x20)

static uint64_t handler_rsp;

static void note_stack(struct interrupt_frame *frame)
{
	record(frame);
	handler_rsp = (uint64_t)(uintptr_t)(frame + 1);
}

#define INT_WITH_RSP_BELOW(bytes)                                                                 \
	__asm__ volatile("movq %%rsp, %%rbx; subq %0, %%rsp; movq %%rsp, %1; int %2; movq %%rbx, %%rsp" \
			 :                                                                        \
			 : "i"(bytes), "m"(resume_rip), "i"(VECTOR_LOW)                           \
			 : "rbx", "memory")

void test_stacks(void)
{
	topic("stacks");
	set_handler(VECTOR_LOW, note_stack);
	INT_WITH_RSP_BELOW(256 + 5);
	CHECK("RSP in the frame is as it was", seen.rsp, resume_rip);
	CHECK("the frame is aligned", handler_rsp & 15, 0);
	CHECK("the frame is right below", resume_rip - handler_rsp < 16, 1);
	CHECK("SS is kept", seen.ss, 0x10);
	gate_set_stack(VECTOR_LOW, IST_SAFE);
	INT_WITH_RSP_BELOW(256);
	CHECK("the stack table's RSP in the frame", seen.rsp, resume_rip);
	CHECK("the stack table's is another", resume_rip - handler_rsp < 4096, 0);
	gate_set_stack(VECTOR_LOW, 0);
}

static uint64_t order;

static void first_digit(struct interrupt_frame *frame)
{
	order = order * 16 + frame->vector % 16 + 1;
	if (frame->vector != VECTOR_LOW)
		apic_eoi();
}

/* 1: VECTOR_HIGH, 4: VECTOR_LOW, a digit each in the order that their handlers began. */
void test_order(void)
{
	topic("order");
	set_handler(VECTOR_LOW, first_digit);
	set_handler(VECTOR_HIGH, first_digit);
	order = 0;
	apic_send(0, ICR_SELF | ICR_ASSERT | VECTOR_HIGH);
	__asm__ volatile("sti; int %0; cli" : : "i"(VECTOR_LOW) : "memory");
	CHECK("INT n in the shadow of STI comes before an interrupt", order, 0x41);
	order = 0;
	apic_send(0, ICR_SELF | ICR_ASSERT | VECTOR_HIGH);
	__asm__ volatile("sti; nop; int %0; cli" : : "i"(VECTOR_LOW) : "memory");
	CHECK("INT n after it comes after", order, 0x14);
	order = 0;
	apic_send(0, ICR_SELF | ICR_ASSERT | VECTOR_HIGH);
	__asm__ volatile("pushfq; orq $0x200, (%%rsp); popfq; int %0; cli" : : "i"(VECTOR_LOW) : "memory");
	CHECK("POPF has no shadow", order, 0x14);
}

static uint64_t nmis, inner_nmis;
static bool send_again, in_nmi;

static void take_nmi(struct interrupt_frame *frame)
{
	record(frame);
	nmis++;
	inner_nmis += in_nmi;
	in_nmi = true;
	if (send_again) {
		send_again = false;
		apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
		for (int i = 0; i < 1000; i++)
			pause();
		CHECK("a second NMI waits for IRET", nmis, 1);
	}
	in_nmi = false;
}

void test_nmi(void)
{
	uint32_t self = apic_id();

	topic("NMI");
	set_handler(VECTOR_NMI, take_nmi);
	send_again = true;
	apic_send(self, ICR_NMI | ICR_ASSERT);
	for (int i = 0; i < 1000; i++)
		pause();
	CHECK("both NMIs", nmis, 2);
	CHECK("none in another", inner_nmis, 0);
}
