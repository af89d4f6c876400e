/* Code that several CPUs write and run at one time, in the same pages (SDM vol. 3, section 8.1.3). What one writer and
 * its readers do is in code-modification; here every CPU is both, so that each takes pages away from the others
 * while it needs theirs.
 *
 * Command line: rounds= of each CPU; race=1 adds code that changes while others fetch it, which the SDM leaves to the
 * processor, operating systems rely on and QEMU 7.2 fails. Any smp. Status 33 when all passed. */
#include <stddef.h>

#include "check.h"
#include "code.h"
#include "guest.h"
#include "litmus.h"
#include "paging.h"
#include "smp.h"
#include "string.h"

#define SLOT_BYTES 64

#define ALIAS WINDOW

enum { CPUS_MAX = PAGE_BYTES / SLOT_BYTES / 2, PLACES = 3, TIMES_EACH = 5, COUNTER_AT = 0x600 };

/* Pairs of pages, so that a function can lie over the boundary. The last pair is for all. */
static uint8_t code[2 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t inbox_code[MAX_CPUS + 1][2 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint64_t rounds;

/* -- compilers side by side: each CPU writes and calls its own functions, all in one page ---------------- */

static uint64_t *counter_in_page(void)
{
	return (uint64_t *)(code + PAGE_BYTES - SLOT_BYTES);
}

static void write_and_call_own(struct cpu *cpu)
{
	uint8_t *slot = code + cpu->index * SLOT_BYTES;
	uint64_t stale = 0;

	if (cpu->index >= CPUS_MAX)
		return;
	for (uint32_t i = 1; i <= rounds; i++) {
		uint32_t value = i << 8 | (uint32_t)cpu->index;

		write_function(slot, value);
		stale += call_code(slot) != value;
		/* Data among the code, which all count in. */
		__asm__ volatile("lock incq %0" : "+m"(*counter_in_page()) : : "cc", "memory");
		stale += call_code(slot) != value;
	}
	EXPECT("stale calls of own code", stale, 0);
}

static void test_side_by_side(void)
{
	uint64_t cpus = cpu_count < CPUS_MAX ? (uint64_t)cpu_count : CPUS_MAX;

	topic("all write and run code in one page");
	memset(code, 0, sizeof code);
	smp_run(write_and_call_own);
	EXPECT("counted among the code", *counter_in_page(), cpus * rounds);
}

/* -- a ring: each CPU writes what the next one runs, while it runs what the last one wrote --------------- */

static struct {
	uint64_t sent;
	const uint8_t *entry;
	uint32_t value;
	uint64_t taken __attribute__((aligned(CACHE_LINE)));
} inbox[MAX_CPUS] __attribute__((aligned(CACHE_LINE)));

static uint64_t finished;

/* The part of a value that does not change, in the first of two pages. */
#define FIXED_PART 0x5aa5

/* Data beside the code, in either page, which all count in while it is fetched and written. */
static uint64_t *counter_beside(int receiver, uint64_t page)
{
	return (uint64_t *)(inbox_code[receiver] + page % 2 * PAGE_BYTES + COUNTER_AT);
}

static void count_beside(uint64_t random)
{
	uint64_t *counter = counter_beside((int)(random % (uint64_t)cpu_count), random >> 32);

	__asm__ volatile("lock incq %0" : "+m"(*counter) : : "cc", "memory");
}

/* In the middle of a page, with an instruction that lies over two, or in the page that all write and run; a few times
 * each, so that what ran last is what is changed. */
static uint8_t *place_for(int receiver, uint64_t number, bool by_alias)
{
	static const int in_page[PLACES] = { 0x200, PAGE_BYTES - 3, 0x200 };
	uint64_t place = number / TIMES_EACH % PLACES;
	uint8_t *at = inbox_code[receiver] + in_page[place];

	if (place == PLACES - 1 && receiver < CPUS_MAX)
		at = inbox_code[MAX_CPUS] + receiver * SLOT_BYTES;
	return by_alias ? (uint8_t *)physical(ALIAS) + (at - inbox_code[0]) : at;
}

static bool send(int receiver, uint64_t number)
{
	uint32_t value = (uint32_t)number << 16 | FIXED_PART;
	bool by_alias = number & 2;
	uint8_t *place = place_for(receiver, number, by_alias);

	if (__atomic_load_n(&inbox[receiver].taken, __ATOMIC_ACQUIRE) != number - 1)
		return false;
	/* The first times at a place all of it; later also only what changes, which may be in the second page alone. */
	if (number <= PLACES * TIMES_EACH || number % 3)
		write_function(place, value);
	else
		*(volatile uint16_t *)(place + 3) = (uint16_t)number;
	/* Run through the mapping that it was written through, or through the other. */
	inbox[receiver].entry = place_for(receiver, number, number & 4 ? by_alias : !by_alias);
	inbox[receiver].value = value;
	__atomic_store_n(&inbox[receiver].sent, number, __ATOMIC_RELEASE);
	return true;
}

static uint64_t run_what_came(int me)
{
	uint64_t number = __atomic_load_n(&inbox[me].sent, __ATOMIC_ACQUIRE);
	uint64_t stale;

	if (number == inbox[me].taken)
		return 0;
	/* What the SDM asks of the CPU that runs cross-modified code. */
	serialize();
	stale = call_code(inbox[me].entry) != inbox[me].value;
	__atomic_store_n(&inbox[me].taken, number, __ATOMIC_RELEASE);
	return stale;
}

static void send_and_run(struct cpu *cpu)
{
	int receiver = (cpu->index + 1) % cpu_count;
	uint64_t stale = 0, random = (uint64_t)cpu->index + 1;

	for (uint64_t number = 1; number <= rounds;) {
		bool sent = send(receiver, number);

		number += sent;
		if (sent)
			count_beside(next_random(&random));
		stale += run_what_came(cpu->index);
		pause();
	}
	while (__atomic_load_n(&inbox[receiver].taken, __ATOMIC_ACQUIRE) < rounds || inbox[cpu->index].taken < rounds) {
		stale += run_what_came(cpu->index);
		pause();
	}
	__atomic_add_fetch(&finished, 1, __ATOMIC_RELAXED);
	EXPECT("stale calls of another CPU's code", stale, 0);
}

static void test_ring(void)
{
	uint64_t beside = 0;

	topic("each writes what the next one runs");
	for (uint64_t offset = 0; offset < sizeof inbox_code; offset += PAGE_BYTES)
		map_page(ALIAS + offset, inbox_code[0] + offset, PTE_P | PTE_W);
	smp_run(send_and_run);
	EXPECT("CPUs that finished", finished, cpu_count);
	for (int i = 0; i < cpu_count; i++)
		beside += *counter_beside(i, 0) + *counter_beside(i, 1);
	EXPECT("counted beside the code", beside, rounds * (uint64_t)cpu_count);
}

/* -- pages that are used again: whoever takes one finds code or data there, and leaves the other ------------- */

enum { POOL = 4, FUNCTIONS = 8, FUNCTION_STRIDE = PAGE_BYTES / FUNCTIONS };

static uint8_t pool[POOL][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static struct {
	uint64_t taken;
	/* What is there: of the use with this number, odd ones code, even ones data. */
	uint32_t use;
} uses[POOL] __attribute__((aligned(CACHE_LINE)));

static bool page_take(int page)
{
	return !__atomic_exchange_n(&uses[page].taken, 1, __ATOMIC_ACQUIRE);
}

static void page_free(int page)
{
	__atomic_store_n(&uses[page].taken, 0, __ATOMIC_RELEASE);
}

static uint32_t value_of(uint32_t use, int function)
{
	return use << 8 | (uint32_t)function;
}

static uint64_t run_page(uint8_t *page, uint32_t use)
{
	uint64_t stale = 0;

	serialize();
	for (int i = 0; i < FUNCTIONS; i++)
		stale += call_code(page + i * FUNCTION_STRIDE) != value_of(use, i);
	return stale;
}

static uint64_t look_at_page(const uint8_t *page, uint32_t use)
{
	const volatile uint32_t *words = (const volatile uint32_t *)page;
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < PAGE_BYTES / sizeof *words; i++)
		wrong += words[i] != value_of(use, 0);
	return wrong;
}

static void fill_page(uint8_t *page, uint32_t use)
{
	for (uint64_t i = 0; i < PAGE_BYTES / sizeof use && use % 2 == 0; i++)
		((volatile uint32_t *)page)[i] = value_of(use, 0);
	for (int i = 0; i < FUNCTIONS && use % 2; i++)
		write_function(page + i * FUNCTION_STRIDE, value_of(use, i));
}

static void use_pages(struct cpu *cpu)
{
	uint64_t random = (uint64_t)cpu->index + 1, stale = 0, wrong = 0;

	for (uint64_t i = 0; i < rounds;) {
		int page = (int)(next_random(&random) % POOL);
		uint32_t use;

		if (!page_take(page)) {
			pause();
			continue;
		}
		use = uses[page].use;
		if (use % 2)
			stale += run_page(pool[page], use);
		else if (use)
			wrong += look_at_page(pool[page], use);
		fill_page(pool[page], ++use);
		/* Its own CPU holds it as code, too. */
		if (use % 2 && random >> 32 & 1)
			stale += run_page(pool[page], use);
		uses[page].use = use;
		page_free(page);
		i++;
	}
	EXPECT("stale calls in pages used again", stale, 0);
	EXPECT("wrong words in pages used again", wrong, 0);
}

static void test_pages_used_again(void)
{
	topic("pages are used for code, for data, for other code");
	smp_run(use_pages);
}

/* -- code that changes while others run it: one aligned store, so that all run either the old or the new -------- */

enum { IMMEDIATE_AT = 0x403 };

static struct {
	uint64_t oldest __attribute__((aligned(CACHE_LINE))); /* that a call may still find */
	uint64_t newest __attribute__((aligned(CACHE_LINE)));
	uint64_t done;
} version;

static void change_versions(void)
{
	uint64_t random = 1;

	for (uint64_t value = 1; value <= rounds; value++) {
		__atomic_store_n(&version.newest, value, __ATOMIC_RELEASE);
		*(volatile uint32_t *)(code + IMMEDIATE_AT + 1) = (uint32_t)value;
		__atomic_store_n(&version.oldest, value, __ATOMIC_RELEASE);
		linger(next_random(&random) & 0xfff);
		if ((random >> 32) % 4 == 0)
			pause();
	}
	__atomic_store_n(&version.done, 1, __ATOMIC_RELEASE);
}

static void run_versions(void)
{
	uint64_t last = 0, older = 0, newer = 0, backwards = 0;

	while (!__atomic_load_n(&version.done, __ATOMIC_ACQUIRE)) {
		uint64_t oldest = __atomic_load_n(&version.oldest, __ATOMIC_ACQUIRE), got;

		serialize();
		got = call_code(code + IMMEDIATE_AT);
		older += got < oldest;
		newer += got > __atomic_load_n(&version.newest, __ATOMIC_ACQUIRE);
		backwards += got < last;
		last = got;
	}
	EXPECT("calls of code older than what all must see", older, 0);
	EXPECT("calls of code that was not there yet", newer, 0);
	EXPECT("calls of code older than the last call's", backwards, 0);
}

static void change_or_run(struct cpu *cpu)
{
	if (cpu->index)
		run_versions();
	else
		change_versions();
}

static void test_versions(void)
{
	topic("code changes while others run it");
	write_function(code + IMMEDIATE_AT, 0);
	smp_run(change_or_run);
	EXPECT("the last version", call_code(code + IMMEDIATE_AT), rounds);
}

_Noreturn void guest_main(void)
{
	rounds = count_option("rounds", 150);
	smp_start();
	test_side_by_side();
	test_pages_used_again();
	if (cpu_count < 2) {
		not_present("a second CPU");
		finish();
	}
	test_ring();
	if (option("race", 0))
		test_versions();
	finish();
}
