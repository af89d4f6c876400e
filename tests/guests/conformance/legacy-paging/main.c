/* Paging outside long mode: 32-bit entries, with and without 4 MiB pages, and PAE with its PDPTE registers (SDM vol. 3,
 * 4.3 and 4.4). The guest leaves long mode for each access; ring 0 alone. */
#include <stddef.h>

#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "layout.h"
#include "legacy.h"
#include "paging.h"
#include "string.h"

#define PF_P 1
#define PF_W 2
#define PF_RSVD 8
#define PF_I 16

#define CR0_PE 0x1u
#define CR0_ET_NE 0x30u
#define CR0_WP 0x10000u
#define CR0_PG 0x80000000u
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_SMEP 0x100000u
#define EFER_NXE 0x800u
#define CPUID_7_EBX_SMEP (1u << 7)
#define PAGING (CR0_PG | CR0_WP | CR0_ET_NE | CR0_PE)

/* Beyond the identity map of 16 MiB: the frame by a small page, and by a large one. */
#define AREA 0x40000000u
#define LARGE_AREA 0x80000000u
#define IDENTITY_TABLES 4
#define ENTRIES32 1024
#define ENTRIES64 512

_Static_assert(offsetof(struct legacy, value) == LEGACY_VALUE, "legacy.h");

static uint32_t directory32[ENTRIES32] __attribute__((aligned(PAGE_BYTES)));
static uint32_t tables32[IDENTITY_TABLES + 1][ENTRIES32] __attribute__((aligned(PAGE_BYTES)));
static uint64_t pdptes[4] __attribute__((aligned(PAGE_BYTES)));
static uint64_t other_pdptes[4] __attribute__((aligned(PAGE_BYTES)));
static uint64_t directories64[4][ENTRIES64] __attribute__((aligned(PAGE_BYTES)));
static uint64_t table64[ENTRIES64] __attribute__((aligned(PAGE_BYTES)));
static uint32_t frames[2][PAGE_BYTES / 4] __attribute__((aligned(PAGE_BYTES)));

extern uint64_t legacy_idt[];
extern const uint8_t legacy_gp[], legacy_pf[];

static uint32_t address32(const volatile void *at)
{
	return (uint32_t)(uintptr_t)at;
}

static void set_gate(int vector, const uint8_t *handler)
{
	uint64_t at = (uintptr_t)handler;

	legacy_idt[vector] = (at & 0xffff) | KERNEL_CODE32 << 16 | 0x8eull << 40 | (at >> 16) << 48;
}

static void make_tables(void)
{
	for (unsigned i = 0; i < IDENTITY_TABLES; i++) {
		directory32[i] = address32(tables32[i]) | PTE_P | PTE_W;
		for (unsigned n = 0; n < ENTRIES32; n++)
			tables32[i][n] = (i * ENTRIES32 + n) * PAGE_BYTES | PTE_P | PTE_W;
	}
	directory32[AREA >> 22] = address32(tables32[IDENTITY_TABLES]) | PTE_P | PTE_W;
	for (unsigned i = 0; i < 4; i++)
		pdptes[i] = address32(directories64[i]) | PTE_P;
	for (unsigned n = 0; n < 8; n++)
		directories64[0][n] = n * LARGE_PAGE_BYTES | PTE_P | PTE_W | PTE_PS;
	directories64[AREA >> 30][0] = address32(table64) | PTE_P | PTE_W;
}

static struct legacy access32(uint32_t kind, uint32_t address)
{
	return (struct legacy){ .cr0 = PAGING, .cr3 = address32(directory32), .kind = kind, .address = address };
}

static struct legacy access_pae(uint32_t kind, uint32_t address)
{
	return (struct legacy){ .cr0 = PAGING, .cr3 = address32(pdptes), .cr4 = CR4_PAE, .efer = EFER_NXE,
				.kind = kind, .address = address };
}

#define CHECK_DONE(name, l)                                       \
	do {                                                      \
		legacy_run(&(l));                                 \
		CHECK(name " vector", (l).vector, NO_VECTOR);     \
	} while (0)

#define CHECK_PF(name, l, error_code_)                            \
	do {                                                      \
		legacy_run(&(l));                                 \
		CHECK(name " vector", (l).vector, VECTOR_PF);     \
		CHECK(name " error code", (l).error_code, error_code_); \
		CHECK(name " cr2", (l).cr2, (l).address);         \
	} while (0)

/* QEMU 7.2 leaves P clear where RSVD is set. */
#define CHECK_RESERVED(name, l)                                                                           \
	do {                                                                                              \
		legacy_run(&(l));                                                                         \
		CHECK(name " vector", (l).vector, VECTOR_PF);                                             \
		CHECK_NOT_QEMU(name " error code", (l).error_code, PF_P | PF_RSVD,                        \
			       "leaves P clear where RSVD is set, SDM vol. 3, 4.7");                      \
	} while (0)

static void test_small(void)
{
	uint32_t *entry = &tables32[IDENTITY_TABLES][0];
	struct legacy read = access32(KIND_READ, AREA), write = access32(KIND_WRITE, AREA);
	struct legacy fetch = access32(KIND_FETCH, AREA);

	topic("32-bit entries");
	frames[0][0] = 0x600dc3;
	*entry = address32(frames[0]) | PTE_P | PTE_W;
	CHECK_DONE("load", read);
	CHECK("load value", read.value, 0x600dc3);
	CHECK("load marks accessed", *entry & (PTE_A | PTE_D), PTE_A);
	CHECK("load marks the directory accessed", directory32[AREA >> 22] & (PTE_A | PTE_D), PTE_A);
	CHECK_DONE("store", write);
	CHECK("store marks dirty", *entry & (PTE_A | PTE_D), PTE_A | PTE_D);
	CHECK_DONE("fetch", fetch);
	*entry = address32(frames[0]) | PTE_P;
	CHECK_PF("store to a read-only page", write, PF_P | PF_W);
	CHECK("that marks nothing", *entry & (PTE_A | PTE_D), 0);
	write.cr0 &= ~CR0_WP;
	CHECK_DONE("store to a read-only page without wp", write);
	write.cr0 |= CR0_WP;
	*entry = 0;
	CHECK_PF("load from an absent page", read, 0);
	CHECK_PF("store to an absent page", write, PF_W);
	CHECK_PF("fetch from an absent page", fetch, 0);
	fetch.efer = EFER_NXE;
	CHECK_PF("fetch from an absent page with nxe without pae", fetch, 0);
	*entry = address32(frames[0]) | PTE_P | PTE_W | PTE_U;
	directory32[AREA >> 22] |= PTE_U;
	CHECK_DONE("fetch from a user page", fetch);
	if (cpuid(7, 0).ebx & CPUID_7_EBX_SMEP) {
		fetch.cr4 = CR4_SMEP;
		CHECK_PF("fetch from a user page under smep", fetch, PF_P | PF_I);
		*entry = 0;
		CHECK_PF("fetch from an absent page under smep", fetch, PF_I);
	} else {
		absent("smep", "CPUID.7.0:EBX[7]");
	}
	*entry = address32(frames[0]) | PTE_P | PTE_W;
	directory32[AREA >> 22] &= ~(uint32_t)PTE_P;
	CHECK_PF("load below an absent table", read, 0);
	directory32[AREA >> 22] |= PTE_P;
	/* Bit 7 of a table's entry, and all bits of the directory's without PSE, are no page size. */
	*entry |= PTE_PS;
	directory32[AREA >> 22] |= PTE_PS;
	CHECK_DONE("page size without pse", read);
	CHECK("page size without pse value", read.value & 0xff, OPCODE_RET);
	directory32[AREA >> 22] &= ~(uint32_t)PTE_PS;
}

static void test_large(void)
{
	uint32_t *entry = &directory32[LARGE_AREA >> 22], offset = address32(frames[0]) & 0x3fffff;
	struct legacy read = access32(KIND_READ, LARGE_AREA + offset), write = access32(KIND_WRITE, LARGE_AREA + offset);
	uint32_t base = address32(frames[0]) & ~0x3fffffu;

	topic("4 MiB pages");
	read.cr4 = write.cr4 = CR4_PSE;
	frames[0][0] = 0x1a46e;
	*entry = base | PTE_P | PTE_W | PTE_PS;
	CHECK_DONE("load from 4 mib", read);
	CHECK("load from 4 mib value", read.value, 0x1a46e);
	CHECK("load marks 4 mib accessed", *entry & (PTE_A | PTE_D), PTE_A);
	CHECK_DONE("store to 4 mib", write);
	CHECK("store marks 4 mib dirty", *entry & (PTE_A | PTE_D), PTE_A | PTE_D);
	*entry = base | PTE_P | PTE_PS;
	CHECK_PF("store to read-only 4 mib", write, PF_P | PF_W);
	*entry = base | PTE_P | PTE_W | PTE_PS | 1u << 21;
	CHECK_RESERVED("bit 21 of 4 mib", read);
	CHECK("which marks nothing", *entry & (PTE_A | PTE_D), 0);
	*entry = base | PTE_P | PTE_W | PTE_PS | 1u << 12;
	CHECK_DONE("the pat bit of 4 mib", read);
	*entry = 0;
}

static void test_pae(void)
{
	uint64_t *entry = &table64[0], *directory = &directories64[AREA >> 30][0], table = *directory;
	struct legacy read = access_pae(KIND_READ, AREA), write = access_pae(KIND_WRITE, AREA);
	struct legacy fetch = access_pae(KIND_FETCH, AREA);
	unsigned wrong = 0;

	topic("pae");
	frames[0][0] = 0xaec3;
	*entry = address32(frames[0]) | PTE_P | PTE_W;
	CHECK_DONE("pae load", read);
	CHECK("pae load value", read.value, 0xaec3);
	CHECK("pae load marks accessed", *entry & (PTE_A | PTE_D), PTE_A);
	CHECK("pae load marks the directory accessed", *directory & (PTE_A | PTE_D), PTE_A);
	CHECK_NOT_QEMU("a pdpte is not marked", pdptes[AREA >> 30] & PTE_A, 0,
		       "marks PDPTEs accessed, SDM vol. 3, 4.4.2");
	pdptes[AREA >> 30] &= ~PTE_A;
	CHECK_DONE("pae store", write);
	CHECK("pae store marks dirty", *entry & (PTE_A | PTE_D), PTE_A | PTE_D);
	*entry |= PTE_NX;
	CHECK_PF("pae fetch from nx", fetch, PF_P | PF_I);
	CHECK_DONE("pae load from nx", read);
	*entry &= ~PTE_NX;
	*directory |= PTE_NX;
	CHECK_PF("pae fetch below nx", fetch, PF_P | PF_I);
	*directory = table;
	*entry |= PTE_NX;
	read.efer = fetch.efer = 0;
	CHECK_RESERVED("pae nx without nxe", read);
	*entry = 0;
	CHECK_PF("pae fetch from an absent page without nxe", fetch, 0);
	read.efer = EFER_NXE;
	*entry = address32(frames[0]) | PTE_P;
	CHECK_PF("pae store to a read-only page", write, PF_P | PF_W);
	for (unsigned bit = 52; bit < 63; bit++) {
		*entry = address32(frames[0]) | PTE_P | 1ull << bit;
		legacy_run(&read);
		wrong += read.vector != VECTOR_PF || !(read.error_code & PF_RSVD);
	}
	CHECK("pae bits 52 to 62 are reserved", wrong, 0);
	*entry = address32(frames[0]) | PTE_P | 1ull << 51;
	CHECK_RESERVED("pae bit 51", read);
	*entry = address32(frames[0]) | PTE_P | PTE_W;
}

static void test_pae_large(void)
{
	uint32_t offset = address32(frames[0]) & (LARGE_PAGE_BYTES - 1);
	uint64_t *entry = &directories64[LARGE_AREA >> 30][0], base = address32(frames[0]) - offset;
	struct legacy read = access_pae(KIND_READ, LARGE_AREA + offset), write = access_pae(KIND_WRITE, LARGE_AREA + offset);

	topic("2 MiB pages");
	frames[0][0] = 0x2a46e;
	*entry = base | PTE_P | PTE_W | PTE_PS;
	CHECK_DONE("load from 2 mib", read);
	CHECK("load from 2 mib value", read.value, 0x2a46e);
	CHECK_DONE("store to 2 mib", write);
	CHECK("store marks 2 mib dirty", *entry & (PTE_A | PTE_D), PTE_A | PTE_D);
	*entry |= 1u << 13;
	CHECK_RESERVED("bit 13 of 2 mib", read);
	*entry = base | PTE_P | PTE_PS;
	CHECK_PF("store to read-only 2 mib", write, PF_P | PF_W);
	*entry = 0;
}

#define IN_MEMORY "reads the PDPTEs from memory at each walk, SDM vol. 3, 4.4.1"

/* The PDPTE of AREA is changed after a first access. */
static void test_pdptes(void)
{
	struct legacy read = access_pae(KIND_READ, AREA);
	unsigned refused = 0, bits = 0;

	topic("pdptes");
	frames[1][0] = 0xf2a3e;
	table64[0] = address32(frames[0]) | PTE_P | PTE_W;
	table64[1] = address32(frames[1]) | PTE_P | PTE_W;
	memcpy(other_pdptes, pdptes, sizeof pdptes);
	read.poke = address32(&pdptes[AREA >> 30]);
	read.poked = 0;
	legacy_run(&read);
	CHECK_NOT_QEMU("a pdpte that is cleared in memory vector", read.vector, NO_VECTOR, IN_MEMORY);
	CHECK_NOT_QEMU("a pdpte that is cleared in memory value", read.value, 0xf2a3e, IN_MEMORY);
	pdptes[AREA >> 30] = other_pdptes[AREA >> 30];
	read.reload = read.cr3;
	legacy_run(&read);
	CHECK("a pdpte that is cleared and loaded vector", read.vector, VECTOR_PF);
	CHECK("a pdpte that is cleared and loaded cr2", read.cr2, AREA + PAGE_BYTES);
	pdptes[AREA >> 30] = other_pdptes[AREA >> 30];
	read.poke = 0;
	for (unsigned bit = 1; bit < 64; bit++) {
		if ((bit >= 3 && bit <= 4) || (bit >= 9 && bit < 40))
			continue;
		other_pdptes[3] = pdptes[3] | 1ull << bit;
		read.reload = address32(other_pdptes);
		legacy_run(&read);
		bits++;
		refused += read.vector == VECTOR_GP && read.error_code == 0;
	}
	CHECK_NOT_QEMU("reserved bits of pdptes are gp at mov to cr3", refused, bits, IN_MEMORY);
	other_pdptes[3] = 1ull << 63 | 0x1e6;
	read.reload = address32(other_pdptes);
	CHECK_DONE("reserved bits of a pdpte that is not present", read);
}

_Noreturn void guest_main(void)
{
	set_gate(VECTOR_GP, legacy_gp);
	set_gate(VECTOR_PF, legacy_pf);
	make_tables();
	test_small();
	test_large();
	test_pae();
	test_pae_large();
	test_pdptes();
	finish();
}
