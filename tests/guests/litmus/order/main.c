/* The memory model: what several CPUs may see of each other's loads and stores (SDM vol. 3, section 8.2).
 *
 * Every round is an instance of a test on an X and a Y of its own; all rounds' outcomes are counted, and a table
 * says how often each came. Three places for X and Y: plain pages; the same, reached by every other CPU through
 * another mapping; and with Y in a page of code that all CPUs run meanwhile.
 *
 * Command line: rounds= of each test in each place; strict=1 makes a failure of what is else only told as `deviates`.
 * Tests of three and four threads need as many CPUs. Status 33 when nothing forbidden was seen. */
#include <stddef.h>

#include "check.h"
#include "guest.h"
#include "litmus.h"
#include "paging.h"
#include "shapes.h"
#include "smp.h"
#include "string.h"

/* A page of each variable has a cell on every line but the last, which is for code. */
#define PAGES 8
#define CELLS_A_PAGE (PAGE_BYTES / CACHE_LINE - 1)
#define CELLS (PAGES * CELLS_A_PAGE)
#define ALIAS_X WINDOW
#define ALIAS_Y (WINDOW + PAGES * PAGE_BYTES)
#define RET 0xc3

enum { VALUES = 4, OUTCOMES = VALUES * VALUES * VALUES * VALUES, LINGER_MASK = 31 };

enum place { PLAIN, ALIASED, AMONG_CODE, PLACES };

static const char *const place_names[PLACES] = { "", " (aliased)", " (among code)" };

static uint8_t x_pages[PAGES][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t y_pages[PAGES][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint64_t results[THREADS_MAX][CELLS][REGISTERS] __attribute__((aligned(CACHE_LINE)));
static struct progress progress[THREADS_MAX];
static uint64_t outcomes[OUTCOMES];
static uint64_t together;

/* What runs now. */
static const struct shape *shape;
static enum place place;
static int first_cpu;
static uint64_t batch;
static bool strict;

static int thread_count(const struct shape *of)
{
	int count = 0;

	while (count < THREADS_MAX && of->threads[count])
		count++;
	return count;
}

static uint64_t *cell(uint8_t *pages, int index)
{
	return (uint64_t *)(pages + index / CELLS_A_PAGE * PAGE_BYTES + index % CELLS_A_PAGE * CACHE_LINE);
}

static void call_among(const uint8_t *pages, int index)
{
	__asm__ volatile("call *%0" : : "r"(pages + index / CELLS_A_PAGE * PAGE_BYTES + CELLS_A_PAGE * CACHE_LINE) : "memory");
}

/* A load that finds its line in the cache overtakes a store that has to fetch its own. */
static void warm_up(const uint64_t *x, const uint64_t *y, uint64_t which)
{
	if (which & 1)
		(void)*(const volatile uint64_t *)x;
	if (which & 2)
		(void)*(const volatile uint64_t *)y;
}

/* -- one batch --------------------------------------------------------------------------------- */

static void run_thread(struct cpu *cpu)
{
	int number = (cpu->index - first_cpu + cpu_count) % cpu_count, count = thread_count(shape);
	uint64_t random = (uint64_t)number + 1 + batch * THREADS_MAX;
	uint8_t *x = x_pages[0], *y = y_pages[0];

	if (number >= count)
		return;
	if (place == ALIASED && number % 2) {
		x = physical(ALIAS_X);
		y = physical(ALIAS_Y);
	}
	for (int i = 0; i < CELLS; i++) {
		if (place == AMONG_CODE)
			call_among(y, i);
		warm_up(cell(x, i), cell(y, i), next_random(&random));
		meet(progress, count, number, (uint64_t)i + 1);
		linger(random >> 8 & LINGER_MASK);
		shape->threads[number](cell(x, i), cell(y, i), results[number][i]);
	}
}

static void reset_cells(void)
{
	begin_batch(progress, THREADS_MAX, thread_count(shape) < THREADS_MAX ? PATIENCE_OF_FEW : PATIENCE_OF_ALL);
	for (int i = 0; i < CELLS; i++) {
		*cell(x_pages[0], i) = 0;
		*cell(y_pages[0], i) = 0;
	}
}

static uint64_t observe(enum observed what, int index)
{
	switch (what) {
	case NOTHING:
		return 0;
	case FINAL_X:
		return *cell(x_pages[0], index);
	case FINAL_Y:
		return *cell(y_pages[0], index);
	default:
		return results[(what - T0_R0) / REGISTERS][index][(what - T0_R0) % REGISTERS];
	}
}

/* The first observed value is the most significant digit. A value that nobody stored is a failure of any test. */
static void tally(void)
{
	together += progress[0].together;
	for (int i = 0; i < CELLS; i++) {
		uint64_t outcome = 0;

		for (int n = 0; n < OBSERVED_MAX && shape->observed[n]; n++) {
			uint64_t value = observe(shape->observed[n], i);

			if (value >= VALUES) {
				EXPECT("a value that was never stored", value, 0);
				value = VALUES - 1;
			}
			outcome = outcome * VALUES + value;
		}
		outcomes[outcome]++;
	}
}

/* -- one test ---------------------------------------------------------------------------------- */

static void digits_of(uint64_t outcome, char digits[OBSERVED_MAX + 1])
{
	int count = 0;

	while (count < OBSERVED_MAX && shape->observed[count])
		count++;
	digits[count] = 0;
	for (; count; outcome /= VALUES)
		digits[--count] = (char)('0' + outcome % VALUES);
}

static bool matches(const char *digits, const char *pattern)
{
	for (; *pattern; digits++, pattern++) {
		if (*pattern != '*' && *pattern != *digits)
			return false;
	}
	return true;
}

static bool is_forbidden(const char *digits)
{
	for (int i = 0; i < FORBIDDEN_MAX; i++) {
		if (shape->forbidden[i] && matches(digits, shape->forbidden[i]))
			return true;
	}
	return false;
}

static void report(void)
{
	print("- %s%s: %s (%lu of %lu rounds together)\n", shape->name, place_names[place], shape->text, together, batch * CELLS);
	for (uint64_t outcome = 0; outcome < OUTCOMES; outcome++) {
		char digits[OBSERVED_MAX + 1];
		bool forbidden;

		if (!outcomes[outcome])
			continue;
		digits_of(outcome, digits);
		forbidden = is_forbidden(digits);
		print("  %s %lu%s\n", digits, outcomes[outcome], forbidden ? " forbidden" : "");
		if (!forbidden)
			continue;
		if (shape->reference_deviates && !strict)
			print("deviates: %s: %s\n", shape->name, digits);
		else
			EXPECT(shape->name, outcomes[outcome], 0);
	}
}

static void run_shape(uint64_t rounds)
{
	memset(outcomes, 0, sizeof outcomes);
	together = 0;
	for (batch = 0; batch * CELLS < rounds; batch++) {
		/* Each CPU is each thread in turn. */
		first_cpu = (int)(batch % (uint64_t)cpu_count);
		reset_cells();
		smp_run(run_thread);
		tally();
	}
	report();
}

static void prepare_pages(void)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		map_page(ALIAS_X + i * PAGE_BYTES, x_pages[i], PTE_P | PTE_W);
		map_page(ALIAS_Y + i * PAGE_BYTES, y_pages[i], PTE_P | PTE_W);
		y_pages[i][CELLS_A_PAGE * CACHE_LINE] = RET;
	}
}

_Noreturn void guest_main(void)
{
	uint64_t rounds = count_option("rounds", 1000);

	strict = option("strict", 0);
	prepare_pages();
	smp_start();
	for (place = PLAIN; place < PLACES; place++) {
		for (shape = shapes; shape < shapes + shape_count; shape++) {
			if (thread_count(shape) <= cpu_count)
				run_shape(rounds);
			else
				not_present("enough CPUs for all tests");
		}
	}
	finish();
}
