/* Locked operations of every width on all CPUs, whole and split, against each other and against plain
 * stores; accessed and dirty bits set by page walks against locked changes of the same entry.
 *
 * Command line: adds= locked operations of each kind, splits= of each kind that crosses a line or page,
 * walks= of each pair of CPUs; all CPUs share the first two. Any smp; walks need two. Status 33 when all passed. */
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "paging.h"
#include "smp.h"

#define CPUID_1_ECX_CMPXCHG16B (1u << 13)
#define CACHE_LINE 64

/* Two pages side by side, whose frames are not. */
#define CROSSING (WINDOW + 0x10000)
/* A page for each pair of CPUs. */
#define WALKED (WINDOW + 0x100000)

/* Entry bits that the CPU ignores, counted up by a locked ADD (SDM vol. 3, table 4-20). */
#define PTE_COUNT_SHIFT 52
#define PTE_COUNT_MAX 2000

#define NEVER_STORED 0x5aull

static uint64_t adds, splits, walks;

struct counter_line {
	uint64_t value;
} __attribute__((aligned(CACHE_LINE)));

static struct counter_line inc8, inc16, inc32, inc64, xadd8, xadd16, xadd32, xadd64, add_sub, cas_loop, own_bits, or_and;
static struct counter_line cas_lock, under_lock;
static struct counter_line slot8, slot16, slot32, slot64;
static uint64_t held8, held16, held32, held64;
static uint8_t neighbours[MAX_CPUS] __attribute__((aligned(CACHE_LINE)));
static uint64_t pair128[2] __attribute__((aligned(CACHE_LINE)));
static uint8_t lines[4 * CACHE_LINE] __attribute__((aligned(CACHE_LINE)));
static struct counter_line stored;
static uint64_t storing_done;

#define LOCKED(instruction, memory, ...) __asm__ volatile("lock " instruction : "+m"(memory) : __VA_ARGS__ : "cc", "memory")
#define XADD(type, pointer, by)                                                                              \
	({                                                                                                   \
		type old_ = (by);                                                                            \
		__asm__ volatile("lock xadd %0, %1" : "+r"(old_), "+m"(*(type *)(pointer)) : : "cc", "memory"); \
		old_;                                                                                        \
	})
#define XCHG(type, pointer, value)                                                                           \
	({                                                                                                   \
		type old_ = (value);                                                                         \
		__asm__ volatile("xchg %0, %1" : "+r"(old_), "+m"(*(type *)(pointer)) : : "memory");         \
		old_;                                                                                        \
	})

static bool cmpxchg64(uint64_t *memory, uint64_t *expected, uint64_t wanted)
{
	bool same;

	__asm__ volatile("lock cmpxchgq %3, %1; sete %0" : "=q"(same), "+m"(*memory), "+a"(*expected) : "r"(wanted) : "cc", "memory");
	return same;
}

static bool cmpxchg128(uint64_t memory[2], uint64_t expected[2], uint64_t low, uint64_t high)
{
	bool same;

	__asm__ volatile("lock cmpxchg16b %1; sete %0"
			 : "=q"(same), "+m"(*(uint64_t(*)[2])memory), "+a"(expected[0]), "+d"(expected[1])
			 : "b"(low), "c"(high)
			 : "cc", "memory");
	return same;
}

/* -- aligned ----------------------------------------------------------------------------------- */

static void count_in_all_widths(struct cpu *cpu)
{
	uint64_t rounds = share(adds, cpu->index);

	for (uint64_t i = 0; i < rounds; i++) {
		LOCKED("incb %0", *(uint8_t *)&inc8.value, );
		LOCKED("incw %0", *(uint16_t *)&inc16.value, );
		LOCKED("incl %0", *(uint32_t *)&inc32.value, );
		LOCKED("incq %0", inc64.value, );
		XADD(uint8_t, &xadd8.value, 1);
		XADD(uint16_t, &xadd16.value, 1);
		XADD(uint32_t, &xadd32.value, 1);
		XADD(uint64_t, &xadd64.value, 1);
		LOCKED("addl $3, %0", *(uint32_t *)&add_sub.value, );
		LOCKED("subl $2, %0", *(uint32_t *)&add_sub.value, );
	}
}

static void count_by_cmpxchg(struct cpu *cpu)
{
	uint64_t rounds = share(adds, cpu->index);
	uint64_t seen = 0;

	for (uint64_t i = 0; i < rounds; i++) {
		while (!cmpxchg64(&cas_loop.value, &seen, seen + 1))
			;
	}
}

static void count_by_cmpxchg16b(struct cpu *cpu)
{
	uint64_t rounds = share(adds, cpu->index);
	uint64_t seen[2] = { 0, 0 };

	for (uint64_t i = 0; i < rounds; i++) {
		while (!cmpxchg128(pair128, seen, seen[0] + 1, seen[1] + 2))
			;
		if (seen[1] != seen[0] * 2)
			EXPECT("the halves of CMPXCHG16B belong together", seen[1], seen[0] * 2);
	}
}

/* Every CPU owns one bit of a word, and alone changes it. */
static void use_own_bits(struct cpu *cpu)
{
	uint64_t rounds = share(adds, cpu->index), bit = (uint64_t)cpu->index, wrong = 0;
	uint64_t mask = 1ull << bit;

	for (uint64_t i = 0; i < rounds; i++) {
		bool was;

		__asm__ volatile("lock btsq %2, %1; setc %0" : "=q"(was), "+m"(own_bits.value) : "r"(bit) : "cc", "memory");
		wrong += was;
		__asm__ volatile("lock btrq %2, %1; setc %0" : "=q"(was), "+m"(own_bits.value) : "r"(bit) : "cc", "memory");
		wrong += !was;
		__asm__ volatile("lock btcq %2, %1; setc %0" : "=q"(was), "+m"(own_bits.value) : "r"(bit) : "cc", "memory");
		wrong += was;
		__asm__ volatile("lock btcq %2, %1; setc %0" : "=q"(was), "+m"(own_bits.value) : "r"(bit) : "cc", "memory");
		wrong += !was;
		LOCKED("orq %1, %0", or_and.value, "r"(mask));
		wrong += !(__atomic_load_n(&or_and.value, __ATOMIC_RELAXED) & mask);
		LOCKED("andq %1, %0", or_and.value, "r"(~mask));
		wrong += !!(__atomic_load_n(&or_and.value, __ATOMIC_RELAXED) & mask);
		LOCKED("xorq %1, %0", or_and.value, "r"(mask));
		wrong += !(__atomic_load_n(&or_and.value, __ATOMIC_RELAXED) & mask);
		LOCKED("xorq %1, %0", or_and.value, "r"(mask));
	}
	EXPECT("changes of an own bit that went astray", wrong, 0);
}

/* Whatever goes in comes out once: the sum of what is held and what lies in the slot never changes. */
static void exchange(struct cpu *cpu)
{
	uint64_t rounds = share(adds, cpu->index);
	uint8_t mine8 = (uint8_t)(cpu->index + 1);
	uint16_t mine16 = mine8;
	uint32_t mine32 = mine8;
	uint64_t mine64 = mine8;

	for (uint64_t i = 0; i < rounds; i++) {
		mine8 = XCHG(uint8_t, &slot8.value, mine8);
		mine16 = XCHG(uint16_t, &slot16.value, mine16);
		mine32 = XCHG(uint32_t, &slot32.value, mine32);
		mine64 = XCHG(uint64_t, &slot64.value, mine64);
	}
	XADD(uint64_t, &held8, mine8);
	XADD(uint64_t, &held16, mine16);
	XADD(uint64_t, &held32, mine32);
	XADD(uint64_t, &held64, mine64);
}

/* Plain byte stores must not carry old neighbours along. */
static void count_in_neighbouring_bytes(struct cpu *cpu)
{
	uint64_t rounds = share(adds, cpu->index);

	for (uint64_t i = 0; i < rounds; i++)
		__asm__ volatile("incb %0" : "+m"(neighbours[cpu->index]) : : "cc", "memory");
	EXPECT("own byte among neighbours", neighbours[cpu->index], rounds & 0xff);
}

static void count_under_cmpxchg_lock(struct cpu *cpu)
{
	uint64_t rounds = share(adds, cpu->index);

	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t expected = 0;

		/* Nothing but failing CMPXCHGs: one that writes back what it read undoes the unlock. */
		while (!cmpxchg64(&cas_lock.value, &expected, 1)) {
			expected = 0;
			pause();
		}
		*(volatile uint64_t *)&under_lock.value += 1;
		__asm__ volatile("movq $0, %0" : "=m"(cas_lock.value) : : "memory");
	}
}

/* CPU 0 stores plainly and looks; all others try a CMPXCHG that always fails. */
static void store_against_failing_cmpxchg(struct cpu *cpu)
{
	uint64_t expected[2] = { NEVER_STORED, NEVER_STORED };
	uint64_t lost = 0;
	bool wide = cpuid(1, 0).ecx & CPUID_1_ECX_CMPXCHG16B;

	if (cpu->index != 0) {
		while (!__atomic_load_n(&storing_done, __ATOMIC_ACQUIRE)) {
			uint32_t expected32 = NEVER_STORED;
			uint8_t expected8 = NEVER_STORED;

			expected[0] = NEVER_STORED;
			cmpxchg64(&stored.value, &expected[0], 0);
			__asm__ volatile("lock cmpxchgl %2, %1" : "+a"(expected32), "+m"(*(uint32_t *)&stored.value) : "r"(0) : "cc", "memory");
			__asm__ volatile("lock cmpxchgb %b2, %1" : "+a"(expected8), "+m"(*(uint8_t *)&stored.value) : "q"(0) : "cc", "memory");
			expected[0] = expected[1] = NEVER_STORED;
			if (wide)
				cmpxchg128(pair128, expected, 0, 0);
		}
		return;
	}
	for (uint64_t i = 0; i < adds; i++) {
		/* The low byte is never NEVER_STORED. */
		uint64_t value = i << 8 | (i & 0x0f);

		__atomic_store_n(&stored.value, value, __ATOMIC_RELAXED);
		__atomic_store_n(&pair128[1], value, __ATOMIC_RELAXED);
		for (int look = 0; look < 4; look++) {
			lost += __atomic_load_n(&stored.value, __ATOMIC_RELAXED) != value;
			lost += __atomic_load_n(&pair128[1], __ATOMIC_RELAXED) != value;
		}
	}
	__atomic_store_n(&storing_done, 1, __ATOMIC_RELEASE);
	EXPECT("plain stores lost to a failing CMPXCHG", lost, 0);
}

static void test_aligned(void)
{
	uint64_t cpus = (uint64_t)cpu_count, expected_held = cpus * (cpus + 1) / 2;

	topic("aligned");
	smp_run(count_in_all_widths);
	EXPECT("lock incb", inc8.value, adds & 0xff);
	EXPECT("lock incw", inc16.value, adds & 0xffff);
	EXPECT("lock incl", inc32.value, adds);
	EXPECT("lock incq", inc64.value, adds);
	EXPECT("lock xaddb", xadd8.value, adds & 0xff);
	EXPECT("lock xaddw", xadd16.value, adds & 0xffff);
	EXPECT("lock xaddl", xadd32.value, adds);
	EXPECT("lock xaddq", xadd64.value, adds);
	EXPECT("lock addl, lock subl", add_sub.value, adds);

	smp_run(count_by_cmpxchg);
	EXPECT("lock cmpxchgq", cas_loop.value, adds);
	if (cpuid(1, 0).ecx & CPUID_1_ECX_CMPXCHG16B) {
		smp_run(count_by_cmpxchg16b);
		EXPECT("lock cmpxchg16b, low half", pair128[0], adds);
		EXPECT("lock cmpxchg16b, high half", pair128[1], adds * 2);
	} else {
		not_present("CMPXCHG16B");
	}
	smp_run(use_own_bits);
	EXPECT("bits left over", own_bits.value | or_and.value, 0);
	smp_run(exchange);
	EXPECT("xchgb", (held8 + slot8.value) & 0xff, expected_held & 0xff);
	EXPECT("xchgw", held16 + slot16.value, expected_held);
	EXPECT("xchgl", held32 + slot32.value, expected_held);
	EXPECT("xchgq", held64 + slot64.value, expected_held);
	smp_run(count_in_neighbouring_bytes);

	topic("against plain stores");
	smp_run(count_under_cmpxchg_lock);
	EXPECT("counter under a CMPXCHG lock", under_lock.value, adds);
	smp_run(store_against_failing_cmpxchg);
}

/* -- split ------------------------------------------------------------------------------------- */

struct split {
	uint16_t *word;
	uint32_t *inc, *xadd, *exchanged;
	uint64_t *wide, *wide_cmpxchg;
};

static struct split split;
static uint64_t held_split;

/* Only x86 allows it, and only asm can say it: C's alignment rules do not hold here. */
static void count_split(struct cpu *cpu)
{
	uint64_t rounds = share(splits, cpu->index);
	uint32_t mine = (uint32_t)cpu->index + 1;

	for (uint64_t i = 0; i < rounds; i++) {
		uint32_t one = 1;
		uint64_t seen = 0;

		__asm__ volatile("lock incw (%0)" : : "r"(split.word) : "cc", "memory");
		__asm__ volatile("lock incl (%0)" : : "r"(split.inc) : "cc", "memory");
		__asm__ volatile("lock xaddl %0, (%1)" : "+r"(one) : "r"(split.xadd) : "cc", "memory");
		__asm__ volatile("lock incq (%0)" : : "r"(split.wide) : "cc", "memory");
		__asm__ volatile("xchgl %0, (%1)" : "+r"(mine) : "r"(split.exchanged) : "memory");
		__asm__ volatile("1: movq %0, %%rcx; incq %%rcx; lock cmpxchgq %%rcx, (%1); jne 1b"
				 : "+a"(seen)
				 : "r"(split.wide_cmpxchg)
				 : "rcx", "cc", "memory");
	}
	XADD(uint64_t, &held_split, mine);
}

static uint64_t load_split(const void *address, int bytes)
{
	const volatile uint8_t *byte = address;
	uint64_t value = 0;

	for (int i = bytes - 1; i >= 0; i--)
		value = value << 8 | byte[i];
	return value;
}

static void run_split(const char *name)
{
	uint64_t cpus = (uint64_t)cpu_count;

	topic(name);
	held_split = 0;
	smp_run(count_split);
	EXPECT("split lock incw", load_split(split.word, 2), splits & 0xffff);
	EXPECT("split lock incl", load_split(split.inc, 4), splits);
	EXPECT("split lock xaddl", load_split(split.xadd, 4), splits);
	EXPECT("split lock incq", load_split(split.wide, 8), splits);
	EXPECT("split lock cmpxchgq", load_split(split.wide_cmpxchg, 8), splits);
	EXPECT("split xchgl", load_split(split.exchanged, 4) + held_split, cpus * (cpus + 1) / 2);
}

static void test_split_lines(void)
{
	/* Six operands cannot all straddle one boundary: three boundaries, and the rest misaligned. */
	split = (struct split){
		.word = physical((uintptr_t)lines + 17),
		.inc = physical((uintptr_t)lines + CACHE_LINE - 1),
		.xadd = physical((uintptr_t)lines + 2 * CACHE_LINE - 2),
		.wide = physical((uintptr_t)lines + 3 * CACHE_LINE - 5),
		.exchanged = physical((uintptr_t)lines + 21),
		.wide_cmpxchg = physical((uintptr_t)lines + 35),
	};
	run_split("split over cache lines");
}

static void test_split_pages(void)
{
	uint8_t *frames = page_alloc();
	uint64_t boundary[6];

	/* Each operand has its boundary; the frames come in falling order, so they are not neighbours. */
	for (uint64_t i = 0; i < 6; i++) {
		uint64_t first = CROSSING + i * 2 * PAGE_BYTES;
		uint8_t *upper = page_alloc(), *lower = i ? page_alloc() : frames;

		map_page(first, upper > lower ? upper : lower, PTE_P | PTE_W);
		map_page(first + PAGE_BYTES, upper > lower ? lower : upper, PTE_P | PTE_W);
		boundary[i] = first + PAGE_BYTES;
	}
	split = (struct split){
		.word = physical(boundary[0] - 1),
		.inc = physical(boundary[1] - 1),
		.xadd = physical(boundary[2] - 2),
		.wide = physical(boundary[3] - 4),
		.exchanged = physical(boundary[4] - 3),
		.wide_cmpxchg = physical(boundary[5] - 7),
	};
	run_split("split over pages");
}

/* -- accessed and dirty bits ------------------------------------------------------------------- */

static struct {
	uint64_t *entry;
	uint64_t counted;
} walked[MAX_CPUS / 2];

static void count_in_entry(uint64_t *entry)
{
	for (uint64_t i = 0; i < walks; i++)
		LOCKED("addq %1, %0", *entry, "r"(1ull << PTE_COUNT_SHIFT));
}

static void walk(uint64_t *entry, volatile uint64_t *page)
{
	uint64_t unread = 0, early = 0, unwritten = 0;

	for (uint64_t i = 0; i < walks; i++) {
		LOCKED("andq %1, %0", *entry, "r"(~(PTE_A | PTE_D)));
		invalidate_page(page);
		(void)*page;
		unread += !(__atomic_load_n(entry, __ATOMIC_RELAXED) & PTE_A);
		early += !!(__atomic_load_n(entry, __ATOMIC_RELAXED) & PTE_D);
		*page = i;
		unwritten += !(__atomic_load_n(entry, __ATOMIC_RELAXED) & PTE_D);
	}
	EXPECT("reads without an accessed bit", unread, 0);
	EXPECT("dirty bits before a write", early, 0);
	EXPECT("writes without a dirty bit", unwritten, 0);
}

/* The even CPU of a pair walks, the odd one counts in the same entry: a walk that stores what it read
 * a moment ago loses counts. */
static void walk_against_count(struct cpu *cpu)
{
	int pair = cpu->index / 2;

	if (cpu->index == (pair * 2) && pair * 2 + 1 == cpu_count)
		return;
	if (cpu->index % 2)
		count_in_entry(walked[pair].entry);
	else
		walk(walked[pair].entry, physical(WALKED + (uint64_t)pair * PAGE_BYTES));
}

static void test_walks(void)
{
	int pairs = cpu_count / 2;

	if (!pairs) {
		not_present("a second CPU for page walks against locked changes");
		return;
	}
	topic("accessed and dirty bits");
	for (int pair = 0; pair < pairs; pair++) {
		uint64_t address = WALKED + (uint64_t)pair * PAGE_BYTES;

		map_page(address, page_alloc(), PTE_P | PTE_W);
		walked[pair].entry = page_entry(address);
	}
	smp_run(walk_against_count);
	for (int pair = 0; pair < pairs; pair++)
		EXPECT("locked counts in a page-table entry", *walked[pair].entry >> PTE_COUNT_SHIFT, walks);
}

_Noreturn void guest_main(void)
{
	adds = option("adds", 20000);
	splits = option("splits", 1000);
	walks = option("walks", PTE_COUNT_MAX);
	if (walks > PTE_COUNT_MAX)
		panic("command line: walks= takes a number up to %d", PTE_COUNT_MAX);
	smp_start();
	test_aligned();
	test_split_lines();
	test_split_pages();
	test_walks();
	finish();
}
