/* Tables, and what they keep a function from (VT-d 3.3, chapters 3, 7 and 9). */
#include "arrivals.h"
#include "edu.h"
#include "vtd.h"

#define VECTOR 0x92
#define READ 1ull
#define WRITE 2ull
#define LARGE 0x80ull
#define PRESENT 1ull
#define FAULT_DISABLE 2ull
#define PASS_THROUGH (2ull << 2)
#define DOMAIN (1ull << 8)
#define LEVELS_3 (DOMAIN | 1)
#define LEVELS_4 (DOMAIN | 2)
#define LEVELS_5 (DOMAIN | 3)
#define IOVA 0x12345000u
#define WORD 0x1122334455667788ull
#define OLD 0x5555555555555555ull

typedef volatile uint64_t table[512];

static table root __attribute__((aligned(VTD_PAGE))), contexts __attribute__((aligned(VTD_PAGE)));
static table level4 __attribute__((aligned(VTD_PAGE))), level3 __attribute__((aligned(VTD_PAGE)));
static table level2 __attribute__((aligned(VTD_PAGE))), level1 __attribute__((aligned(VTD_PAGE)));
static table pages[2] __attribute__((aligned(VTD_PAGE)));

static unsigned requester(void)
{
	return edu_slot << 3;
}

static void set_context(uint64_t low, uint64_t high)
{
	contexts[2 * requester()] = low;
	contexts[2 * requester() + 1] = high;
}

static unsigned part(uint64_t iova, unsigned level)
{
	return (unsigned)(iova >> (12 + 9 * (level - 1)) & 511);
}

static void map(uint64_t iova, uint64_t entry)
{
	level4[part(iova, 4)] = (uint64_t)level3 | READ | WRITE;
	level3[part(iova, 3)] = (uint64_t)level2 | READ | WRITE;
	level2[part(iova, 2)] = (uint64_t)level1 | READ | WRITE;
	level1[part(iova, 1)] = entry;
}

/* QEMU 7.2 has a PASID in requests without one, too; whether there is one says PP, and what it is means nothing then. */
#define PASID (0xfffffull << 40)
#define PASID_PRESENT (1ull << 31)

uint64_t take_fault(uint64_t *address)
{
	uint64_t high = vtd_read_wide(VTD_FRCD + 8);

	if (!(high & PASID_PRESENT))
		high &= ~PASID;
	*address = vtd_read_wide(VTD_FRCD);
	if (!(high >> 63))
		return 0;
	vtd_write(VTD_FRCD + 12, FRCD_F);
	return high;
}

/* What the device gets of the first page at `iova`, and what is recorded. Where that is a fault, what it gets is not
 * looked at: a copy takes QEMU 100 ms. */
static uint64_t got;
static uint64_t fault_address;

static uint64_t reads(uint64_t iova)
{
	uint64_t fault;

	queue_invalidate_all();
	pages[0][0] = WORD;
	edu_copy_in((uint32_t)iova, 0, 8);
	fault = take_fault(&fault_address);
	if (fault)
		return fault;
	vtd_command(0, GCMD_TE);
	pages[1][0] = OLD;
	edu_copy_out(0, (uint64_t)pages[1], 8);
	got = pages[1][0];
	vtd_command(GCMD_TE, 0);
	return 0;
}

static uint64_t writes(uint64_t iova)
{
	vtd_command(0, GCMD_TE);
	pages[0][0] = WORD;
	edu_copy_in((uint64_t)pages[0], 0, 8);
	vtd_command(GCMD_TE, 0);
	queue_invalidate_all();
	pages[0][0] = OLD;
	edu_copy_out(0, (uint32_t)iova, 8);
	got = pages[0][0];
	return take_fault(&fault_address);
}

#define RECORDED(reason) (1ull << 63 | (uint64_t)(reason) << 32 | requester())
#define RECORDED_READ(reason) (RECORDED(reason) | 1ull << 62)

#define CHECK_READ(name, iova, fault)                      \
	do {                                               \
		uint64_t seen_ = reads(iova);              \
		CHECK(name, seen_, fault);                 \
		if (!seen_)                                \
			CHECK(name " gives", got, WORD);   \
	} while (0)

#define CHECK_WRITE(name, iova, fault)                       \
	do {                                                 \
		uint64_t seen_ = writes(iova);               \
		CHECK(name, seen_, fault);                   \
		CHECK(name " leaves", got, (fault) ? OLD : WORD); \
	} while (0)

static void test_walk(const char *what, uint64_t high, uint64_t top)
{
	uint64_t page = (uint64_t)pages[0];

	print("- pages by tables of %s levels\n", what);
	set_context(top | PRESENT, high);
	map(IOVA, page | READ | WRITE);
}

static void test_pages(void)
{
	uint64_t page = (uint64_t)pages[0];

	test_walk("4", LEVELS_4, (uint64_t)level4);
	CHECK_READ("4 levels, read", IOVA, 0);
	CHECK_WRITE("4 levels, write", IOVA, 0);
	CHECK_READ("4 levels, no page", IOVA + VTD_PAGE, RECORDED_READ(6));
	CHECK("the address that has none", fault_address, IOVA + VTD_PAGE);
	CHECK_WRITE("4 levels, write to no page", IOVA + VTD_PAGE, RECORDED(5));
	CHECK_READ("4 levels, no table", IOVA ^ 0x40000000, RECORDED_READ(6));
	test_walk("3", LEVELS_3, (uint64_t)level3);
	CHECK_READ("3 levels, read", IOVA, 0);
	CHECK_WRITE("3 levels, write", IOVA, 0);
	CHECK_READ("3 levels, no page", IOVA + VTD_PAGE, RECORDED_READ(6));

	topic("rights");
	map(IOVA, page | READ);
	CHECK_READ("a page to be read", IOVA, 0);
	CHECK_WRITE("is not written", IOVA, RECORDED(5));
	CHECK("the address not written", fault_address, IOVA);
	map(IOVA, page | WRITE);
	CHECK_READ("a page to be written is not read", IOVA, RECORDED_READ(6));
	CHECK_WRITE("it is written", IOVA, 0);
	map(IOVA, page | READ | WRITE);
	level2[part(IOVA, 2)] = (uint64_t)level1 | READ;
	CHECK_READ("a table to be read", IOVA, 0);
	CHECK_WRITE("has nothing written", IOVA, RECORDED(5));

	topic("reserved bits");
	map(IOVA, page | READ | WRITE | 0x800);
	CHECK_READ("in a page's entry", IOVA, RECORDED_READ(0xc));
	map(IOVA, page | READ | WRITE | 1ull << 48);
	CHECK_READ("beyond the address width", IOVA, RECORDED_READ(0xc));
	map(IOVA, page | READ | WRITE | 1ull << 52 | 0x37c);
	CHECK_READ("what software has is not", IOVA, 0);
	map(IOVA, 0xfee00000 | READ | WRITE);
	CHECK_READ("a page of messages", IOVA, RECORDED_READ(0xe));
}

static void test_large_pages(void)
{
	uint64_t page = (uint64_t)pages[0], in_2m = page & 0x1fffff, in_1g = page & 0x3fffffff;

	topic("large pages");
	map(IOVA, 0);
	level2[part(0x40000000, 2)] = (page & ~0x1fffffull) | READ | WRITE | LARGE;
	level3[part(0x40000000, 3)] = (uint64_t)level2 | READ | WRITE;
	CHECK_READ("2 MiB", 0x40000000 + in_2m, 0);
	level2[part(0x40000000, 2)] |= 0x1000;
	CHECK_READ("2 MiB not aligned", 0x40000000 + in_2m, RECORDED_READ(0xc));
	level2[part(0x40000000, 2)] = 0;
	level3[part(0x80000000, 3)] = (page & ~0x3fffffffull) | READ | WRITE | LARGE;
	CHECK_READ("1 GiB", 0x80000000 + in_1g, 0);
	CHECK_WRITE("1 GiB written", 0x80000000 + in_1g, 0);
	level3[part(0x80000000, 3)] = 0;
	level4[0] = (uint64_t)level3 | READ | WRITE | LARGE;
	set_context((uint64_t)level4 | PRESENT, LEVELS_4);
	CHECK_READ("no larger one", IOVA, RECORDED_READ(0xc));
	level4[0] = (uint64_t)level3 | READ | WRITE;
}

static void test_contexts(void)
{
	uint64_t page = (uint64_t)pages[0];

	topic("context entries");
	map(IOVA, page | READ | WRITE);
	root[0] = 0;
	CHECK_READ("no root entry", IOVA, RECORDED_READ(1));
	root[0] = (uint64_t)contexts | PRESENT | 2;
	CHECK_READ("a root entry with a reserved bit", IOVA, RECORDED_READ(0xa));
	root[0] = (uint64_t)contexts | PRESENT;
	set_context(0, 0);
	CHECK_READ("no context entry", IOVA, RECORDED_READ(2));
	set_context((uint64_t)level4 | PRESENT | 0x10, LEVELS_4);
	CHECK_READ("a context entry with a reserved bit", IOVA, RECORDED_READ(0xb));
	set_context((uint64_t)level4 | PRESENT, LEVELS_4 | 0x80);
	CHECK_READ("a context entry with another", IOVA, RECORDED_READ(0xb));
	set_context((uint64_t)level4 | PRESENT, LEVELS_5);
	CHECK_READ("5 levels", IOVA, RECORDED_READ(3));
	set_context((uint64_t)level4 | PRESENT | 1 << 2, LEVELS_4);
	CHECK_READ("a type that is not there", IOVA, RECORDED_READ(3));
	set_context(PRESENT | PASS_THROUGH, LEVELS_4);
	CHECK_READ("pass-through", page, 0);
	CHECK_WRITE("pass-through, write", page, 0);
	set_context((uint64_t)level4 | PRESENT | FAULT_DISABLE, LEVELS_4);
	reads(IOVA + VTD_PAGE);
	CHECK("a fault that is not recorded", vtd_read(VTD_FSTS), 0);
	CHECK("is one", got, 0);
}

static void test_parts(void)
{
	uint64_t address;

	topic("a copy over two pages");
	set_context((uint64_t)level4 | PRESENT, LEVELS_4);
	map(IOVA, (uint64_t)pages[0] | READ | WRITE);
	queue_invalidate_all();
	pages[0][511] = WORD;
	pages[0][510] = OLD;
	edu_copy_in(IOVA + VTD_PAGE - 8, 0, 16);
	CHECK("the second is recorded", take_fault(&address), RECORDED_READ(6));
	CHECK("where it begins", address, IOVA + VTD_PAGE);
	edu_copy_out(0, IOVA + 16, 16);
	CHECK("the first is copied", pages[0][2], WORD);
	CHECK("the second is zeros", pages[0][3], 0);
	edu_copy_out(0, IOVA + VTD_PAGE - 16, 16);
	CHECK("within a page", pages[0][510], WORD);
}

static void test_events(void)
{
	uint64_t address;

	topic("fault events");
	forget_arrivals();
	vtd_write(VTD_FEADDR, 0xfee00000);
	vtd_write(VTD_FEDATA, VECTOR);
	edu_copy_in(IOVA + VTD_PAGE, 0, 8);
	CHECK("pending", vtd_read(VTD_FSTS), FSTS_PPF);
	CHECK("masked, the event waits", vtd_read(VTD_FECTL), EVENT_MASKED | EVENT_PENDING);
	vtd_write(VTD_FECTL, 0);
	CHECK("the fault event comes unmasked", await_arrivals(0, VECTOR, 1), 1);
	CHECK("and the fault event waits no more", vtd_read(VTD_FECTL), 0);
	edu_copy_in(IOVA + 2 * VTD_PAGE, 0, 8);
	CHECK("another of the same function is one with it", vtd_read(VTD_FSTS), FSTS_PPF);
	CHECK("the first is recorded", take_fault(&address), RECORDED_READ(6));
	CHECK("the address that was first", address, IOVA + VTD_PAGE);
	CHECK("none is pending", vtd_read(VTD_FSTS), 0);
	CHECK("F is clear", vtd_read(VTD_FRCD + 12) >> 31, 0);
	edu_copy_out(0, IOVA + VTD_PAGE, 8);
	CHECK("the next has its event", await_arrivals(0, VECTOR, 2), 2);
	CHECK("it is a write", take_fault(&address), RECORDED(5));
	vtd_write(VTD_FECTL, EVENT_MASKED);
}

void test_translation(void)
{
	pages[0][0] = WORD;
	topic("no translation");
	edu_command(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	edu_copy_in((uint64_t)pages[0], 0, 8);
	edu_copy_out(0, (uint64_t)pages[1], 8);
	CHECK("addresses are what they are", pages[1][0], WORD);
	root[0] = (uint64_t)contexts | PRESENT;
	vtd_write_wide(VTD_RTADDR, (uint64_t)root);
	vtd_command(GCMD_SRTP, 0);
	CHECK("the root table is taken", vtd_read(VTD_GSTS) & GCMD_SRTP, GCMD_SRTP);
	queue_invalidate_all();
	vtd_command(GCMD_TE, 0);
	CHECK("translation is on", vtd_read(VTD_GSTS), GCMD_TE | GCMD_SRTP | GCMD_QIE);
	test_pages();
	test_large_pages();
	test_contexts();
	test_parts();
	test_events();
	vtd_command(0, GCMD_TE);
	CHECK("translation is off", vtd_read(VTD_GSTS) & GCMD_TE, 0);
}
