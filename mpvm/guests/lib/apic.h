/* The local APIC (SDM vol. 3, chapter 10) and the 8259 pair that it replaces. */
#ifndef GUEST_APIC_H
#define GUEST_APIC_H

#include <stdbool.h>
#include <stdint.h>

/* Register offsets of the xAPIC; x2APIC's MSR is 0x800 + (offset >> 4). */
enum apic_register {
	APIC_ID = 0x020,
	APIC_VERSION = 0x030,
	APIC_TPR = 0x080,
	APIC_PPR = 0x0a0,
	APIC_EOI = 0x0b0,
	APIC_LDR = 0x0d0,
	APIC_DFR = 0x0e0,
	APIC_SVR = 0x0f0,
	APIC_ISR = 0x100,
	APIC_IRR = 0x200,
	APIC_ESR = 0x280,
	APIC_ICR = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
	APIC_SELF_IPI = 0x3f0, /* x2APIC only */
};

#define APIC_BASE_BSP 0x100
#define APIC_BASE_X2APIC 0x400
#define APIC_BASE_ENABLE 0x800

#define SVR_ENABLE 0x100

#define LVT_MASKED 0x10000
#define LVT_TIMER_PERIODIC 0x20000
#define LVT_TIMER_DEADLINE 0x40000
#define LVT_EXTINT 0x700

#define ICR_FIXED 0x000
#define ICR_NMI 0x400
#define ICR_INIT 0x500
#define ICR_STARTUP 0x600
#define ICR_LOGICAL 0x800
#define ICR_PENDING 0x1000
#define ICR_ASSERT 0x4000
#define ICR_LEVEL 0x8000
#define ICR_SELF 0x40000
#define ICR_ALL 0x80000
#define ICR_ALL_BUT_SELF 0xc0000

#define DIVIDE_BY_16 0x3

/* Masks both 8259s, with their vectors moved off the exceptions. */
void pic_mask_all(void);

/* Software-enables this CPU's local APIC, all local interrupts masked; in x2APIC mode when
 * apic_use_x2apic(true) was called before. */
void apic_enable(void);
bool apic_has_x2apic(void);
void apic_use_x2apic(bool use);
/* Changes this CPU alone. */
void apic_enter_x2apic(void);

uint32_t apic_read(enum apic_register reg);
void apic_write(enum apic_register reg, uint32_t value);
uint32_t apic_id(void);
void apic_eoi(void);

/* Waits until the last IPI is gone, then sends one: `command` is the low half of the ICR. */
void apic_send(uint32_t destination, uint32_t command);

/* Counts of the timer, divided by 16, in a millisecond by the PM timer's measure. */
uint32_t apic_timer_per_ms(void);

#endif
