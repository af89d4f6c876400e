/* The local APIC timer (SDM vol. 3, section 10.5.4). Lower bounds of time only: a late tick is no error. */
#include "timer.h"

#include "apic.h"
#include "check.h"
#include "tests.h"

#define VECTOR_TICK 0x66

#define CPUID_1_ECX_TSC_DEADLINE (1u << 24)

enum { PERIODS = 10, PERIOD_MS = 2, ONE_SHOT_MS = 5 };

static uint64_t *ticks(void)
{
	return &arrivals[this_cpu()->index].of[VECTOR_TICK - VECTOR_TEST];
}

/* Measured by a calibration of a few per cent, so a bound of nine tenths. */
static void expect_at_least(const char *what, uint64_t us, uint64_t at_least_us)
{
	if (us < at_least_us * 9 / 10)
		check_fail(what, us, at_least_us, "microseconds", 0);
}

static void test_one_shot(uint32_t per_ms)
{
	struct stopwatch watch;

	topic("one-shot timer");
	apic_write(APIC_LVT_TIMER, VECTOR_TICK);
	stopwatch_start(&watch);
	apic_write(APIC_TIMER_INITIAL, per_ms * ONE_SHOT_MS);
	wait_until(ticks(), 1);
	expect_at_least("one-shot", stopwatch_us(&watch), ONE_SHOT_MS * 1000);
	EXPECT("current count afterwards", apic_read(APIC_TIMER_CURRENT), 0);
	delay_us(2 * ONE_SHOT_MS * 1000);
	EXPECT("it does not come again", *ticks(), 1);

	apic_write(APIC_TIMER_INITIAL, per_ms);
	apic_write(APIC_TIMER_INITIAL, 0);
	delay_us(2000);
	EXPECT("an initial count of 0 stops it", *ticks(), 1);

	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TICK);
	apic_write(APIC_TIMER_INITIAL, per_ms);
	delay_us(2000);
	EXPECT("a masked timer runs out silently", *ticks(), 1);
	EXPECT("its count", apic_read(APIC_TIMER_CURRENT), 0);
}

static void test_periodic(uint32_t per_ms)
{
	struct stopwatch watch;
	uint64_t before = *ticks();

	topic("periodic timer");
	apic_write(APIC_LVT_TIMER, LVT_TIMER_PERIODIC | VECTOR_TICK);
	stopwatch_start(&watch);
	apic_write(APIC_TIMER_INITIAL, per_ms * PERIOD_MS);
	wait_until(ticks(), before + PERIODS);
	expect_at_least("periods", stopwatch_us(&watch), PERIODS * PERIOD_MS * 1000);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TICK);
	apic_write(APIC_TIMER_INITIAL, 0);
}

static void test_tsc_deadline(void)
{
	uint64_t before = *ticks(), start, deadline;

	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_TSC_DEADLINE)) {
		not_present("TSC-deadline timer");
		return;
	}
	topic("TSC-deadline timer");
	apic_write(APIC_LVT_TIMER, LVT_TIMER_DEADLINE | VECTOR_TICK);
	/* The mode must be in force before the MSR is written (SDM vol. 3, section 10.5.4.1). */
	__asm__ volatile("mfence" : : : "memory");
	start = read_tsc();
	deadline = start + 2000000;
	write_msr(MSR_TSC_DEADLINE, deadline);
	EXPECT("armed", read_msr(MSR_TSC_DEADLINE) == deadline || read_tsc() >= deadline, true);
	wait_until(ticks(), before + 1);
	EXPECT("not early", read_tsc() >= deadline, true);
	EXPECT("disarmed afterwards", read_msr(MSR_TSC_DEADLINE), 0);

	write_msr(MSR_TSC_DEADLINE, 1);
	wait_until(ticks(), before + 2);
	EXPECT("a deadline in the past comes at once", *ticks(), before + 2);

	write_msr(MSR_TSC_DEADLINE, read_tsc() + 5000000);
	write_msr(MSR_TSC_DEADLINE, 0);
	delay_us(5000);
	EXPECT("0 disarms", *ticks(), before + 2);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TICK);
}

void test_timer(void)
{
	uint32_t per_ms = apic_timer_per_ms();

	forget_arrivals();
	test_one_shot(per_ms);
	test_periodic(per_ms);
	test_tsc_deadline();
}
