/* Accessed and dirty bits, set by page walks while another CPU takes the entry away (SDM vol. 3, section 4.8).
 *
 * Round after round one CPU replaces, in one locked step, an entry that all others read and write through, and
 * makes them forget it; until then it counts, by locked additions, in bits that are software's. The entry that it got
 * back must then tell the truth: dirty when the frame was written, accessed when it was read; the count must be
 * right, and no other bit may have changed. A walk that sets bits in an entry other than the one it used, or that
 * lets a write through on an entry which is gone, or that undoes an addition, fails.
 *
 * Command line: rounds= of each kind of entry. Needs two CPUs. Status 33 when all passed. */
#include <stddef.h>

#include "apic.h"
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "litmus.h"
#include "paging.h"
#include "smp.h"
#include "string.h"

#define VECTOR_FORGET VECTOR_TEST

/* In a 2 MiB region each: a page, a table, a large page. */
#define BY_PAGE WINDOW
#define BY_TABLE (WINDOW + LARGE_PAGE_BYTES)
#define BY_LARGE_PAGE (WINDOW + 2 * LARGE_PAGE_BYTES)
/* RAM of the smallest machine that these guests are for, beyond all that they use. */
#define LARGE_FRAMES 0x2000000ull

enum { FRAMES = 2, PAGE_WORDS = PAGE_BYTES / 8, LINE_WORDS = CACHE_LINE / 8, LOOKS = 200 };

enum { EPOCH_WORD = 0 };

/* Software's bits (SDM vol. 3, table 4-20). */
#define PTE_COUNT_SHIFT 52
#define PTE_COUNTS 127ull

enum { COUNTS_MAX = 31, COUNT_LINGER_MASK = 0xff };

struct kind {
	const char *name;
	uint64_t address;
	uint64_t *entry;
	/* The entry for either frame, clean. */
	uint64_t clean[FRAMES];
	uint64_t *frame[FRAMES];
	bool has_dirty;
};

/* Where `kind` is looked through, and what is there in the end. */
static const struct kind *kind;
static uint64_t rounds;

static uint64_t frames[FRAMES][PAGE_WORDS] __attribute__((aligned(PAGE_BYTES)));
static uint64_t snapshot[PAGE_WORDS];
static uint64_t forgotten, done;
static struct {
	uint64_t epoch_read, writes;
} __attribute__((aligned(CACHE_LINE))) walker[MAX_CPUS];

static void forget(struct interrupt_frame *frame)
{
	(void)frame;
	invalidate_page(physical(kind->address));
	__atomic_add_fetch(&forgotten, 1, __ATOMIC_ACQ_REL);
	apic_eoi();
}

static void make_all_forget(void)
{
	__atomic_store_n(&forgotten, 0, __ATOMIC_RELEASE);
	apic_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_FIXED | VECTOR_FORGET);
	while (__atomic_load_n(&forgotten, __ATOMIC_ACQUIRE) != (uint64_t)cpu_count - 1)
		pause();
}

/* -- the CPUs that walk -------------------------------------------------------------------------- */

/* Line 0 tells which frame it is; each CPU writes to its own line. */
static void use_page(int me)
{
	volatile uint64_t *page = physical(kind->address);
	uint64_t random = (uint64_t)me;

	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		uint64_t choice = next_random(&random);

		if (choice & 1)
			__atomic_store_n(&walker[me].epoch_read, page[EPOCH_WORD], __ATOMIC_RELEASE);
		if ((choice & 6) == 2)
			page[me * LINE_WORDS] = ++walker[me].writes;
		if ((choice & 6) == 4)
			__asm__ volatile("lock incq %0" : "+m"(page[me * LINE_WORDS + 1]) : : "cc", "memory");
		if ((choice & 24) == 8)
			invalidate_page(page);
	}
}

/* -- the CPU that changes the entry ----------------------------------------------------------------- */

static uint64_t replace(uint64_t *entry, uint64_t wanted, uint64_t epoch)
{
	uint64_t old = *(volatile uint64_t *)entry;

	if (epoch % 2) {
		__asm__ volatile("xchgq %0, %1" : "+r"(wanted), "+m"(*entry) : : "memory");
		return wanted;
	}
	while (!__atomic_compare_exchange_n(entry, &old, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	return old;
}

/* While others set bits. Returns how often it has counted. */
static uint64_t count_in(uint64_t *entry, uint64_t *random)
{
	uint64_t counts = next_random(random) & COUNTS_MAX;

	for (uint64_t i = 0; i < counts; i++) {
		__asm__ volatile("lock addq %1, %0" : "+m"(*entry) : "r"(1ull << PTE_COUNT_SHIFT) : "cc", "memory");
		linger(next_random(random) & COUNT_LINGER_MASK);
	}
	return counts;
}

static bool written(const uint64_t *frame)
{
	return memcmp(frame, snapshot, PAGE_BYTES) != 0;
}

static bool read_in(uint64_t epoch)
{
	for (int i = 1; i < cpu_count; i++) {
		if (__atomic_load_n(&walker[i].epoch_read, __ATOMIC_ACQUIRE) == epoch)
			return true;
	}
	return false;
}

struct tally {
	uint64_t dirty, accessed, untouched;
	uint64_t undirtied, unaccessed, uncounted, changed, late;
};

static void change_entries(struct tally *tally)
{
	uint64_t random = rounds + 1;

	for (uint64_t epoch = 1; epoch <= rounds; epoch++) {
		uint64_t *frame = kind->frame[(epoch - 1) % FRAMES], old, counted;

		/* The next frame, which nobody reaches now. */
		kind->frame[epoch % FRAMES][EPOCH_WORD] = epoch;
		counted = count_in(kind->entry, &random);
		old = replace(kind->entry, kind->clean[epoch % FRAMES], epoch);
		make_all_forget();

		tally->uncounted += (old >> PTE_COUNT_SHIFT & PTE_COUNTS) != counted;
		old &= ~(PTE_COUNTS << PTE_COUNT_SHIFT);
		tally->changed += ((old ^ kind->clean[(epoch - 1) % FRAMES]) & ~(PTE_A | PTE_D)) != 0;
		tally->dirty += kind->has_dirty && (old & PTE_D);
		tally->accessed += !!(old & PTE_A);
		tally->untouched += !(old & PTE_A);
		if (written(frame)) {
			tally->undirtied += kind->has_dirty && !(old & PTE_D);
			tally->unaccessed += !(old & PTE_A);
		}
		tally->unaccessed += read_in(epoch - 1) && !(old & PTE_A);
		/* Else the next change comes while others walk through this one for the first time. */
		if (epoch % 4 == 0) {
			memcpy(snapshot, frame, PAGE_BYTES);
			for (int look = 0; look < LOOKS; look++)
				pause();
			tally->late += written(frame);
		}
		memcpy(snapshot, kind->frame[epoch % FRAMES], PAGE_BYTES);
	}
}

static void run_cpu(struct cpu *cpu)
{
	struct tally tally = { 0 };

	if (cpu->index != 0) {
		use_page(cpu->index);
		return;
	}
	change_entries(&tally);
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	print("  %s: %lu dirty, %lu accessed, %lu untouched\n", kind->name, tally.dirty, tally.accessed, tally.untouched);
	EXPECT("entries whose frame was written and that are not dirty", tally.undirtied, 0);
	EXPECT("entries that were used and are not accessed", tally.unaccessed, 0);
	EXPECT("entries in which a count was lost", tally.uncounted, 0);
	EXPECT("entries with other bits changed", tally.changed, 0);
	EXPECT("frames written after all had forgotten them", tally.late, 0);
}

static void run_kind(const struct kind *which)
{
	kind = which;
	done = 0;
	for (int i = 0; i < MAX_CPUS; i++)
		walker[i].epoch_read = UINT64_MAX;
	for (int i = 0; i < FRAMES; i++)
		memset(kind->frame[i], 0, PAGE_BYTES);
	memset(snapshot, 0, PAGE_BYTES);
	*kind->entry = kind->clean[0];
	write_cr3(read_cr3());
	make_all_forget();
	smp_run(run_cpu);
}

/* -- the entries ------------------------------------------------------------------------------------- */

/* The page-directory entry of an address whose 2 MiB have a table. */
static uint64_t *directory_entry(uint64_t address)
{
	uint64_t *table = physical(read_cr3() & PTE_ADDRESS);

	table = physical(table[address >> 39 & 511] & PTE_ADDRESS);
	table = physical(table[address >> 30 & 511] & PTE_ADDRESS);
	return &table[address >> 21 & 511];
}

static void run_all(void)
{
	struct kind page = { .name = "page", .address = BY_PAGE, .has_dirty = true };
	struct kind table = { .name = "table", .address = BY_TABLE };
	struct kind large = { .name = "2 MiB page", .address = BY_LARGE_PAGE, .has_dirty = true };

	page.entry = page_entry(BY_PAGE);
	table.entry = directory_entry(BY_TABLE);
	large.entry = directory_entry(BY_LARGE_PAGE);
	for (int i = 0; i < FRAMES; i++) {
		uint64_t *leaf = page_alloc();

		page.frame[i] = table.frame[i] = frames[i];
		page.clean[i] = (uintptr_t)frames[i] | PTE_P | PTE_W;
		leaf[0] = page.clean[i] | PTE_A | PTE_D;
		table.clean[i] = (uintptr_t)leaf | PTE_P | PTE_W;
		large.clean[i] = (LARGE_FRAMES + (uint64_t)i * LARGE_PAGE_BYTES) | PTE_P | PTE_W | PTE_PS;
		large.frame[i] = physical(LARGE_FRAMES + (uint64_t)i * LARGE_PAGE_BYTES);
	}
	topic("accessed and dirty bits");
	run_kind(&page);
	run_kind(&table);
	run_kind(&large);
}

_Noreturn void guest_main(void)
{
	rounds = count_option("rounds", 8);
	set_handler(VECTOR_FORGET, forget);
	smp_start();
	if (cpu_count < 2)
		not_present("a second CPU");
	else
		run_all();
	finish();
}
