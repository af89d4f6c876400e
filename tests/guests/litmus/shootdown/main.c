/* TLB shootdown by IPI: rights are taken from a shared page, all CPUs are told, and once all have answered no store may
 * land any more (SDM vol. 3, section 4.10.5).
 *
 * All CPUs write to two pages side by side, each in its way; in turn each of them takes rights away, waits for
 * the others' answers, looks whether the frames keep still, and gives the rights back. A store that was on its
 * way when its CPU answered, a translation that survived, or the first half of a store over both pages fails.
 *
 * Command line: rounds= of each kind. Needs two CPUs. Status 33 when all passed. */
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

#define PAGES_AT WINDOW
#define PTE_G 0x100ull
#define CR4_PGE 0x80ull

#define ERROR_PRESENT 1
#define ERROR_WRITE 2

enum { PAGES = 2, LOOKS = 100, WAYS_TO_WRITE = 4 };

/* What is done to the pages. */
enum change { PROTECT, PROTECT_SECOND, UNMAP, MOVE };
/* How the others forget. */
enum flush { BY_INVLPG, BY_CR3, BY_CR4 };

struct kind {
	const char *name;
	enum change change;
	enum flush flush;
};

static const struct kind kinds[] = {
	{ "write-protect, INVLPG", PROTECT, BY_INVLPG },
	{ "write-protect, CR3", PROTECT, BY_CR3 },
	{ "write-protect global pages, CR4.PGE", PROTECT, BY_CR4 },
	{ "write-protect the second page", PROTECT_SECOND, BY_INVLPG },
	{ "unmap, INVLPG", UNMAP, BY_INVLPG },
	{ "unmap, CR3", UNMAP, BY_CR3 },
	{ "other frames, INVLPG", MOVE, BY_INVLPG },
	{ "other frames, CR3", MOVE, BY_CR3 },
};

static const struct kind *kind;
static uint64_t rounds, turn, answered;
static uint64_t *entries[PAGES];

/* Two sets; only MOVE uses the second. */
static uint8_t frames[2][PAGES][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t snapshot[PAGES][PAGE_BYTES];
static int set_now;

static struct {
	uint64_t writes, faults;
} __attribute__((aligned(CACHE_LINE))) of[MAX_CPUS];
static uint64_t wrong_faults, late;

static uint64_t entry_for(int page, uint64_t rights)
{
	return (uintptr_t)frames[set_now][page] | rights | (kind->flush == BY_CR4 ? PTE_G : 0);
}

static void set_entries(int first, uint64_t rights)
{
	for (int page = first; page < PAGES; page++)
		__atomic_store_n(entries[page], entry_for(page, rights), __ATOMIC_RELEASE);
}

static void toggle_global_pages(void)
{
	uint64_t cr4;

	__asm__ volatile("movq %%cr4, %0; movq %0, %%rcx; andq %1, %%rcx; movq %%rcx, %%cr4; movq %0, %%cr4"
			 : "=&r"(cr4)
			 : "i"(~CR4_PGE)
			 : "rcx", "cc", "memory");
}

static void forget_here(void)
{
	switch (kind->flush) {
	case BY_CR3:
		write_cr3(read_cr3());
		break;
	case BY_CR4:
		toggle_global_pages();
		break;
	default:
		for (uint64_t page = 0; page < PAGES; page++)
			invalidate_page(physical(PAGES_AT + page * PAGE_BYTES));
	}
}

static void forget(struct interrupt_frame *frame)
{
	(void)frame;
	forget_here();
	__atomic_add_fetch(&answered, 1, __ATOMIC_ACQ_REL);
	apic_eoi();
}

static void shoot_down(void)
{
	forget_here();
	__atomic_store_n(&answered, 0, __ATOMIC_RELEASE);
	apic_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_FIXED | VECTOR_FORGET);
	while (__atomic_load_n(&answered, __ATOMIC_ACQUIRE) != (uint64_t)cpu_count - 1)
		pause();
}

/* A store that must not happen now: it is tried again until it may. */
static void take_fault(struct interrupt_frame *frame)
{
	bool wrong = read_cr2() - PAGES_AT >= PAGES * PAGE_BYTES || !(frame->error_code & ERROR_WRITE) || kind->change == MOVE;

	/* A page is present, or just was not, or is again. */
	if (kind->change != UNMAP)
		wrong |= !(frame->error_code & ERROR_PRESENT);
	if (wrong)
		__atomic_add_fetch(&wrong_faults, 1, __ATOMIC_RELAXED);
	of[this_cpu()->index].faults++;
}

/* -- writing ----------------------------------------------------------------------------------------- */

/* Each CPU has a line in either page, and all write over the boundary. */
static void write_once(int me)
{
	uint8_t *line = (uint8_t *)physical(PAGES_AT) + me * CACHE_LINE;
	uint64_t value = ++of[me].writes;

	line += (value & 1) * PAGE_BYTES;
	switch ((uint64_t)me % WAYS_TO_WRITE) {
	case 0:
		__asm__ volatile("movq %1, %0" : "=m"(*(uint64_t *)line) : "r"(value) : "memory");
		break;
	case 1:
		__asm__ volatile("lock incq %0" : "+m"(*(uint64_t *)line) : : "cc", "memory");
		break;
	case 2: {
		uint64_t count = CACHE_LINE / 8;

		__asm__ volatile("rep stosq" : "+D"(line), "+c"(count) : "a"(value) : "memory");
		break;
	}
	default:
		__asm__ volatile("movq %1, (%0)" : : "r"(physical(PAGES_AT + PAGE_BYTES - 4)), "r"(value * 0x100000001) : "memory");
	}
}

/* -- taking rights away -------------------------------------------------------------------------------- */

static void take_away(void)
{
	switch (kind->change) {
	case PROTECT:
		set_entries(0, PTE_P | PTE_A | PTE_D);
		break;
	case PROTECT_SECOND:
		set_entries(1, PTE_P | PTE_A | PTE_D);
		break;
	case UNMAP:
		set_entries(0, 0);
		break;
	case MOVE:
		set_now = !set_now;
		set_entries(0, PTE_P | PTE_W);
	}
}

/* What must keep still: everything, but with one page protected only it and the stores that cross into it. */
static bool keeps_still(int set)
{
	if (kind->change == PROTECT_SECOND)
		return !memcmp(frames[set][0] + PAGE_BYTES - 4, snapshot[0] + PAGE_BYTES - 4, 4) &&
		       !memcmp(frames[set][1], snapshot[1], PAGE_BYTES);
	return !memcmp(frames[set], snapshot, sizeof snapshot);
}

static void take_turn(void)
{
	int set = set_now;

	take_away();
	shoot_down();
	memcpy(snapshot, frames[set], sizeof snapshot);
	for (int look = 0; look < LOOKS; look++)
		pause();
	if (!keeps_still(set))
		late++;
	/* More rights need no shootdown: the fault that an old translation makes is answered by a new look. */
	set_entries(0, PTE_P | PTE_W);
}

static void run_cpu(struct cpu *cpu)
{
	for (;;) {
		uint64_t now = __atomic_load_n(&turn, __ATOMIC_ACQUIRE);

		if (now >= rounds)
			return;
		if (now % (uint64_t)cpu_count == (uint64_t)cpu->index) {
			take_turn();
			__atomic_store_n(&turn, now + 1, __ATOMIC_RELEASE);
		}
		write_once(cpu->index);
	}
}

/* All CPUs: nothing of the last kind is left, and the global bit counts. */
static void prepare_cpu(struct cpu *cpu)
{
	(void)cpu;
	toggle_global_pages();
	__asm__ volatile("movq %%cr4, %%rcx; orq %0, %%rcx; movq %%rcx, %%cr4" : : "i"(CR4_PGE) : "rcx", "cc", "memory");
}

static void run_kind(void)
{
	uint64_t writes = 0, faults = 0;

	turn = wrong_faults = late = 0;
	memset(of, 0, sizeof of);
	set_entries(0, PTE_P | PTE_W);
	smp_run(prepare_cpu);
	smp_run(run_cpu);
	for (int i = 0; i < cpu_count; i++) {
		writes += of[i].writes;
		faults += of[i].faults;
	}
	print("  %s: %lu shootdowns, %lu writes, %lu faults\n", kind->name, rounds, writes, faults);
	EXPECT("shootdowns after which a store landed", late, 0);
	EXPECT("page faults of the wrong kind", wrong_faults, 0);
}

_Noreturn void guest_main(void)
{
	rounds = count_option("rounds", 8);
	set_handler(VECTOR_FORGET, forget);
	set_handler(VECTOR_PF, take_fault);
	for (uint64_t page = 0; page < PAGES; page++)
		entries[page] = page_entry(PAGES_AT + page * PAGE_BYTES);
	smp_start();
	if (cpu_count < 2) {
		not_present("a second CPU");
		finish();
	}
	topic("shootdown");
	for (kind = kinds; kind < kinds + sizeof kinds / sizeof *kinds; kind++)
		run_kind();
	finish();
}
