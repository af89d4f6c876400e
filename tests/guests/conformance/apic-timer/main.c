/* The local APIC's timer (SDM vol. 3, 10.5.4): modes, counts, TSC deadlines, and the TSC's MSRs with them. Any smp.
 *
 * Lower bounds of time only: a late tick is no error. */
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"

#define TICK 0xee
#define MSR_TSC 0x10
#define MSR_TSC_ADJUST 0x3b
#define CPUID_1_ECX_TSC_DEADLINE (1u << 24)
#define CPUID_7_EBX_TSC_ADJUST (1u << 1)
#define DIVIDE_BY_1 0xb
#define LONG_COUNT 50000000 /* at 1 GHz longer than this CPU's guest is likely to wait for a core of the host */
#define MODES "its mode bit starts a timer that has run out; SDM vol. 3, 10.5.4"

static uint32_t count(void)
{
	return apic_read(APIC_TIMER_CURRENT);
}

static void wait_for_zero(void)
{
	while (count() != 0)
		pause();
}

static void wait_for_half(uint32_t initial)
{
	while (count() > initial / 2)
		pause();
}

static void change_mode(uint32_t mode)
{
	apic_write(APIC_LVT_TIMER, (apic_read(APIC_LVT_TIMER) & ~0x60000u) | mode);
}

static void test_one_shot(void)
{
	uint64_t start;

	topic("one-shot");
	forget_arrivals();
	apic_write(APIC_LVT_TIMER, TICK);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
	start = read_tsc();
	apic_write(APIC_TIMER_INITIAL, 0x10000);
	CHECK("one interrupt", await_arrivals(0, TICK, 1), 1);
	CHECK("not before its time", read_tsc() - start >= 0x10000, 1);
	CHECK("its count is zero then", count(), 0);
	CHECK("the initial count stays", apic_read(APIC_TIMER_INITIAL), 0x10000);
	delay_us(2000);
	CHECK("it does not come again", arrived(0, TICK), 1);
	apic_write(APIC_TIMER_INITIAL, LONG_COUNT);
	CHECK("it counts down", count() > 0 && count() <= LONG_COUNT, 1);
	apic_write(APIC_TIMER_INITIAL, 0);
	CHECK("0 stops it", count(), 0);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | TICK);
	apic_write(APIC_TIMER_INITIAL, 1000);
	wait_for_zero();
	delay_us(1000);
	apic_write(APIC_LVT_TIMER, TICK);
	let_interrupts_in();
	CHECK("one that ends while masked is lost", arrived(0, TICK), 1);
}

static void test_periodic(void)
{
	uint64_t start;

	topic("periodic");
	forget_arrivals();
	apic_write(APIC_LVT_TIMER, LVT_TIMER_PERIODIC | TICK);
	start = read_tsc();
	apic_write(APIC_TIMER_INITIAL, 1000000);
	CHECK("again and again", await_arrivals(0, TICK, 5) >= 5, 1);
	CHECK("not before their time", read_tsc() - start >= 5000000, 1);
	CHECK("a period's count", count() <= 1000000, 1);
	apic_write(APIC_TIMER_INITIAL, 0);
	let_interrupts_in();
	forget_arrivals();
	delay_us(5000);
	CHECK("an initial count of 0 ends it", arrived(0, TICK), 0);
}

static void test_changes(void)
{
	uint32_t at_half, left;

	topic("changes of mode");
	apic_write(APIC_LVT_TIMER, LVT_MASKED | TICK);
	apic_write(APIC_TIMER_INITIAL, LONG_COUNT);
	change_mode(LVT_TIMER_PERIODIC);
	CHECK("the initial count stays by a change", apic_read(APIC_TIMER_INITIAL), LONG_COUNT);
	wait_for_half(LONG_COUNT);
	change_mode(0);
	CHECK("the count goes on as a one-shot", count() <= LONG_COUNT / 2, 1);
	wait_for_zero();
	delay_us(1000);
	CHECK("and ends", count(), 0);
	change_mode(LVT_TIMER_PERIODIC);
	CHECK_NOT_QEMU("one that has ended is not started by its mode", count(), 0, MODES);
	do {
		change_mode(0);
		apic_write(APIC_TIMER_INITIAL, LONG_COUNT);
		wait_for_half(LONG_COUNT);
		at_half = count();
		change_mode(LVT_TIMER_PERIODIC);
		left = count();
		/* 0 where the host has let it wait for longer. */
	} while (at_half == 0 || left == 0);
	CHECK("the count goes on as periodic", left <= at_half, 1);
	for (uint32_t last = left; (left = count()) <= last; last = left)
		pause();
	CHECK("and starts again", left > 0, 1);
	apic_write(APIC_TIMER_INITIAL, 0);
}

static void test_divisors(void)
{
	static const struct {
		uint32_t code;
		unsigned divisor;
	} divisors[] = { { 0xb, 1 }, { 0, 2 }, { 1, 4 }, { 2, 8 }, { 3, 16 }, { 8, 32 }, { 9, 64 }, { 10, 128 } };
	struct stopwatch around, within;
	uint64_t bad = 0;

	topic("divide configuration");
	apic_write(APIC_LVT_TIMER, LVT_MASKED | TICK);
	for (unsigned i = 0; i < sizeof divisors / sizeof divisors[0]; i++) {
		uint64_t counted, at_least, at_most;

		apic_write(APIC_TIMER_DIVIDE, divisors[i].code);
		stopwatch_start(&around);
		apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
		stopwatch_start(&within);
		delay_us(2000);
		at_least = stopwatch_us(&within) * 1000;
		counted = (uint64_t)(UINT32_MAX - count()) * divisors[i].divisor;
		at_most = stopwatch_us(&around) * 1000;
		/* A bus clock of 1 GHz, as in QEMU, whose clock may run a few per cent beside the PM timer's. */
		bad += counted < at_least * 3 / 4 || counted > at_most * 5 / 4;
	}
	CHECK("divisors that are wrong", bad, 0);
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
}

static void test_deadline(void)
{
	uint64_t deadline, late = 0;

	topic("TSC deadline");
	forget_arrivals();
	apic_write(APIC_TIMER_INITIAL, LONG_COUNT);
	apic_write(APIC_LVT_TIMER, LVT_TIMER_DEADLINE | TICK);
	__asm__ volatile("mfence" : : : "memory");
	CHECK("its mode ends a count", count(), 0);
	apic_write(APIC_TIMER_INITIAL, LONG_COUNT);
	CHECK("and starts none", count(), 0);
	CHECK("not armed at first", read_msr(MSR_TSC_DEADLINE), 0);
	for (uint64_t i = 0; i < 100; i++) {
		write_msr(MSR_TSC_DEADLINE, read_tsc());
		__asm__ volatile("nop" : : : "memory");
		late += arrived(0, TICK) != i + 1;
	}
	CHECK("one in the past comes by the next instruction", late, 0);
	CHECK("and is disarmed", read_msr(MSR_TSC_DEADLINE), 0);
	forget_arrivals();
	deadline = read_tsc() + 3000000;
	write_msr(MSR_TSC_DEADLINE, deadline);
	CHECK("one in the future is kept", read_msr(MSR_TSC_DEADLINE) == deadline || read_tsc() >= deadline, 1);
	CHECK("it comes", await_arrivals(0, TICK, 1), 1);
	CHECK("not before its TSC", read_tsc() >= deadline, 1);
	CHECK("then it is disarmed", read_msr(MSR_TSC_DEADLINE), 0);
	write_msr(MSR_TSC_DEADLINE, read_tsc() + 5000000);
	write_msr(MSR_TSC_DEADLINE, 0);
	delay_us(5000);
	CHECK("0 disarms", arrived(0, TICK), 1);
	write_msr(MSR_TSC_DEADLINE, UINT64_MAX);
	apic_write(APIC_LVT_TIMER, TICK);
	CHECK("another mode disarms", read_msr(MSR_TSC_DEADLINE), 0);
	write_msr(MSR_TSC_DEADLINE, 1);
	CHECK("and ignores deadlines", read_msr(MSR_TSC_DEADLINE), 0);
	apic_write(APIC_LVT_TIMER, LVT_TIMER_DEADLINE | LVT_MASKED | TICK);
	write_msr(MSR_TSC_DEADLINE, 1);
	let_interrupts_in();
	CHECK("masked it is lost", arrived(0, TICK), 1);
	CHECK("and disarmed, too", read_msr(MSR_TSC_DEADLINE), 0);
}

static void test_adjust_deadline(void)
{
	uint64_t adjust;

	topic("TSC deadline and the TSC's MSRs");
	forget_arrivals();
	apic_write(APIC_LVT_TIMER, LVT_TIMER_DEADLINE | TICK);
	adjust = read_msr(MSR_TSC_ADJUST);
	write_msr(MSR_TSC_DEADLINE, read_tsc() + (1ull << 40));
	write_msr(MSR_TSC_ADJUST, adjust + (1ull << 41));
	CHECK("a TSC that is adjusted past it", await_arrivals(0, TICK, 1), 1);
	write_msr(MSR_TSC_ADJUST, adjust);
	write_msr(MSR_TSC_DEADLINE, read_tsc() + (1ull << 40));
	write_msr(MSR_TSC, read_tsc() + (1ull << 41));
	CHECK("a TSC that is set past it", await_arrivals(0, TICK, 2), 2);
	write_msr(MSR_TSC_ADJUST, adjust);
}

static void test_adjust(void)
{
	uint64_t adjust = read_msr(MSR_TSC_ADJUST), before;

	topic("IA32_TSC_ADJUST");
	write_msr(MSR_TSC_ADJUST, adjust + (1ull << 50));
	CHECK("it is kept", read_msr(MSR_TSC_ADJUST), adjust + (1ull << 50));
	CHECK("and moves the TSC", read_tsc() >> 50, 1);
	write_msr(MSR_TSC_ADJUST, adjust);
	CHECK("back, too", read_tsc() >> 50, 0);
	before = read_msr(MSR_TSC_ADJUST);
	write_msr(MSR_TSC, 1ull << 52);
	CHECK("a TSC that is set moves it", (read_msr(MSR_TSC_ADJUST) - before + (1ull << 49)) >> 50, 4);
	CHECK("and is set", read_tsc() >> 52, 1);
	write_msr(MSR_TSC_ADJUST, before);
}

_Noreturn void guest_main(void)
{
	bool adjusts = cpuid(7, 0).ebx & CPUID_7_EBX_TSC_ADJUST;

	count_vectors(VECTOR_TEST, 0xef);
	smp_start();
	test_one_shot();
	test_periodic();
	test_changes();
	test_divisors();
	if (cpuid(1, 0).ecx & CPUID_1_ECX_TSC_DEADLINE) {
		test_deadline();
		if (adjusts)
			test_adjust_deadline();
	} else {
		absent("TSC deadline", "CPUID.1:ECX bit 24 is clear");
	}
	if (adjusts)
		test_adjust();
	else
		absent("IA32_TSC_ADJUST", "CPUID.7:EBX bit 1 is clear");
	finish();
}
