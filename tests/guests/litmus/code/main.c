/* Code that several CPUs write and run at one time, in the same pages (SDM vol. 3, section 8.1.3). What one writer and
 * its readers do is in code-modification; here every CPU is both, so that each takes pages away from the others
 * while it needs theirs.
 *
 * Command line: rounds= of each CPU. Any smp. Status 33 when all passed. */
#include <stddef.h>

#include "check.h"
#include "guest.h"
#include "litmus.h"
#include "paging.h"
#include "smp.h"
#include "string.h"

/* MOV EAX, imm32; RET */
#define FUNCTION_BYTES 6
#define SLOT_BYTES 64
#define MOV_EAX 0xb8
#define RET 0xc3

#define ALIAS WINDOW

enum { CPUS_MAX = PAGE_BYTES / SLOT_BYTES / 2, TIMES_EACH = 5 };

/* Pairs of pages, so that a function can lie over the boundary. */
static uint8_t code[2 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t inbox_code[MAX_CPUS][2 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint64_t rounds;

static uint32_t call_code(const void *at)
{
	uint32_t result;

	__asm__ volatile("call *%1" : "=a"(result) : "r"(at) : "rcx", "rdx", "cc", "memory");
	return result;
}

static void write_function(uint8_t *at, uint32_t value)
{
	uint8_t bytes[FUNCTION_BYTES] = { MOV_EAX };

	memcpy(bytes + 1, &value, sizeof value);
	bytes[5] = RET;
	memcpy(at, bytes, sizeof bytes);
}

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

/* In the middle of a page, or with an instruction that lies over two, a few times each, so that what ran last is what is
 * changed. */
static uint8_t *place_for(int receiver, uint64_t number, bool by_alias)
{
	uint8_t *pages = inbox_code[receiver];

	if (by_alias)
		pages = (uint8_t *)physical(ALIAS) + (pages - inbox_code[0]);
	return pages + (number / TIMES_EACH % 2 ? PAGE_BYTES - 3 : 0x200);
}

static bool send(int receiver, uint64_t number)
{
	uint32_t value = (uint32_t)(number * 0x01010101);
	bool by_alias = number & 2;
	uint8_t *place = place_for(receiver, number, by_alias);

	if (__atomic_load_n(&inbox[receiver].taken, __ATOMIC_ACQUIRE) != number - 1)
		return false;
	/* The first time at a place; later only the immediate, or of a split one only its second page's part. */
	if (number <= 2 * TIMES_EACH || number % 3)
		write_function(place, value);
	else
		memcpy(place + 1, &value, sizeof value);
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
	cpuid(0, 0);
	stale = call_code(inbox[me].entry) != inbox[me].value;
	__atomic_store_n(&inbox[me].taken, number, __ATOMIC_RELEASE);
	return stale;
}

static void send_and_run(struct cpu *cpu)
{
	int receiver = (cpu->index + 1) % cpu_count;
	uint64_t stale = 0;

	for (uint64_t number = 1; number <= rounds;) {
		number += send(receiver, number);
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
	topic("each writes what the next one runs");
	for (uint64_t offset = 0; offset < (uint64_t)cpu_count * 2 * PAGE_BYTES; offset += PAGE_BYTES)
		map_page(ALIAS + offset, inbox_code[0] + offset, PTE_P | PTE_W);
	smp_run(send_and_run);
	EXPECT("CPUs that finished", finished, cpu_count);
}

_Noreturn void guest_main(void)
{
	rounds = count_option("rounds", 300);
	smp_start();
	test_side_by_side();
	if (cpu_count < 2)
		not_present("a second CPU");
	else
		test_ring();
	finish();
}
