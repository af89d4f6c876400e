/* ACPI's S3: the guest sleeps, its RAM kept, and the RTC's alarm wakes it in real mode at the waking vector of the
 * FACS (ACPI 6.4, sections 5.2.10, 4.8.3.1.1 and 16.1.3). One CPU. */
#include <stdint.h>

#include "acpi.h"
#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "machine.h"
#include "string.h"
#include "suspend.h"

#define PM1_RTC 0x0400
#define PM1_WAKE 0x8000
#define PM1_SLP_EN 0x2000
#define PM1_SLP_TYP_SHIFT 10

/* MC146818 registers, and the alarm that matches every second. */
#define RTC_INDEX 0x70
#define RTC_DATA 0x71
#define RTC_SECONDS_ALARM 1
#define RTC_MINUTES_ALARM 3
#define RTC_HOURS_ALARM 5
#define RTC_B 11
#define RTC_C 12
#define RTC_DONT_CARE 0xc0
#define RTC_B_AIE 0x20

#define SOME_PRIORITY 0x50

#define CR0_PE 1

#define SECOND_LIFE 0x2e11fe

enum { KEPT_WORDS = 65536 };

extern const uint8_t resume_start[], resume_end[];

/* Outside the image, which QEMU loads anew at each reset, a wake-up's, too. */
#define LIFE (*(volatile uint32_t *)0x9810)
#define KEPT ((volatile uint64_t *)0x1000000)

static uint8_t rtc_read(uint8_t index)
{
	outb(RTC_INDEX, index);
	return inb(RTC_DATA);
}

static void rtc_write(uint8_t index, uint8_t value)
{
	outb(RTC_INDEX, index);
	outb(RTC_DATA, value);
}

static uint64_t pattern(int i)
{
	return (uint64_t)i * 0x9e3779b97f4a7c15;
}

static void alarm_each_second(void)
{
	outw(acpi.pm1a_event + 2, PM1_RTC);
	rtc_write(RTC_SECONDS_ALARM, RTC_DONT_CARE);
	rtc_write(RTC_MINUTES_ALARM, RTC_DONT_CARE);
	rtc_write(RTC_HOURS_ALARM, RTC_DONT_CARE);
	rtc_read(RTC_C);
	rtc_write(RTC_B, rtc_read(RTC_B) | RTC_B_AIE);
}

static _Noreturn void go_to_sleep(void)
{
	topic("before the sleep");
	CHECK("there is a FACS", acpi.facs != 0, 1);
	CHECK("the DSDT has S3", acpi.has_s3, 1);
	CHECK("WAK_STS before a sleep", inw(acpi.pm1a_event) & PM1_WAKE, 0);
	for (int i = 0; i < KEPT_WORDS; i++)
		KEPT[i] = pattern(i);
	memcpy((void *)VECTOR, resume_start, (size_t)(resume_end - resume_start));
	*(volatile uint32_t *)(acpi.facs + ACPI_FACS_WAKING_VECTOR) = VECTOR;
	apic_write(APIC_TPR, SOME_PRIORITY);
	alarm_each_second();
	outw(acpi.pm1a_control, (uint16_t)(acpi.s3_type_a << PM1_SLP_TYP_SHIFT | PM1_SLP_EN));
	/* The store to SLP_EN need not be the last instruction. */
	for (;;)
		wait_for_interrupt();
}

static void look_after_the_sleep(void)
{
	uint16_t status = inw(acpi.pm1a_event);
	int wrong = 0;

	topic("after the sleep");
	CHECK("CS at the waking vector", *(volatile uint32_t *)TOLD_CS, VECTOR >> 4);
	CHECK("IP at the waking vector", *(volatile uint32_t *)TOLD_IP, VECTOR & 15);
	CHECK("CR0.PE at the waking vector", *(volatile uint32_t *)TOLD_CR0 & CR0_PE, 0);
	CHECK("IF at the waking vector", *(volatile uint32_t *)TOLD_FLAGS & RFLAGS_IF, 0);
	CHECK("WAK_STS", status & PM1_WAKE, PM1_WAKE);
	CHECK("RTC_STS", status & PM1_RTC, PM1_RTC);
	outw(acpi.pm1a_event, PM1_WAKE | PM1_RTC);
	CHECK("WAK_STS is cleared by a 1", inw(acpi.pm1a_event) & PM1_WAKE, 0);
	CHECK("TPR was reset", apic_read(APIC_TPR), 0);
	for (int i = 0; i < KEPT_WORDS; i++)
		wrong += KEPT[i] != pattern(i);
	CHECK("words of RAM that were not kept", wrong, 0);
}

_Noreturn void guest_main(void)
{
	if (LIFE != SECOND_LIFE) {
		LIFE = SECOND_LIFE;
		go_to_sleep();
	}
	look_after_the_sleep();
	finish();
}
