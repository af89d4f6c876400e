#include "apic.h"

#include "acpi.h"
#include "interrupts.h"
#include "machine.h"
#include "smp.h"
#include "timer.h"

#define PIC1_COMMAND 0x20
#define PIC1_DATA 0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA 0xa1
#define ICW1_INIT_ICW4 0x11
#define ICW3_SLAVE_ON_IR2 0x04
#define ICW3_SLAVE_ID 0x02
#define ICW4_8086 0x01

#define CPUID_1_ECX_X2APIC (1u << 21)

enum { CALIBRATION_MS = 10 };

static bool use_x2apic;

void pic_mask_all(void)
{
	outb(PIC1_COMMAND, ICW1_INIT_ICW4);
	outb(PIC2_COMMAND, ICW1_INIT_ICW4);
	outb(PIC1_DATA, VECTOR_PIC);
	outb(PIC2_DATA, VECTOR_PIC + 8);
	outb(PIC1_DATA, ICW3_SLAVE_ON_IR2);
	outb(PIC2_DATA, ICW3_SLAVE_ID);
	outb(PIC1_DATA, ICW4_8086);
	outb(PIC2_DATA, ICW4_8086);
	outb(PIC1_DATA, 0xff);
	outb(PIC2_DATA, 0xff);
}

bool apic_has_x2apic(void)
{
	return cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC;
}

void apic_use_x2apic(bool use)
{
	use_x2apic = use;
}

/* A CPU is in one mode or the other, whatever the rest are in. */
static bool in_x2apic_mode(void)
{
	return this_cpu()->x2apic;
}

static volatile uint32_t *apic_mmio(enum apic_register reg)
{
	return (volatile uint32_t *)(uintptr_t)(acpi.local_apic + reg);
}

static uint32_t apic_msr(enum apic_register reg)
{
	return MSR_X2APIC + (reg >> 4);
}

uint32_t apic_read(enum apic_register reg)
{
	return in_x2apic_mode() ? (uint32_t)read_msr(apic_msr(reg)) : *apic_mmio(reg);
}

void apic_write(enum apic_register reg, uint32_t value)
{
	if (in_x2apic_mode())
		write_msr(apic_msr(reg), value);
	else
		*apic_mmio(reg) = value;
}

uint32_t apic_id(void)
{
	uint32_t id = apic_read(APIC_ID);

	return in_x2apic_mode() ? id : id >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

void apic_enter_x2apic(void)
{
	write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	this_cpu()->x2apic = true;
}

void apic_enable(void)
{
	if (use_x2apic)
		apic_enter_x2apic();
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	apic_write(APIC_LVT_LINT1, LVT_MASKED);
	apic_write(APIC_LVT_ERROR, LVT_MASKED);
	apic_write(APIC_TPR, 0);
}

void apic_send(uint32_t destination, uint32_t command)
{
	bool were_on;

	if (in_x2apic_mode()) {
		/* A WRMSR to x2APIC registers is not serializing (SDM vol. 3, section 10.12.3): what the
		 * receiver is to see must be out before it. */
		__asm__ volatile("mfence" : : : "memory");
		write_msr(apic_msr(APIC_ICR), (uint64_t)destination << 32 | command);
		return;
	}
	/* A handler that sends must not come between the halves. */
	were_on = interrupts_save();
	while (apic_read(APIC_ICR) & ICR_PENDING)
		pause();
	apic_write(APIC_ICR_HIGH, destination << 24);
	apic_write(APIC_ICR, command);
	if (were_on)
		interrupts_on();
}

uint32_t apic_timer_per_ms(void)
{
	uint32_t left;

	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
	delay_us(CALIBRATION_MS * 1000);
	left = apic_read(APIC_TIMER_CURRENT);
	apic_write(APIC_TIMER_INITIAL, 0);
	return (UINT32_MAX - left) / CALIBRATION_MS;
}
