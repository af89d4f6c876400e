/* MOV to and from control registers, and its like. */
#include "guest.h"
#include "tests.h"

#define WRITE(number, value) PROVOKE("mov %[to], %%cr" #number, [to] "r"((uint64_t)(value)))

/* The write is #GP(0), and the register stays. */
#define CHECK_REFUSED(name, number, value)                          \
	do {                                                        \
		uint64_t before = read_cr##number();                \
                                                                    \
		WRITE(number, value);                               \
		CHECK_FAULT(name, VECTOR_GP, 0);                    \
		CHECK(name " stays", read_cr##number(), before);    \
	} while (0)

/* The same where QEMU lets the write through, or is brought down by it, and then is not asked. */
#define CHECK_REFUSED_NOT_QEMU(name, number, value, deadly, why)                           \
	do {                                                                               \
		uint64_t before = read_cr##number();                                       \
                                                                                           \
		if ((deadly) && option("qemu", 0))                                         \
			break;                                                             \
		WRITE(number, value);                                                      \
		CHECK_NOT_QEMU(name " vector", seen.vector, VECTOR_GP, why);               \
		CHECK_NOT_QEMU(name " stays", read_cr##number(), before, why);             \
		if (seen.count == 0)                                                       \
			WRITE(number, before);                                             \
	} while (0)

#define DOWN "leaves for a hypervisor that is not there, SDM vol. 2, MOV to control registers"

static void test_cr0(void)
{
	uint64_t cr0 = read_cr0();

	CHECK_REFUSED_NOT_QEMU("cr0 pg without pe", 0, cr0 & ~CR0_PE, true, "lets it through, SDM vol. 3, 2.5");
	CHECK_REFUSED_NOT_QEMU("cr0 no pg in 64-bit code", 0, cr0 & ~CR0_PG, true, "lets it through, SDM vol. 3, 2.5");
	CHECK_REFUSED_NOT_QEMU("cr0 nw without cd", 0, (cr0 | CR0_NW) & ~CR0_CD, false, "lets it through, SDM vol. 3, 2.5");
	CHECK_REFUSED_NOT_QEMU("cr0 bit 32", 0, cr0 | 1ull << 32, false, "leaves the upper half out, SDM vol. 3, 2.5");
	CHECK_REFUSED_NOT_QEMU("cr0 bit 63", 0, cr0 | 1ull << 63, false, "leaves the upper half out, SDM vol. 3, 2.5");
	WRITE(0, cr0 | 1ull << 28 | 1ull << 19 | 1ull << 17 | 1ull << 6);
	CHECK_NO_FAULT("cr0 reserved bits of the lower half");
	CHECK_NOT_QEMU("cr0 reserved bits stay clear", read_cr0(), cr0, "keeps them, SDM vol. 3, 2.5");
	WRITE(0, cr0 & ~(1ull << 4));
	CHECK("cr0 et is set", read_cr0(), cr0);
	WRITE(0, cr0);
}

static void test_cr3(void)
{
	uint64_t cr3 = read_cr3();

	CHECK_REFUSED_NOT_QEMU("cr3 bit 51", 3, cr3 | 1ull << 51, true, DOWN);
	CHECK_REFUSED_NOT_QEMU("cr3 bit 52", 3, cr3 | 1ull << 52, true, DOWN);
	CHECK_REFUSED_NOT_QEMU("cr3 bit 63 without pcide", 3, cr3 | 1ull << 63, true, DOWN);
	WRITE(3, cr3 | 0x18);
	CHECK_NO_FAULT("cr3 pwt and pcd");
	CHECK("cr3 pwt and pcd stay", read_cr3(), cr3 | 0x18);
	WRITE(3, cr3);
}

static const struct {
	const char *name;
	uint32_t leaf;
	unsigned reg, bit;
	uint64_t cr4;
} features[] = {
	{ "cr4 umip is there with its feature", 7, 2, 2, 1ull << 11 },
	{ "cr4 fsgsbase is there with its feature", 7, 1, 0, 1ull << 16 },
	{ "cr4 pcide is there with its feature", 1, 2, 17, 1ull << 17 },
	{ "cr4 osxsave is there with its feature", 1, 2, 26, CR4_OSXSAVE },
	{ "cr4 smep is there with its feature", 7, 1, 7, CR4_SMEP },
	{ "cr4 smap is there with its feature", 7, 1, 20, CR4_SMAP },
	{ "cr4 pke is there with its feature", 7, 2, 3, CR4_PKE },
	{ "cr4 pks is there with its feature", 7, 2, 31, CR4_PKS },
};

static void test_cr4(void)
{
	uint64_t cr4 = read_cr4();

	for (unsigned i = 0; i < sizeof features / sizeof features[0]; i++) {
		struct cpuid leaf = cpuid(features[i].leaf, 0);
		bool there = (features[i].reg == 1 ? leaf.ebx : leaf.ecx) >> features[i].bit & 1;
		uint64_t set;

		if (!there && option("qemu", 0))
			continue;
		WRITE(4, cr4 | features[i].cr4);
		set = read_cr4();
		WRITE(4, cr4);
		if (there)
			CHECK(features[i].name, (set & features[i].cr4) != 0, true);
		else
			CHECK_NOT_QEMU(features[i].name, (set & features[i].cr4) != 0, false, DOWN);
	}
	CHECK_REFUSED_NOT_QEMU("cr4 no pae in long mode", 4, cr4 & ~CR4_PAE, true, "lets it through, SDM vol. 3, 2.5");
	CHECK_REFUSED_NOT_QEMU("cr4 bit 32", 4, cr4 | 1ull << 32, true, DOWN);
	CHECK_REFUSED_NOT_QEMU("cr4 bit 63", 4, cr4 | 1ull << 63, true, DOWN);
	CHECK_REFUSED("cr4 la57 in long mode", 4, cr4 ^ CR4_LA57);
}

static void test_others(void)
{
	PROVOKE(".byte 0x0f, 0x20, 0xc8", "b"(0)); /* mov %cr1, %rax */
	CHECK_FAULT("mov from cr1", VECTOR_UD, 0);
	PROVOKE(".byte 0x0f, 0x22, 0xe8", "b"(0)); /* mov %rax, %cr5 */
	CHECK_FAULT("mov to cr5", VECTOR_UD, 0);
	PROVOKE(".byte 0x0f, 0x20, 0xf0", "b"(0)); /* mov %cr6, %rax */
	CHECK_FAULT("mov from cr6", VECTOR_UD, 0);
	PROVOKE(".byte 0x44, 0x0f, 0x20, 0xc8", "b"(0)); /* mov %cr9, %rax */
	CHECK_FAULT("mov from cr9", VECTOR_UD, 0);

	CHECK_RING3("mov from cr0 in ring 3", VECTOR_GP, 0x0f, 0x20, 0xc0);
	CHECK_RING3("mov to cr3 in ring 3", VECTOR_GP, 0x0f, 0x22, 0xd8);
	CHECK_RING3("mov to cr4 in ring 3", VECTOR_GP, 0x0f, 0x22, 0xe0);
	CHECK_RING3("mov from cr8 in ring 3", VECTOR_GP, 0x44, 0x0f, 0x20, 0xc0);
	CHECK_RING3("invlpg in ring 3", VECTOR_GP, 0x0f, 0x01, 0x38);
	CHECK_RING3("clts in ring 3", VECTOR_GP, 0x0f, 0x06);
	CHECK_RING3("lmsw in ring 3", VECTOR_GP, 0x0f, 0x01, 0xf0);
	CHECK_RING3("invd in ring 3", VECTOR_GP, 0x0f, 0x08);
	CHECK_RING3("wbinvd in ring 3", VECTOR_GP, 0x0f, 0x09);
}

void test_control_registers(void)
{
	topic("control registers");
	test_cr0();
	test_cr3();
	test_cr4();
	test_others();
}
