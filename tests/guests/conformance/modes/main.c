/* Between the modes: what MOV to CR0, EFER, LMSW, far transfers and IRET refuse on the way, and what follows from them
 * (SDM vol. 3, 9.8.5; vol. 2, MOV to control registers, LMSW, IRET, RSM). The guest `protection` has the rest of
 * the control registers. */
#include "guest.h"
#include "layout.h"
#include "legacy.h"
#include "provoke_msr.h"

extern uint32_t mode_words[8];
extern char no_pae[], no_pae_at[], long_segment[], long_segment_at[], active[], no_pe[], no_pe_at[];
extern char machine_status[], resume_smm[], resume_smm_at[];

enum { CR0_PE = 1, LMSW_BITS = 0xe };
#define CR0_PG 0x80000000ull
#define EFER_LME 0x100ull
#define EFER_LMA 0x400ull
#define RFLAGS_NT 0x4000ull

static void in_protected_mode(void)
{
	topic("in protected mode");
	legacy_reset();
	legacy_run(active);
	CHECK("LME without paging is not active", mode_words[0] & (EFER_LME | EFER_LMA), EFER_LME);
	CHECK("paging activates long mode", mode_words[1] & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
	CHECK("paging off deactivates it", mode_words[2] & (EFER_LME | EFER_LMA), EFER_LME);
	if (!option("qemu", 0)) {
		legacy_reset();
		legacy_run(no_pae);
		CHECK_EVENT_NOT_QEMU("PG for long mode without PAE", VECTOR_GP, 0,
				     "does nothing, or goes wrong (SDM vol. 3, 9.8.5)");
		legacy_reset();
		legacy_describe(LEGACY_SPARE, 0, 0xfffff, CODE_RX, BIG_PAGES | 2);
		legacy_run(long_segment);
		CHECK_EVENT_NOT_QEMU("PG for long mode from a segment with L", VECTOR_GP, 0,
				     "goes on (SDM vol. 2, MOV to control registers)");
		legacy_reset();
		legacy_run(no_pe);
		CHECK_EVENT_NOT_QEMU("PG without PE", VECTOR_GP, 0,
				     "goes on (SDM vol. 2, MOV to control registers)");
	}
	legacy_reset();
	legacy_run(machine_status);
	CHECK("LMSW does not clear PE", mode_words[0] & CR0_PE, CR0_PE);
	CHECK("SMSW to memory", mode_words[1] & 0xffff, mode_words[0] & 0xffff);
	CHECK("LMSW sets MP, EM and TS", mode_words[2] & LMSW_BITS, LMSW_BITS);
	legacy_reset();
	legacy_run(resume_smm);
	CHECK_EVENT("RSM in protected mode", VECTOR_UD, 0, resume_smm_at);
}

static struct {
	uint64_t offset;
	uint16_t selector;
} __attribute__((packed)) far;

/* A descriptor of the running GDT for a moment: that of compatibility-mode code. */
static uint64_t gdt_exchange(uint64_t descriptor)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr;
	uint64_t before, *entry;

	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	entry = (uint64_t *)gdtr.base + KERNEL_CODE32 / 8;
	before = *entry;
	*entry = descriptor;
	return before;
}

static void in_64_bit_mode(void)
{
	uint64_t descriptor;

	topic("in 64-bit mode");
	if (!option("qemu", 0)) {
		PROVOKE("movq %2, %%cr0", "r"(read_cr0() & ~CR0_PG));
		CHECK_NOT_QEMU("MOV to CR0 without PG", seen.vector << 16 | seen.error_code, VECTOR_GP << 16,
			       "leaves long mode in 64-bit code (SDM vol. 2, MOV to control registers)");
	}
	PROVOKE("rsm", "m"(seen));
	CHECK_FAULT("RSM", VECTOR_UD, 0);
	seen = (struct seen){ 0 };
	__asm__ volatile("leaq 771f(%%rip), %%r11; movq %%r11, %0; leaq 772f(%%rip), %%r11; movq %%r11, %1;"
			 "pushfq; orl %2, (%%rsp); popfq; 771: iretq; 772: pushfq; andl %3, (%%rsp); popfq"
			 : "=m"(at_rip), "=m"(resume_rip)
			 : "i"((int)RFLAGS_NT), "i"(~(int)RFLAGS_NT)
			 : "r11", "cc", "memory");
	CHECK_FAULT("IRET with NT", VECTOR_GP, 0);
	descriptor = gdt_exchange(0x00ef9b000000ffff);
	far.offset = 0;
	far.selector = KERNEL_CODE32;
	PROVOKE("rex.w ljmp *%2", "m"(far));
	CHECK_NOT_QEMU("jump to code with L and D", seen.vector << 16 | seen.error_code,
		       VECTOR_GP << 16 | KERNEL_CODE32, "takes it for 64-bit code (SDM vol. 2, JMP)");
	gdt_exchange(0x00af9b000000ffff);
	far.offset = 0xaaaaaaaaaaaaaaaa;
	PROVOKE("rex.w ljmp *%2", "m"(far));
	CHECK_NOT_QEMU("jump to a non-canonical address", seen.vector << 16 | seen.error_code, VECTOR_GP << 16,
		       "faults at the target (SDM vol. 2, JMP)");
	CHECK_NOT_QEMU("jump to a non-canonical address is at the jump", seen.rip == at_rip, 1,
		       "faults at the target (SDM vol. 2, JMP)");
	gdt_exchange(descriptor);
}

_Noreturn void guest_main(void)
{
	set_handler(VECTOR_UD, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	in_protected_mode();
	in_64_bit_mode();
	finish();
}
