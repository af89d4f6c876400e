/* What the registers are after start-up, and which of their bits can be written (SDM vol. 3, table 10-1). */
#include "acpi.h"
#include "arrivals.h"
#include "conformance.h"
#include "tests.h"

#define RESERVED "it keeps reserved bits of the register; SDM vol. 3, 10.5.1"

static uint32_t written(enum apic_register reg, uint32_t value)
{
	uint32_t before = apic_read(reg), kept;

	apic_write(reg, value);
	kept = apic_read(reg);
	apic_write(reg, before);
	return kept;
}

static bool read_only(enum apic_register reg)
{
	uint32_t before = apic_read(reg);

	apic_write(reg, ~before);
	return apic_read(reg) == before;
}

static void test_identity(void)
{
	uint32_t version = apic_read(APIC_VERSION);
	uint32_t id = apic_read(APIC_ID);

	topic("identity");
	CHECK("an integrated APIC's version", (version & 0xff) >= 0x10 && (version & 0xff) <= 0x15, 1);
	CHECK("highest local vector table entry", version >> 16 & 0xff, 5);
	CHECK("the version can not be written", read_only(APIC_VERSION), 1);
	CHECK("ID as in CPUID", id >> 24, cpuid(1, 0).ebx >> 24);
	CHECK("the base is where ACPI says", read_msr(MSR_APIC_BASE) & 0xfffff000, acpi.local_apic);
	CHECK("the boot processor and its APIC's enable bit", read_msr(MSR_APIC_BASE) & 0xfff,
	      APIC_BASE_ENABLE | APIC_BASE_BSP);
	CHECK("CPUID has an APIC", (cpuid(1, 0).edx & CPUID_1_EDX_APIC) != 0, 1);
}

static void test_bits(void)
{
	topic("bits that can be written");
	CHECK("task priority", written(APIC_TPR, 0xff), 0xff);
	CHECK("logical destination", written(APIC_LDR, 0xffffffff), 0xff000000);
	CHECK("destination format, flat", written(APIC_DFR, 0xffffffff), 0xffffffff);
	CHECK("destination format, cluster", written(APIC_DFR, 0), 0x0fffffff);
	CHECK("spurious vector and software enable", written(APIC_SVR, 0x1ef), 0x1ef);
	CHECK("divide configuration", written(APIC_TIMER_DIVIDE, 0xffffffff), 0xb);
	CHECK("interrupt command, high half", written(APIC_ICR_HIGH, 0xff000000), 0xff000000);
	CHECK("LVT of the timer", written(APIC_LVT_TIMER, 0x300ff), 0x300ff);
	CHECK("LVT of the thermal sensor", written(APIC_LVT_THERMAL, 0x107ff), 0x107ff);
	CHECK("LVT of the performance counters", written(APIC_LVT_PERFORMANCE, 0x107ff), 0x107ff);
	CHECK("LVT of LINT0", written(APIC_LVT_LINT0, 0x1a7ff), 0x1a7ff);
	CHECK("LVT of LINT1", written(APIC_LVT_LINT1, 0x1a7ff), 0x1a7ff);
	CHECK("LVT of errors", written(APIC_LVT_ERROR, 0x100ff), 0x100ff);
	CHECK_NOT_QEMU("LVT of the timer, all bits", written(APIC_LVT_TIMER, 0xfff3ffff), 0x300ff, RESERVED);
	CHECK_NOT_QEMU("LVT of errors, all bits", written(APIC_LVT_ERROR, 0xffffffff), 0x100ff, RESERVED);
	CHECK_NOT_QEMU("LVT of LINT0, all bits", written(APIC_LVT_LINT0, 0xffffffff), 0x1a7ff, RESERVED);
}

static void test_read_only(void)
{
	topic("registers that can not be written");
	CHECK("arbitration priority", read_only(APIC_APR), 1);
	CHECK("processor priority", read_only(APIC_PPR), 1);
	CHECK("current count", read_only(APIC_TIMER_CURRENT), 1);
	for (uint32_t i = 0; i < 8; i++) {
		if (!read_only(APIC_ISR + i * 16) || !read_only(APIC_TMR + i * 16) || !read_only(APIC_IRR + i * 16))
			CHECK("in-service, trigger mode or request register", i, 8);
	}
	CHECK("the end of an interrupt reads as", apic_read(APIC_EOI), 0);
}

/* The 32 bits at an offset, by single bytes. */
static uint32_t by_bytes(uint32_t offset)
{
	volatile uint8_t *at = physical(acpi.local_apic + offset);

	return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void test_access_sizes(void)
{
	volatile uint8_t *bytes = physical(acpi.local_apic + APIC_TPR);
	uint32_t version = apic_read(APIC_VERSION), read = by_bytes(APIC_VERSION);

	topic("accesses that are no aligned dword");
	apic_write(APIC_TPR, 0x20);
	bytes[0] = 0x50;
	CHECK("a byte that is stored is ignored", apic_read(APIC_TPR), 0x20);
	*(volatile uint16_t *)bytes = 0x50;
	CHECK("so is a word", apic_read(APIC_TPR), 0x20);
	/* Undefined: the bytes of the register, or nothing. */
	CHECK("bytes that are loaded", read == version || read == 0, 1);
	apic_write(APIC_TPR, 0);
}

void test_registers(void)
{
	interrupts_off();
	test_identity();
	test_bits();
	test_read_only();
	test_access_sizes();
	interrupts_on();
}
