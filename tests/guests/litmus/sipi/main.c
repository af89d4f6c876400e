/* INIT and SIPI, over and over and close together (SDM vol. 3, sections 8.4 and 10.4.7.3): an AP starts at the vector
 * of the SIPI that came after the last INIT, in the state that INIT leaves, and nothing of what it did before goes on.
 *
 * Command line: rounds= of each kind; strict=1 makes a failure of what is else only told as `deviates`; race=1 adds an INIT
 * that comes before the AP has taken the SIPI before it: QEMU 7.2 then starts at the old vector and ignores the new one.
 * Needs two CPUs. Status 33 when all passed. */
#include <stddef.h>

#include "acpi.h"
#include "apic.h"
#include "check.h"
#include "guest.h"
#include "litmus.h"
#include "sipi.h"
#include "smp.h"
#include "string.h"
#include "timer.h"

#define START_LIMIT_US 5000000
#define CR0_ET 0x10
/* INIT keeps CD and NW. */
#define CR0_CACHES 0x60000000
#define FLAGS_AFTER_INIT 2

enum { LINGER_MASK = 0xffff, QUIET_US = 50 };

struct told {
	uint32_t starts[VECTORS];
	uint32_t ticks[VECTORS];
	uint32_t cs, cr0, flags;
} __attribute__((aligned(1 << TOLD_SHIFT)));

_Static_assert(offsetof(struct told, starts) == TOLD_STARTS, "start.S counts there");
_Static_assert(offsetof(struct told, ticks) == TOLD_TICKS, "start.S counts there");
_Static_assert(offsetof(struct told, cs) == TOLD_CS, "start.S tells it there");
_Static_assert(offsetof(struct told, cr0) == TOLD_CR0, "start.S tells it there");
_Static_assert(offsetof(struct told, flags) == TOLD_FLAGS, "start.S tells it there");

extern const uint8_t sipi_start[], sipi_end[];

static uint64_t rounds, random_state = 1;
static bool strict;
static int aps;
static uint8_t ap[MAX_CPUS];

static volatile struct told *told_by(int n)
{
	return (struct told *)physical(TOLD_SEGMENT << 4) + ap[n];
}

static void send_init(int n)
{
	apic_send(ap[n], ICR_INIT | ICR_LEVEL | ICR_ASSERT);
}

static void send_sipi(int n, int vector)
{
	apic_send(ap[n], ICR_STARTUP | ICR_ASSERT | (uint32_t)(VECTOR_FIRST + vector));
}

static int any_vector(void)
{
	return (int)(next_random(&random_state) % VECTORS);
}

static int another_vector(int than)
{
	return (than + 1 + (int)(next_random(&random_state) % (VECTORS - 1))) % VECTORS;
}

static void linger_somewhat(void)
{
	linger(next_random(&random_state) & LINGER_MASK & (next_random(&random_state) | 0xff));
}

static uint32_t all_starts(int n)
{
	uint32_t sum = 0;

	for (int vector = 0; vector < VECTORS; vector++)
		sum += told_by(n)->starts[vector];
	return sum;
}

/* An AP that does not start is a failure, and the end: the rest would only wait as long. */
static void wait_for_starts(const volatile uint32_t *starts, uint32_t wanted, const char *what)
{
	struct stopwatch watch;

	stopwatch_start(&watch);
	while (__atomic_load_n(starts, __ATOMIC_ACQUIRE) < wanted) {
		if (stopwatch_us(&watch) > START_LIMIT_US) {
			EXPECT(what, *starts, wanted);
			finish();
		}
		pause();
	}
}

static void start_at(int n, int vector, const char *what)
{
	uint32_t before = told_by(n)->starts[vector];

	send_init(n);
	send_sipi(n, vector);
	wait_for_starts(&told_by(n)->starts[vector], before + 1, what);
}

static void check_state(int n, int vector)
{
	volatile struct told *told = told_by(n);

	EXPECT("CS after SIPI", told->cs, (uint32_t)(VECTOR_FIRST + vector) << 8);
	EXPECT("CR0 after INIT", told->cr0 & ~(uint32_t)CR0_CACHES, CR0_ET);
	EXPECT("EFLAGS after INIT", told->flags, FLAGS_AFTER_INIT);
}

/* -- the tests: each for one AP and one round --------------------------------------------------------- */

static void once(int n)
{
	int vector = any_vector();
	uint32_t before = all_starts(n);

	start_at(n, vector, "starts after INIT, SIPI");
	check_state(n, vector);
	EXPECT("starts after INIT, SIPI", all_starts(n), before + 1);
}

static void init_twice(int n)
{
	int vector = any_vector();
	uint32_t before = all_starts(n);

	send_init(n);
	linger_somewhat();
	start_at(n, vector, "starts after INIT, INIT, SIPI");
	check_state(n, vector);
	EXPECT("starts after INIT, INIT, SIPI", all_starts(n), before + 1);
}

static void expect_silence(int n, int vector)
{
	uint32_t starts = told_by(n)->starts[vector], ticks = told_by(n)->ticks[vector];

	delay_us(QUIET_US);
	EXPECT("a start at the vector before the INIT", told_by(n)->starts[vector], starts);
	EXPECT("work of the AP before its INIT goes on", told_by(n)->ticks[vector], ticks);
}

/* The AP is at work, somewhere in its first instructions or beyond, when the next INIT comes. */
static void start_again(int n)
{
	int first = any_vector(), second = another_vector(first);
	uint32_t before = all_starts(n);

	start_at(n, first, "starts at the first vector");
	linger_somewhat();
	start_at(n, second, "starts at the second vector");
	check_state(n, second);
	expect_silence(n, first);
	EXPECT("starts of both", all_starts(n), before + 2);
}

/* Whether it ever was at the first vector is open; in the end it must be at the second. */
static void start_again_at_once(int n)
{
	int first = any_vector(), second = another_vector(first);
	uint32_t before = all_starts(n);

	send_init(n);
	send_sipi(n, first);
	linger_somewhat();
	start_at(n, second, "starts at the second of two vectors at once");
	check_state(n, second);
	expect_silence(n, first);
	EXPECT("more than two starts", all_starts(n) - before > 2, false);
}

/* The second SIPI finds an AP that does not wait any more. QEMU 7.2 keeps one vector, which the second replaces. */
static void second_sipi(int n)
{
	int first = any_vector(), second = another_vector(first);
	uint32_t before = all_starts(n);
	struct stopwatch watch;
	static bool told;

	send_init(n);
	send_sipi(n, first);
	send_sipi(n, second);
	stopwatch_start(&watch);
	while (all_starts(n) == before && stopwatch_us(&watch) < START_LIMIT_US)
		pause();
	delay_us(QUIET_US);
	EXPECT("starts after INIT, SIPI, SIPI", all_starts(n), before + 1);
	if (strict)
		EXPECT("CS after INIT, SIPI, SIPI", told_by(n)->cs, (uint32_t)(VECTOR_FIRST + first) << 8);
	else if (told_by(n)->cs != (uint32_t)(VECTOR_FIRST + first) << 8 && !told)
		print("deviates: the second of two SIPIs counts\n"), told = true;
}

static void sipi_while_running(int n)
{
	int vector = any_vector();
	uint32_t before;

	start_at(n, vector, "starts before another SIPI");
	before = all_starts(n);
	send_sipi(n, another_vector(vector));
	delay_us(QUIET_US);
	EXPECT("starts by a SIPI without INIT", all_starts(n), before);
}

static void run(const char *name, void (*test)(int n))
{
	topic(name);
	for (uint64_t round = 0; round < rounds; round++) {
		for (int n = 0; n < aps; n++)
			test(n);
	}
}

/* All at one time, by shorthand. */
static void run_all_together(void)
{
	topic("all APs together");
	for (uint64_t round = 0; round < rounds; round++) {
		int vector = any_vector();
		uint32_t before[MAX_CPUS], all[MAX_CPUS];

		for (int n = 0; n < aps; n++) {
			before[n] = told_by(n)->starts[vector];
			all[n] = all_starts(n);
		}
		apic_send(0, ICR_ALL_BUT_SELF | ICR_INIT | ICR_LEVEL | ICR_ASSERT);
		apic_send(0, ICR_ALL_BUT_SELF | ICR_STARTUP | ICR_ASSERT | (uint32_t)(VECTOR_FIRST + vector));
		for (int n = 0; n < aps; n++) {
			wait_for_starts(&told_by(n)->starts[vector], before[n] + 1, "starts by shorthand");
			check_state(n, vector);
			EXPECT("starts by shorthand", all_starts(n), all[n] + 1);
		}
	}
}

static void prepare(void)
{
	for (uint64_t vector = VECTOR_FIRST; vector < VECTOR_FIRST + VECTORS; vector++)
		memcpy(physical(vector << 12), sipi_start, (size_t)(sipi_end - sipi_start));
	memset(physical(TOLD_SEGMENT << 4), 0, sizeof(struct told) * MAX_CPUS);
	for (int i = 0; i < acpi.cpu_count; i++) {
		if (acpi.apic_id[i] != this_cpu()->apic_id && acpi.apic_id[i] < MAX_CPUS)
			ap[aps++] = acpi.apic_id[i];
	}
}

_Noreturn void guest_main(void)
{
	rounds = count_option("rounds", 8);
	strict = option("strict", 0);
	apic_enable();
	prepare();
	if (!aps) {
		not_present("a second CPU");
		finish();
	}
	run("INIT, SIPI", once);
	run("INIT, INIT, SIPI", init_twice);
	run("INIT, SIPI of an AP at work", start_again);
	run("a second SIPI", second_sipi);
	run("SIPI of an AP at work", sipi_while_running);
	run_all_together();
	if (option("race", 0))
		run("INIT, SIPI, INIT, SIPI", start_again_at_once);
	finish();
}
