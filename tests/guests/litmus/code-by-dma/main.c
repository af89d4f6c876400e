/* Code that a device stores by DMA while CPUs run it (SDM vol. 3, section 8.1.3, with a device for the other agent).
 * fw_cfg's DMA is the device that every machine has: it copies bytes of its items into functions' immediates.
 *
 * Command line: rounds= of each CPU; race=1 adds stores that come while other CPUs translate the code: QEMU 7.2 fails them now and
 * then, as it fails those of CPUs (code-modification). Any smp. Status 33 when all passed. */
#include <stdbool.h>
#include <stddef.h>

#include "check.h"
#include "code.h"
#include "fw_cfg.h"
#include "guest.h"
#include "litmus.h"
#include "paging.h"
#include "smp.h"
#include "string.h"

#define SLOT_BYTES 64

#define ALIAS WINDOW

enum { SLOTS = PAGE_BYTES / SLOT_BYTES, CROSSING = PAGE_BYTES - 3 };

/* Two pages, so that a function can lie over the boundary. */
static uint8_t code[2 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint64_t rounds, all_rounds;

/* -- what the device stores: the ends of its signature, each followed by zeros --------------------------- */

enum { VERSIONS = 5 };

static uint32_t versions[VERSIONS];

static uint32_t version(uint64_t number)
{
	return versions[number % VERSIONS];
}

/* The device stores version `number` at `to`; it is there on return. */
static void store_by_dma(uint64_t number, volatile void *to)
{
	fw_cfg_read(FW_CFG_SIGNATURE, (uint32_t)(number % VERSIONS), (uint64_t)to, sizeof(uint32_t));
}

static bool versions_differ(void)
{
	for (int i = 0; i < VERSIONS; i++) {
		store_by_dma((uint64_t)i, &versions[i]);
		for (int j = 0; j < i; j++)
			if (versions[i] == versions[j])
				return false;
	}
	return true;
}

/* -- one CPU --------------------------------------------------------------------------------------------- */

static void test_own_code(void)
{
	uint8_t *places[] = { code, code + CROSSING };
	uint64_t stale = 0;

	topic("a CPU has a device change its own code");
	for (uint64_t offset = 0; offset < sizeof code; offset += PAGE_BYTES)
		map_page(ALIAS + offset, code + offset, PTE_P | PTE_W);
	for (int i = 0; i < 2; i++) {
		const uint8_t *alias = (const uint8_t *)physical(ALIAS) + (places[i] - code);

		write_function(places[i], ~0u);
		for (uint64_t number = 1; number <= rounds; number++) {
			store_by_dma(number, places[i] + 1);
			serialize();
			stale += call_code(places[i]) != version(number);
			stale += call_code(alias) != version(number);
		}
	}
	EXPECT("stale calls", stale, 0);
}

/* -- a page is code, then data of a device, then other code ------------------------------------------------ */

static void run_slot(struct cpu *cpu)
{
	const uint8_t *slot = code + cpu->index % SLOTS * SLOT_BYTES;
	uint32_t value = *(const volatile uint32_t *)(slot + 1);

	serialize();
	EXPECT("code in a page that was a device's", call_code(slot), value);
}

static void test_page_reuse(void)
{
	topic("a page is code, then a device's, then other code");
	for (uint64_t round = 1; round <= all_rounds / 8 + 1; round++) {
		uint64_t wrong = 0;

		for (uint32_t i = 0; i < SLOTS; i++)
			write_function(code + i * SLOT_BYTES, (uint32_t)round << 8 | i);
		smp_run(run_slot);
		fw_cfg_read(FW_CFG_SIGNATURE, 0, (uint64_t)code, PAGE_BYTES);
		for (uint32_t i = 4; i < PAGE_BYTES; i++)
			wrong += *(volatile uint8_t *)(code + i) != 0;
		EXPECT("bytes that the device has not stored", wrong, 0);
	}
}

/* -- each CPU has its own functions changed, all in one page ------------------------------------------------ */

static void change_and_call_own(struct cpu *cpu)
{
	uint8_t *slot = code + cpu->index % SLOTS * SLOT_BYTES;
	uint64_t stale = 0;

	for (uint64_t number = 1; number <= all_rounds; number++) {
		/* The device, and the CPU itself, which claims the page as its writer. */
		store_by_dma(number, slot + 1);
		serialize();
		stale += call_code(slot) != version(number);
		*(volatile uint32_t *)(slot + 1) = (uint32_t)number;
		stale += call_code(slot) != (uint32_t)number;
	}
	EXPECT("stale calls of own code", stale, 0);
}

static void test_side_by_side(void)
{
	topic("all have code changed in one page");
	for (int i = 0; i < SLOTS; i++)
		write_function(code + i * SLOT_BYTES, ~0u);
	smp_run(change_and_call_own);
}

/* -- one CPU has code changed that the others run ----------------------------------------------------------- */

static struct {
	uint64_t sent __attribute__((aligned(CACHE_LINE)));
	uint64_t taken __attribute__((aligned(CACHE_LINE)));
	uint32_t by_dma __attribute__((aligned(CACHE_LINE))); /* the device stores what tells that the code is there */
	bool announced_by_dma;
} hand_over;

static void publish(uint64_t number, uint8_t *function)
{
	store_by_dma(number, function + 1);
	if (hand_over.announced_by_dma)
		store_by_dma(number, &hand_over.by_dma);
	else
		__atomic_store_n(&hand_over.sent, number, __ATOMIC_RELEASE);
	while (__atomic_load_n(&hand_over.taken, __ATOMIC_ACQUIRE) != number * (uint64_t)(cpu_count - 1))
		pause();
}

static bool has_come(uint64_t number)
{
	return hand_over.announced_by_dma
	               ? __atomic_load_n(&hand_over.by_dma, __ATOMIC_ACQUIRE) == version(number)
	               : __atomic_load_n(&hand_over.sent, __ATOMIC_ACQUIRE) == number;
}

static void change_or_run(struct cpu *cpu)
{
	uint8_t *direct = code + CROSSING;
	const uint8_t *entry = cpu->index & 1 ? direct : (uint8_t *)physical(ALIAS) + (direct - code);
	uint64_t stale = 0;

	for (uint64_t number = 1; number <= all_rounds; number++) {
		if (cpu->index == 0) {
			publish(number, direct);
			continue;
		}
		while (!has_come(number))
			pause();
		serialize();
		stale += call_code(entry) != version(number);
		__atomic_add_fetch(&hand_over.taken, 1, __ATOMIC_RELEASE);
	}
	EXPECT("stale calls of what the device has stored", stale, 0);
}

static void test_hand_over(bool announced_by_dma)
{
	topic(announced_by_dma ? "a device stores code, then says so" : "a device stores code, then a CPU says so");
	write_function(code + CROSSING, version(0));
	hand_over.sent = hand_over.taken = 0;
	hand_over.by_dma = version(0);
	hand_over.announced_by_dma = announced_by_dma;
	smp_run(change_or_run);
}

/* -- the same while the others run it all the time ----------------------------------------------------------- */

static void change_or_spin(struct cpu *cpu)
{
	uint64_t wrong = 0, seen;

	if (cpu->index == 0) {
		for (uint64_t number = 1; number <= all_rounds; number++) {
			store_by_dma(number, code + 1);
			__atomic_store_n(&hand_over.sent, number, __ATOMIC_RELEASE);
		}
		return;
	}
	do {
		uint32_t value;
		bool known = false;

		seen = __atomic_load_n(&hand_over.sent, __ATOMIC_ACQUIRE);
		serialize();
		value = call_code(code);
		/* What was there, or what has come since, up to one that is not announced yet. */
		for (uint64_t number = seen; number <= __atomic_load_n(&hand_over.sent, __ATOMIC_ACQUIRE) + 1; number++)
			known |= value == version(number);
		wrong += !known;
		/* Most of the time the code is to be translated anew, now and then by all at once. */
		linger(cpu->index * 64);
	} while (seen < all_rounds);
	EXPECT("calls of code that is neither old nor new", wrong, 0);
}

static void test_race(void)
{
	topic("a device stores code that others run");
	write_function(code, version(0));
	hand_over.sent = 0;
	smp_run(change_or_spin);
}

_Noreturn void guest_main(void)
{
	rounds = count_option("rounds", 100);
	smp_start();
	/* A round that all take part in takes as many times longer as there are CPUs. */
	all_rounds = 1 + 2 * rounds / (uint64_t)cpu_count;
	if (!fw_cfg_has_dma()) {
		not_present("fw_cfg with DMA");
		finish();
	}
	EXPECT("parts of the signature that differ", versions_differ(), true);
	test_own_code();
	test_page_reuse();
	test_side_by_side();
	if (cpu_count < 2) {
		not_present("a second CPU");
		finish();
	}
	test_hand_over(false);
	test_hand_over(true);
	if (option("race", 0))
		test_race();
	finish();
}
