/* How long interrupts take: an IPI there and back between two CPUs, and the local APIC's timer.
 *
 * Each with CPUs that run, and with CPUs that are halted. Everything is measured on CPU 0.
 * Command line: pings= round trips of each kind (3000), alarms= of each kind (300). Needs two CPUs. */
#include <stdbool.h>

#include "apic.h"
#include "bench.h"
#include "guest.h"
#include "interrupts.h"
#include "smp.h"

enum { VECTOR_PING = VECTOR_TEST, VECTOR_PONG, VECTOR_ALARM, VECTOR_END, WARM_UP = 100 };

#define ALARM_US 500

static uint64_t pings, alarms;
static bool halting, ended, answered;
static uint64_t rang;

static void send(int to, int vector)
{
	apic_send(cpu_at(to)->apic_id, ICR_FIXED | ICR_ASSERT | (uint32_t)vector);
}

static void on_ping(struct interrupt_frame *frame)
{
	(void)frame;
	send(0, VECTOR_PONG);
	apic_eoi();
}

static void on_pong(struct interrupt_frame *frame)
{
	(void)frame;
	__atomic_store_n(&answered, true, __ATOMIC_RELEASE);
	apic_eoi();
}

static void on_end(struct interrupt_frame *frame)
{
	(void)frame;
	__atomic_store_n(&ended, true, __ATOMIC_RELEASE);
	apic_eoi();
}

static void on_alarm(struct interrupt_frame *frame)
{
	(void)frame;
	rang = read_tsc();
	__atomic_store_n(&answered, true, __ATOMIC_RELEASE);
	apic_eoi();
}

/* Until a handler has set it, halted or at work. Interrupts are on. */
static void wait_for(const bool *flag)
{
	if (!halting) {
		while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
			;
		return;
	}
	interrupts_off();
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		wait_for_interrupt();
	interrupts_on();
}

static void ping(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t started = read_tsc();

		answered = false;
		send(1, VECTOR_PING);
		wait_for(&answered);
		bench_sample(read_tsc() - started);
	}
}

static void play(struct cpu *cpu)
{
	if (cpu->index == 1)
		wait_for(&ended);
	if (cpu->index != 0)
		return;
	ping(WARM_UP);
	sample_count = 0;
	ping(pings);
	send(1, VECTOR_END);
}

static void measure_pings(const char *name, bool halted)
{
	halting = halted;
	ended = false;
	smp_run(play);
	bench_samples(name);
}

/* The timer's counts in ALARM_US and the ticks of the TSC in the same time, by the two against each other. */
static void alarm_length(uint32_t *counts, uint64_t *ticks)
{
	uint64_t started, passed;
	uint32_t left;

	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
	started = read_tsc();
	delay_us(CALIBRATION_US);
	left = apic_read(APIC_TIMER_CURRENT);
	passed = read_tsc() - started;
	apic_write(APIC_TIMER_INITIAL, 0);
	*ticks = tsc_ticks * ALARM_US / tsc_us;
	*counts = (uint32_t)((UINT32_MAX - left) * *ticks / passed);
}

/* From the moment that the alarm is set for to the handler's first instructions. */
static void measure_alarms(const char *name, bool halted)
{
	uint32_t counts;
	uint64_t ticks;

	halting = halted;
	alarm_length(&counts, &ticks);
	apic_write(APIC_LVT_TIMER, VECTOR_ALARM);
	for (uint64_t i = 0; i < alarms; i++) {
		uint64_t due;

		answered = false;
		due = read_tsc() + ticks;
		apic_write(APIC_TIMER_INITIAL, counts);
		wait_for(&answered);
		/* The counts are rounded down: an alarm may come a hair early. */
		bench_sample(rang > due ? rang - due : 0);
	}
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	bench_samples(name);
}

void guest_main(void)
{
	pings = option("pings", 3000);
	alarms = option("alarms", 300);
	bench_calibrate();
	set_handler(VECTOR_PING, on_ping);
	set_handler(VECTOR_PONG, on_pong);
	set_handler(VECTOR_ALARM, on_alarm);
	set_handler(VECTOR_END, on_end);
	smp_start();
	if (cpu_count < 2)
		panic("IPIs between two CPUs: --smp 2 is right");
	measure_pings("ipi-running", false);
	measure_pings("ipi-halted", true);
	measure_alarms("timer-running", false);
	measure_alarms("timer-halted", true);
	power_off();
}
