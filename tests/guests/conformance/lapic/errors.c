/* The error status register (SDM vol. 3, 10.5.3). */
#include "acpi.h"
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"
#include "tests.h"

#define ERROR_VECTOR 0xb1
#define SEND_ILLEGAL_VECTOR (1u << 5)
#define RECEIVE_ILLEGAL_VECTOR (1u << 6)
#define ILLEGAL_REGISTER (1u << 7)
#define WHY "it knows no error but illegal registers, and a write does not latch it; SDM vol. 3, 10.5.3"

static uint32_t error_status(void)
{
	apic_write(APIC_ESR, 0);
	return apic_read(APIC_ESR);
}

void test_errors(void)
{
	volatile uint32_t *reserved = physical(acpi.local_apic + 0x40);

	topic("errors");
	forget_arrivals();
	apic_write(APIC_LVT_ERROR, ERROR_VECTOR);
	error_status();
	CHECK("none at first", error_status(), 0);
	(void)*reserved;
	CHECK_NOT_QEMU("a reserved register's error waits for a write", apic_read(APIC_ESR), 0, WHY);
	CHECK("a load from a reserved register", error_status(), ILLEGAL_REGISTER);
	CHECK_NOT_QEMU("a second write clears it", error_status(), 0, WHY);
	let_interrupts_in();
	CHECK_NOT_QEMU("its interrupt", arrived(0, ERROR_VECTOR), 1, WHY);
	*reserved = 0;
	CHECK("a store to a reserved register", error_status(), ILLEGAL_REGISTER);

	if (!option("qemu", 0)) {
		/* It delivers them, as exceptions. */
		apic_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | 0x0f);
		CHECK_NOT_QEMU("an illegal vector that is sent", error_status(), SEND_ILLEGAL_VECTOR, WHY);
		apic_write(APIC_LVT_TIMER, 0x05);
		apic_write(APIC_TIMER_INITIAL, 1);
		delay_us(1000);
		CHECK_NOT_QEMU("an illegal vector of the timer", error_status(), RECEIVE_ILLEGAL_VECTOR, WHY);
		apic_write(APIC_LVT_TIMER, LVT_MASKED);
	}
	apic_write(APIC_LVT_ERROR, LVT_MASKED | ERROR_VECTOR);
	forget_arrivals();
	(void)*reserved;
	let_interrupts_in();
	CHECK("a masked error is no interrupt", arrived(0, ERROR_VECTOR), 0);
	error_status();
}
