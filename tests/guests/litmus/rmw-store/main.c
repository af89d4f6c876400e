/* No locked instruction may undo another CPU's plain store, to its operand, to a part of it or next to it; nor may the
 * store touch what lies beside it (SDM vol. 3, section 8.1.2).
 *
 * One CPU does steps of a locked instruction (rmw.h), another stores to the same bytes or their neighbours in
 * every width and looks what becomes of it. An instruction that reads, and writes back in a second step,
 * brings back an older value; so does a CMPXCHG that fails and writes what it read, when that is no single step.
 *
 * Command line: stores= of each instruction, width and place, split= of operands that cross a line or page. Needs two
 * CPUs. Status 33 when no store was lost. */
#include <stddef.h>

#include "check.h"
#include "guest.h"
#include "litmus.h"
#include "paging.h"
#include "rmw.h"
#include "smp.h"

#define CPUID_1_ECX_CMPXCHG16B (1u << 13)

#define CROSSING WINDOW

enum {
	AREA_BYTES = 64,
	/* How far into the area its boundary is, if it has one. */
	MIDDLE = AREA_BYTES / 2,
	/* The lowest two bits are 10 in every byte that is stored, the topmost is 0, and between is a number. */
	LOW_BITS = 2,
	NUMBER_SHIFT = 2,
	NUMBERS = 32,
	LOOKS = 4,
	STEP_LOOKS = 300,
	STORE_WIDTHS = 4,
	PLACES = 4,
};

enum area_kind { IN_A_LINE, OVER_LINES, OVER_PAGES };

/* Where the store goes: bytes of the area. */
struct target {
	int first, bytes;
};

static uint8_t lines[2 * CACHE_LINE] __attribute__((aligned(CACHE_LINE)));
static uint8_t frames[2][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* What runs now. The storing CPU prepares the area, then names the part; the other does steps until it is stopped. */
static const struct rmw *rmw;
static enum area_kind area_kind;
static uint8_t *area;
static int operand;
static uint64_t stores;
static struct target target;
static int stepping_cpu, storing_cpu;
static struct {
	uint64_t part __attribute__((aligned(CACHE_LINE)));
	uint64_t stopped;
	uint64_t finished __attribute__((aligned(CACHE_LINE)));
	uint64_t steps __attribute__((aligned(CACHE_LINE)));
	uint64_t taken, out_of_order;
} stage;
static uint64_t stored_total, steps_total;

static uint8_t pattern(uint64_t number, int byte)
{
	return (uint8_t)((number + (uint64_t)byte * 7) % NUMBERS << NUMBER_SHIFT | LOW_BITS);
}

static uint64_t mask_of(int bytes)
{
	return bytes < 8 ? (1ull << bytes * 8) - 1 : UINT64_MAX;
}

static void plain_store(void *at, int bytes, uint64_t value)
{
	switch (bytes) {
	case 1:
		__asm__ volatile("movb %1, (%0)" : : "r"(at), "q"((uint8_t)value) : "memory");
		break;
	case 2:
		__asm__ volatile("movw %1, (%0)" : : "r"(at), "r"((uint16_t)value) : "memory");
		break;
	case 4:
		__asm__ volatile("movl %1, (%0)" : : "r"(at), "r"((uint32_t)value) : "memory");
		break;
	default:
		__asm__ volatile("movq %1, (%0)" : : "r"(at), "r"(value) : "memory");
	}
}

static uint64_t plain_load(const void *at, int bytes)
{
	uint64_t value = 0;

	switch (bytes) {
	case 1:
		__asm__ volatile("movzbl (%1), %k0" : "=r"(value) : "r"(at) : "memory");
		break;
	case 2:
		__asm__ volatile("movzwl (%1), %k0" : "=r"(value) : "r"(at) : "memory");
		break;
	case 4:
		__asm__ volatile("movl (%1), %k0" : "=r"(value) : "r"(at) : "memory");
		break;
	default:
		__asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(at) : "memory");
	}
	return value;
}

/* -- the CPU that does locked instructions ---------------------------------------------------------- */

/* The first stored byte that lies in the operand, as an index into what an exchange found; -1: none does. */
static int stored_byte_in_operand(void)
{
	int first = target.first > operand ? target.first : operand;

	if (first >= target.first + target.bytes || first >= operand + rmw->bytes)
		return -1;
	return first - operand;
}

/* Every store is taken, once and in order, for the storing CPU waits for two steps after each. */
static void look_at_exchanged(uint64_t found, int byte)
{
	uint8_t got = (uint8_t)(found >> byte * 8);

	if (byte < 0 || (got & TOKEN_BIT))
		return;
	stage.taken++;
	stage.out_of_order += got != pattern(stage.taken, operand + byte - target.first);
}

static void do_steps(uint64_t part)
{
	void *at = area + operand;
	int byte = stored_byte_in_operand();

	stage.taken = stage.out_of_order = 0;
	/* What the operand was when no step was done yet is no store of the other CPU. */
	if (rmw->effect == EXCHANGES)
		rmw->step(at, 0);
	for (uint64_t n = 0; __atomic_load_n(&stage.stopped, __ATOMIC_ACQUIRE) != part; n++) {
		uint64_t found = rmw->step(at, n);

		if (rmw->effect == EXCHANGES)
			look_at_exchanged(found, byte);
		__atomic_store_n(&stage.steps, n + 1, __ATOMIC_RELEASE);
	}
}

/* -- the CPU that stores ----------------------------------------------------------------------------- */

/* Waits for steps; for exchanges as long as it takes, since their bookkeeping needs them. */
static void await_steps(uint64_t more)
{
	uint64_t before = __atomic_load_n(&stage.steps, __ATOMIC_ACQUIRE);

	for (int look = 0; look < STEP_LOOKS || rmw->effect == EXCHANGES; look++) {
		if (__atomic_load_n(&stage.steps, __ATOMIC_ACQUIRE) - before >= more)
			return;
		if (look >= STEP_LOOKS)
			pause();
	}
}

/* What one more step would make of the operand's part of the stored bytes, `byte` bytes into the operand. */
static uint64_t after_step(uint64_t part, int byte, uint64_t mask)
{
	switch (rmw->effect) {
	case INVERTS:
		return ~part & mask;
	case NEGATES:
		/* The bytes below are never all 0. */
		return (byte ? ~part : -part) & mask;
	default:
		return part;
	}
}

static uint64_t bits_a_step_may_change(int byte, int bytes)
{
	if (rmw->effect == FLIPS_TOP && byte + bytes == rmw->bytes)
		return 1ull << (bytes * 8 - 1);
	if (rmw->effect == COUNTS && byte == 0)
		return 3;
	return 0;
}

static bool is_explained(uint64_t found, uint64_t stored)
{
	int byte = stored_byte_in_operand(), shift, bytes;
	uint64_t mask, rest, part;

	if (byte < 0)
		return found == stored;
	shift = (operand + byte - target.first) * 8;
	bytes = target.bytes - shift / 8;
	if (byte + bytes > rmw->bytes)
		bytes = rmw->bytes - byte;
	mask = mask_of(bytes);
	rest = ~(mask << shift);
	if ((found & rest) != (stored & rest))
		return false;
	part = (found >> shift & mask) & ~bits_a_step_may_change(byte, bytes);
	stored = (stored >> shift & mask) & ~bits_a_step_may_change(byte, bytes);
	if (rmw->effect == EXCHANGES)
		return part == stored || part == (TOKEN & mask);
	return part == stored || part == after_step(stored, byte, mask);
}

static uint64_t store_and_look(void)
{
	uint8_t *at = area + target.first;
	uint64_t wrong = 0;

	for (uint64_t number = 1; number <= stores; number++) {
		uint64_t value = 0;

		for (int i = target.bytes - 1; i >= 0; i--)
			value = value << 8 | pattern(number, i);
		plain_store(at, target.bytes, value);
		for (int look = 0; look < LOOKS; look++)
			wrong += !is_explained(plain_load(at, target.bytes), value);
		await_steps(2);
		wrong += !is_explained(plain_load(at, target.bytes), value);
	}
	return wrong;
}

static bool in_range(int byte, int first, int bytes)
{
	return byte >= first && byte < first + bytes;
}

/* Bytes that only the instruction, or nobody, changes. */
static uint64_t disturbed_bytes(void)
{
	uint64_t disturbed = 0;

	for (int i = 0; i < AREA_BYTES; i++) {
		bool in_operand = in_range(i, operand, rmw->bytes);
		uint8_t change = area[i] ^ pattern(0, i);

		if (in_range(i, target.first, target.bytes))
			continue;
		if (in_operand && (rmw->effect == INVERTS || rmw->effect == NEGATES || rmw->effect == EXCHANGES))
			continue;
		if (in_operand)
			change &= (uint8_t)~bits_a_step_may_change(i - operand, 1);
		disturbed += change != 0;
	}
	return disturbed;
}

static void report_if(uint64_t count, const char *what)
{
	if (!count)
		return;
	print("  LOCK %s, operand at %d of area %d, store of %d at %d: %lu %s\n", rmw->name, operand, area_kind, target.bytes,
	      target.first, count, what);
	EXPECT(rmw->name, count, 0);
}

static void run_part(uint64_t part)
{
	uint64_t wrong;

	for (int i = 0; i < AREA_BYTES; i++)
		area[i] = pattern(0, i);
	stage.steps = 0;
	__atomic_store_n(&stage.part, part, __ATOMIC_RELEASE);
	await_steps(1);
	wrong = store_and_look();
	__atomic_store_n(&stage.stopped, part, __ATOMIC_RELEASE);
	while (__atomic_load_n(&stage.finished, __ATOMIC_ACQUIRE) != part)
		pause();
	stored_total += stores;
	steps_total += stage.steps;
	report_if(wrong, "looks found a lost store");
	report_if(disturbed_bytes(), "bytes beside were disturbed");
	if (rmw->effect == EXCHANGES && stored_byte_in_operand() >= 0) {
		report_if(stage.out_of_order, "exchanges out of order");
		report_if(stage.taken > stores ? stage.taken - stores : stores - stage.taken, "stores not taken once");
	}
}

/* -- all places and widths ---------------------------------------------------------------------------- */

static bool crosses_middle(int first, int bytes)
{
	return area_kind != IN_A_LINE && first < MIDDLE && first + bytes > MIDDLE;
}

/* On the operand's first bytes, on its last, after it and before it. */
static bool choose_target(int place, int bytes)
{
	int first[PLACES] = { operand, operand + rmw->bytes - bytes, operand + rmw->bytes, operand - bytes };

	target = (struct target){ first[place], bytes };
	/* A plain store that crosses is none that must come in one piece. */
	return !crosses_middle(first[place], bytes);
}

static void store_everywhere(void)
{
	uint64_t part = 0;

	for (int place = 0; place < PLACES; place++) {
		for (int bytes = 1; bytes <= 1 << (STORE_WIDTHS - 1); bytes *= 2) {
			if (choose_target(place, bytes))
				run_part(++part);
		}
	}
	__atomic_store_n(&stage.part, UINT64_MAX, __ATOMIC_RELEASE);
}

static void step_for_each_part(void)
{
	for (uint64_t done = 0;;) {
		uint64_t part = __atomic_load_n(&stage.part, __ATOMIC_ACQUIRE);

		if (part == UINT64_MAX)
			return;
		if (part == done) {
			pause();
			continue;
		}
		do_steps(part);
		done = part;
		__atomic_store_n(&stage.finished, done, __ATOMIC_RELEASE);
	}
}

static void run_pair(struct cpu *cpu)
{
	if (cpu->index == storing_cpu)
		store_everywhere();
	else if (cpu->index == stepping_cpu)
		step_for_each_part();
}

static void run_all(enum area_kind kind, uint8_t *at, uint64_t count)
{
	area_kind = kind;
	area = at;
	stores = count;
	stored_total = steps_total = 0;
	for (int n = 0; n < rmw_count; n++) {
		rmw = &rmws[n];
		if (rmw->needs_cmpxchg16b && !(cpuid(1, 0).ecx & CPUID_1_ECX_CMPXCHG16B)) {
			not_present("CMPXCHG16B");
			continue;
		}
		/* Neither a byte nor CMPXCHG16B, which faults, can cross. */
		if (kind != IN_A_LINE && (rmw->bytes == 1 || rmw->bytes == 16))
			continue;
		operand = kind == IN_A_LINE ? 16 : MIDDLE - rmw->bytes / 2;
		stage.part = stage.stopped = stage.finished = 0;
		stepping_cpu = n % cpu_count;
		storing_cpu = (n + 1) % cpu_count;
		smp_run(run_pair);
	}
	print("  %lu stores against %lu locked instructions\n", stored_total, steps_total);
}

_Noreturn void guest_main(void)
{
	uint64_t count = count_option("stores", 20), split = count_option("split", 1);

	map_page(CROSSING, frames[1], PTE_P | PTE_W);
	map_page(CROSSING + PAGE_BYTES, frames[0], PTE_P | PTE_W);
	smp_start();
	if (cpu_count < 2) {
		not_present("a second CPU");
		finish();
	}
	topic("in a line");
	run_all(IN_A_LINE, lines, count);
	topic("over two lines");
	run_all(OVER_LINES, lines + CACHE_LINE - MIDDLE, split);
	topic("over two pages");
	run_all(OVER_PAGES, (uint8_t *)physical(CROSSING) + PAGE_BYTES - MIDDLE, split);
	finish();
}
