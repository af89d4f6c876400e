/* What SeaBIOS leaves in registers and in the BIOS data area before it starts a kernel, which some rely on.
 *
 * The GDTR is the loader's; start.S has loaded its own since. */
#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "smp.h"

#define MSR_MTRR_VARIABLE 0x200
#define MSR_MTRR_DEF_TYPE 0x2ff

#define PIT_COUNTER 0x40
#define PIT_CONTROL 0x43
#define PIT_READ_STATUS 0xe0
#define PIT_OUT 0x80
#define PIT_MODE_2_BOTH_BYTES 0x34
#define PIT_TICKS_AT_MOST 1000000

#define BDA_COM1 0x400
#define BDA_EBDA 0x40e
#define BDA_BASE_MEMORY 0x413

struct mtrr {
	const char *name;
	uint32_t msr;
	uint64_t value;
};

/* Fixed ranges: write-back, uncached video memory, write-protected ROMs. */
static const struct mtrr fixed[] = {
	{"00000", 0x250, 0x0606060606060606},
	{"80000", 0x258, 0x0606060606060606},
	{"A0000", 0x259, 0},
	{"C0000", 0x268, 0x0505050505050505},
	{"C8000", 0x269, 0x0505050505050505},
	{"D0000", 0x26a, 0x0505050505050505},
	{"D8000", 0x26b, 0x0505050505050505},
	{"E0000", 0x26c, 0x0505050505050505},
	{"E8000", 0x26d, 0x0505050505050505},
	{"F0000", 0x26e, 0x0505050505050505},
	{"F8000", 0x26f, 0x0505050505050505},
};
enum { FIXED = sizeof(fixed) / sizeof(fixed[0]) };

static unsigned wrong_mtrrs;

static uint64_t uncached_mask(void)
{
	return ((1ull << (cpuid(0x80000008, 0).eax & 0xff)) - 0x80000000) | 0x800;
}

static void count_wrong_mtrrs(struct cpu *cpu)
{
	unsigned wrong = 0;

	(void)cpu;
	for (int i = 0; i < FIXED; i++)
		wrong += read_msr(fixed[i].msr) != fixed[i].value;
	wrong += read_msr(MSR_MTRR_DEF_TYPE) != 0xc06;
	wrong += read_msr(MSR_MTRR_VARIABLE) != 0x80000000;
	wrong += read_msr(MSR_MTRR_VARIABLE + 1) != uncached_mask();
	__atomic_fetch_add(&wrong_mtrrs, wrong, __ATOMIC_RELAXED);
}

static void mtrrs(void)
{
	topic("MTRRs");
	for (int i = 0; i < FIXED; i++)
		CHECK(fixed[i].name, read_msr(fixed[i].msr), fixed[i].value);
	CHECK("default type", read_msr(MSR_MTRR_DEF_TYPE), 0xc06);
	CHECK("uncached from 2 GiB on", read_msr(MSR_MTRR_VARIABLE), 0x80000000);
	CHECK("up to 4 GiB", read_msr(MSR_MTRR_VARIABLE + 1), uncached_mask());
	CHECK("the second range", read_msr(MSR_MTRR_VARIABLE + 3), 0);
}

static void local_apic(void)
{
	topic("the boot processor's local APIC");
	CHECK("enabled", apic_read(APIC_SVR), SVR_ENABLE | 0xff);
	CHECK("LINT0 takes the 8259", apic_read(APIC_LVT_LINT0), 0x8700);
	CHECK("LINT1 is NMI", apic_read(APIC_LVT_LINT1), 0x8400);
	CHECK("the timer is masked", apic_read(APIC_LVT_TIMER), LVT_MASKED);
}

static unsigned pit_count(void)
{
	uint8_t low;

	outb(PIT_CONTROL, 0);
	low = inb(PIT_COUNTER);
	return low | (unsigned)inb(PIT_COUNTER) << 8;
}

static void timer(void)
{
	unsigned before, wrapped = 0;

	topic("counter 0 of the 8254");
	outb(PIT_CONTROL, PIT_READ_STATUS | 2);
	CHECK("mode 2, both bytes", inb(PIT_COUNTER) & ~PIT_OUT, PIT_MODE_2_BOTH_BYTES);
	before = pit_count();
	for (int i = 0; i < PIT_TICKS_AT_MOST && !wrapped; i++) {
		unsigned now = pit_count();

		wrapped = now > before;
		before = now;
	}
	CHECK("it counts, and begins again", wrapped, 1);
}

static uint16_t data_area_word(unsigned address)
{
	uint16_t word;

	__asm__ volatile("movw (%1), %0" : "=r"(word) : "r"((uintptr_t)address) : "memory");
	return word;
}

static void data_area(void)
{
	topic("BIOS data area");
	CHECK("COM1", data_area_word(BDA_COM1), 0x3f8);
	CHECK("the EBDA's segment", data_area_word(BDA_EBDA), 0x9fc0);
	CHECK("KiB of base memory", data_area_word(BDA_BASE_MEMORY), 639);
}

void guest_main(void)
{
	mtrrs();
	local_apic();
	timer();
	data_area();
	smp_start();
	smp_run(count_wrong_mtrrs);
	topic("all processors");
	CHECK_NOT_QEMU("wrong MTRRs", wrong_mtrrs, 0, "INIT clears them; it leaves them alone (SDM vol. 3, table 9-1)");
	finish();
}
