/* Every kind of access through every kind of page-table entry, under all control bits (SDM vol. 3, chapter 4).
 *
 * A case is a number whose bits say what the entry that maps the page holds, what the entry above it holds, what the
 * access is and how the control registers stand. A model of the walk, by the SDM alone, says what must come: the page
 * fault with its error code, or the access; and the accessed and dirty bits afterwards. `cases=` of them are taken,
 * `stride=` apart, an odd number, round and round: a small stride leaves the registers alone for long, a large one changes
 * all at every case.
 *
 * Command line: stride=4099 cases=8000. */
#include "access.h"
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "paging.h"
#include "ring3.h"
#include "string.h"

#define RFLAGS_AC 0x40000
#define EFER_NXE 0x800
#define MSR_PKRS 0x6e1
#define PTE_RESERVED (1ull << 51) /* physical addresses have fewer bits */
#define PTE_KEY_SHIFT 59
#define KEY 1
#define TABLE_ENTRIES 512

#define PF_P 1
#define PF_W 2
#define PF_U 4
#define PF_RSVD 8
#define PF_I 16
#define PF_PK 32

/* Bits of a case. Those of registers are the highest: they change least. */
enum {
	LEAF_P, LEAF_W, LEAF_U, LEAF_NX, LEAF_RESERVED, LEAF_A, LEAF_D, LEAF_KEY,
	ABOVE_P, ABOVE_W, ABOVE_U, ABOVE_NX, ABOVE_RESERVED,
	WRITE, FETCH, USER, AC,
	WP, NXE, SMEP, SMAP, PKE, PKS, KEY_AD, KEY_WD,
	CASE_BITS
};

#define HAS(bit) (c >> (bit) & 1)

enum { SIZE_4K, SIZE_2M, SIZE_1G, SIZES };

/* Index 0x55 of the top of 4 levels. */
#define AREA_INDEX 0x55
#define AREA ((uint64_t)AREA_INDEX << 39)
#define HUGE_PAGE_BYTES (512ull * LARGE_PAGE_BYTES)
_Static_assert(USER_PAGE == WINDOW && USER_STACK == USER_PAGE + PAGE_BYTES, "the page of ring 3");

static uint64_t table[3][TABLE_ENTRIES] __attribute__((aligned(PAGE_BYTES)));
static uint64_t pml5[TABLE_ENTRIES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t frame[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t user_page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

void access_here(int kind, uint64_t address);
void access_from_ring3(int kind, uint64_t address);
void set_la57(uint64_t top_table, bool on);
extern uint8_t access_done[];
extern uint64_t access_stack;
extern const uint8_t user_code[], user_code_end[];

static struct {
	bool faulted;
	uint64_t error_code, cr2;
} got;
static bool has_pku, has_pks, has_smep, has_smap;

static void go_back(struct interrupt_frame *f)
{
	f->rip = (uintptr_t)access_done;
	f->cs = KERNEL_CODE;
	f->rsp = access_stack;
	f->ss = KERNEL_DATA;
}

static void page_fault(struct interrupt_frame *f)
{
	got.faulted = true;
	got.error_code = f->error_code;
	got.cr2 = read_cr2();
	go_back(f);
}

static void write_pkru(uint32_t value)
{
	__asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static void set_ac(bool on)
{
	if (on)
		__asm__ volatile("stac" : : : "memory");
	else
		__asm__ volatile("clac" : : : "memory");
}

static uint64_t with(uint64_t value, uint64_t bit, bool on)
{
	return on ? value | bit : value & ~bit;
}

static uint64_t cr0, cr4, efer;
static uint32_t pkru, pkrs;

/* As kernels do, only what changes is written. */
static void set_registers(uint64_t c)
{
	uint64_t want = with(cr0, CR0_WP, HAS(WP));
	uint32_t rights = (HAS(KEY_AD) | HAS(KEY_WD) << 1) << 2 * KEY;

	if (want != cr0)
		write_cr0(cr0 = want);
	want = with(efer, EFER_NXE, HAS(NXE));
	if (want != efer)
		write_msr(MSR_EFER, efer = want);
	want = with(with(with(with(cr4, CR4_SMEP, HAS(SMEP)), CR4_SMAP, HAS(SMAP)), CR4_PKE, HAS(PKE)), CR4_PKS, HAS(PKS));
	if (want != cr4)
		write_cr4(cr4 = want);
	if (HAS(PKE) && rights != pkru)
		write_pkru(pkru = rights);
	if (HAS(PKS) && rights != pkrs)
		write_msr(MSR_PKRS, pkrs = rights);
}

/* A case that is another one said twice, or that this CPU can not be in. */
static bool left_out(uint64_t c)
{
	return (HAS(WRITE) && HAS(FETCH)) || (HAS(PKE) && !has_pku) || (HAS(PKS) && !has_pks) ||
	       (HAS(SMEP) && !has_smep) || (HAS(SMAP) && !has_smap) || (HAS(AC) && (HAS(USER) || !HAS(SMAP))) ||
	       ((HAS(KEY_AD) || HAS(KEY_WD)) && !HAS(PKE) && !HAS(PKS));
}

static uint64_t leaf_of(uint64_t c, int size)
{
	uint64_t reserved = size == SIZE_4K ? PTE_RESERVED : 1ull << 13;

	return (HAS(LEAF_P) ? PTE_P : 0) | (HAS(LEAF_W) ? PTE_W : 0) | (HAS(LEAF_U) ? PTE_U : 0) |
	       (HAS(LEAF_NX) ? PTE_NX : 0) | (HAS(LEAF_RESERVED) ? reserved : 0) | (HAS(LEAF_A) ? PTE_A : 0) |
	       (HAS(LEAF_D) ? PTE_D : 0) | (HAS(LEAF_KEY) ? (uint64_t)KEY << PTE_KEY_SHIFT : 0) |
	       (size == SIZE_4K ? 0 : PTE_PS);
}

static uint64_t above_of(uint64_t c)
{
	return (HAS(ABOVE_P) ? PTE_P : 0) | (HAS(ABOVE_W) ? PTE_W : 0) | (HAS(ABOVE_U) ? PTE_U : 0) |
	       (HAS(ABOVE_NX) ? PTE_NX : 0) | (HAS(ABOVE_RESERVED) ? PTE_RESERVED : 0);
}

/* What the SDM says of a case. */
struct expected {
	bool fault;
	bool key_open; /* 4.7 leaves open whether the PK bit is set */
	uint64_t error_code;
	bool above_a, above_a_open, leaf_a, leaf_d;
};

static struct expected model(uint64_t c)
{
	struct expected e = { .leaf_a = HAS(LEAF_A), .leaf_d = HAS(LEAF_D) };
	bool user_page = HAS(ABOVE_U) && HAS(LEAF_U), writable = HAS(ABOVE_W) && HAS(LEAF_W);
	bool nx = HAS(ABOVE_NX) || HAS(LEAF_NX), data = !HAS(FETCH), key = HAS(LEAF_KEY) && data;
	bool keyed = key && (user_page ? HAS(PKE) : HAS(PKS));

	e.error_code = (HAS(WRITE) ? PF_W : 0) | (HAS(USER) ? PF_U : 0) | (HAS(FETCH) && (HAS(NXE) || HAS(SMEP)) ? PF_I : 0);
	if (!HAS(ABOVE_P)) {
		e.fault = true;
		return e;
	}
	if (HAS(ABOVE_RESERVED) || (HAS(ABOVE_NX) && !HAS(NXE))) {
		e.fault = true;
		e.error_code |= PF_P | PF_RSVD;
		return e;
	}
	e.above_a = true;
	if (!HAS(LEAF_P)) {
		e.fault = e.above_a_open = true;
		return e;
	}
	if (HAS(LEAF_RESERVED) || (HAS(LEAF_NX) && !HAS(NXE))) {
		e.fault = e.above_a_open = true;
		e.error_code |= PF_P | PF_RSVD;
		return e;
	}
	if (HAS(USER)) {
		e.fault = !user_page || (HAS(WRITE) && !writable) || (HAS(FETCH) && nx);
		e.key_open = !user_page;
	} else {
		e.fault = (user_page && data && HAS(SMAP) && !HAS(AC)) || (HAS(WRITE) && !writable && HAS(WP)) ||
			  (HAS(FETCH) && (nx || (user_page && HAS(SMEP))));
	}
	if (keyed && (HAS(KEY_AD) || (HAS(KEY_WD) && HAS(WRITE) && (HAS(USER) || HAS(WP))))) {
		e.fault = true;
		e.error_code |= PF_PK;
	}
	if (e.fault) {
		e.error_code |= PF_P;
		e.above_a_open = true;
	} else {
		e.leaf_a = true;
		e.leaf_d |= HAS(WRITE);
	}
	return e;
}

struct place {
	int size;
	uint64_t *above, *leaf;
	uint64_t address, above_frame, leaf_frame;
};

/* Entries for an address of AREA in which a page of `size` maps `frame` at the same offset. */
static struct place place_of(int size)
{
	static const uint64_t bytes[SIZES] = { PAGE_BYTES, LARGE_PAGE_BYTES, HUGE_PAGE_BYTES };
	uint64_t at = (uintptr_t)frame, offset = at & (HUGE_PAGE_BYTES - 1);
	uint64_t *top = physical(read_cr3() & PTE_ADDRESS);
	uint64_t *entries[SIZES + 1];

	if (cr4 & CR4_LA57)
		top = physical(top[0] & PTE_ADDRESS);
	entries[0] = &top[AREA_INDEX];
	entries[1] = &table[0][0];
	entries[2] = &table[1][offset / LARGE_PAGE_BYTES];
	entries[3] = &table[2][offset / PAGE_BYTES % TABLE_ENTRIES];
	for (int i = 0; i < SIZES; i++)
		*entries[i] = (uintptr_t)table[i] | PTE_P | PTE_W | PTE_U;
	return (struct place){
		.size = size,
		.above = entries[SIZE_1G - size],
		.leaf = entries[SIZE_1G - size + 1],
		.address = AREA + offset,
		.above_frame = (uintptr_t)table[SIZE_1G - size],
		.leaf_frame = at & ~(bytes[size] - 1),
	};
}

enum { FAILURES_TOLD = 12 };
static unsigned told;

static void wrong(uint64_t c, const char *what, uint64_t is, uint64_t should)
{
	if (told++ < FAILURES_TOLD)
		print("case %lx: %s %lx expected %lx\n", c, what, is, should);
}

/* What may be wrong. QEMU 7.2 leaves the P bit of error codes out where a reserved bit is set, and marks a 1 GiB page
 * accessed before it has looked at its rights; these are counted by themselves. */
enum { FAULTS, BITS, RESERVED_P, FAULT_A, WAYS };
static unsigned wrongs[WAYS];

static void check_bits(uint64_t c, const struct place *p, const struct expected *e)
{
	uint64_t open = e->above_a_open ? PTE_A : 0;
	uint64_t above = above_of(c) | p->above_frame | (e->above_a ? PTE_A : 0);
	uint64_t leaf = leaf_of(c, p->size) | p->leaf_frame | (e->leaf_a ? PTE_A : 0) | (e->leaf_d ? PTE_D : 0);

	if ((*p->above | open) != (above | open)) {
		wrong(c, "the entry above is", *p->above, above);
		wrongs[BITS]++;
	} else if (*p->leaf != leaf) {
		bool early = *p->leaf == (leaf | PTE_A) && p->size == SIZE_1G && e->fault;

		wrong(c, "the entry is", *p->leaf, leaf);
		wrongs[early ? FAULT_A : BITS]++;
	}
}

static void run_case(uint64_t c, const struct place *p)
{
	int kind = HAS(WRITE) ? KIND_WRITE : HAS(FETCH) ? KIND_FETCH : KIND_READ;
	struct expected e = model(c);
	uint64_t open = e.key_open ? PF_PK : 0;

	set_registers(c);
	*p->above = above_of(c) | p->above_frame;
	*p->leaf = leaf_of(c, p->size) | p->leaf_frame;
	*(volatile uint8_t *)frame = OPCODE_RET;
	invalidate_page(physical(p->address));
	got.faulted = false;
	if (HAS(AC))
		set_ac(true);
	if (HAS(USER))
		access_from_ring3(kind, p->address);
	else
		access_here(kind, p->address);
	if (HAS(AC))
		set_ac(false);
	if (got.faulted != e.fault ||
	    (e.fault && ((got.error_code | open) != (e.error_code | open) || got.cr2 != p->address))) {
		bool reserved = got.faulted && (got.error_code | PF_P) == e.error_code && (e.error_code & PF_RSVD);

		wrong(c, "error code (-1: no fault)", got.faulted ? got.error_code : -1ull,
		      e.fault ? e.error_code : -1ull);
		wrongs[reserved ? RESERVED_P : FAULTS]++;
	}
	check_bits(c, p, &e);
}

static uint64_t stride, cases;

static void run_size(int size)
{
	struct place p = place_of(size);

	for (uint64_t c = 0, left = cases; left != 0; c = (c + stride) & ((1ull << CASE_BITS) - 1)) {
		if (left_out(c))
			continue;
		run_case(c, &p);
		left--;
	}
	set_registers(1ull << WP | 1ull << NXE);
}

enum { LEVELS_4, LEVELS_5 };

static void run_levels(int levels, bool has_1g)
{
	static const char *const name[2][SIZES][2] = {
		{ { "faults of 4 KiB pages", "accessed and dirty bits of 4 KiB pages" },
		  { "faults of 2 MiB pages", "accessed and dirty bits of 2 MiB pages" },
		  { "faults of 1 GiB pages", "accessed and dirty bits of 1 GiB pages" } },
		{ { "faults of 4 KiB pages below 5 levels", "accessed and dirty bits of 4 KiB pages below 5 levels" },
		  { "faults of 2 MiB pages below 5 levels", "accessed and dirty bits of 2 MiB pages below 5 levels" },
		  { "faults of 1 GiB pages below 5 levels", "accessed and dirty bits of 1 GiB pages below 5 levels" } },
	};

	for (int size = 0; size < (has_1g ? SIZES : SIZE_1G); size++) {
		wrongs[FAULTS] = wrongs[BITS] = 0;
		run_size(size);
		CHECK(name[levels][size][FAULTS], wrongs[FAULTS], 0);
		CHECK(name[levels][size][BITS], wrongs[BITS], 0);
	}
}

_Noreturn void guest_main(void)
{
	struct cpuid features = cpuid(7, 0), extended = cpuid(0x80000001, 0);
	bool has_1g = extended.edx >> 26 & 1, has_la57 = features.ecx >> 16 & 1;

	stride = option("stride", 4099);
	cases = option("cases", 8000);
	has_smep = features.ebx >> 7 & 1;
	has_smap = features.ebx >> 20 & 1;
	has_pku = features.ecx >> 3 & 1;
	has_pks = features.ecx >> 31 & 1;
	cr0 = read_cr0();
	cr4 = read_cr4();
	efer = read_msr(MSR_EFER);
	set_handler(VECTOR_PF, page_fault);
	set_handler(VECTOR_ACCESSED, go_back);
	allow_from_ring3(VECTOR_ACCESSED);
	memcpy(user_page, user_code, (size_t)(user_code_end - user_code));
	map_page(USER_PAGE, user_page, PTE_P | PTE_W | PTE_U);
	set_registers(1ull << WP | 1ull << NXE);

	run_levels(LEVELS_4, has_1g);
	if (!has_1g)
		absent("pdpe1gb", "CPUID.80000001H:EDX[26]");
	if (has_la57) {
		pml5[0] = (read_cr3() & PTE_ADDRESS) | PTE_P | PTE_W | PTE_U;
		set_la57((uintptr_t)pml5, true);
		cr4 |= CR4_LA57;
		run_levels(LEVELS_5, has_1g);
	} else {
		absent("la57", "CPUID.7.0:ECX[16]");
	}
	CHECK_NOT_QEMU("error codes of reserved bits have P", wrongs[RESERVED_P], 0,
		       "leaves P clear where RSVD is set, SDM vol. 3, 4.7");
	CHECK_NOT_QEMU("1 GiB pages that fault are not accessed", wrongs[FAULT_A], 0,
		       "marks them before it looks at their rights, SDM vol. 3, 4.8");
	finish();
}
