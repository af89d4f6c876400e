/* Exceptions, system calls and single steps in ring 3. */
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "paging.h"
#include "provoke.h"
#include "ring3.h"
#include "smp.h"
#include "tests.h"

#define EFER_SCE 0x001
#define CPUID_7_EBX_SMAP (1u << 20)
#define CR4_SMAP (1u << 21)

extern const uint8_t user_int80[], user_int80_after[], user_ud2[], user_divide_twice[], user_cli[],
	user_hlt[], user_in[], user_int20[], user_int3[], user_lidt[], user_mov_cr[], user_rdmsr[],
	user_swapgs[], user_read[], user_write[], user_fetch[], user_far_return[], user_far_call[],
	user_iret[], user_far_return_only[], user_syscall[], user_syscall_after[], user_step[],
	user_compatibility[], user_compatibility_after[];
extern const uint8_t syscall_entry[];

uint64_t syscall_rcx, syscall_r11, syscall_rsp;
uint32_t syscall_cs, syscall_ss;

static uint64_t divides;

static void leave(struct interrupt_frame *frame)
{
	(void)frame;
	ring3_leave(0);
}

static void record_and_leave(struct interrupt_frame *frame)
{
	record(frame);
	ring3_leave(1);
}

static void count_divide(struct interrupt_frame *frame)
{
	record(frame);
	divides++;
	frame->rip += 2; /* DIV ECX */
}

static uint64_t in_user_page(const uint8_t *code)
{
	return USER_CODE_PAGE + (uint64_t)(code - user_code);
}

/* Returns 1 when an exception ended it, 0 when it ran to its INT 0x81. */
static uint64_t run_user(const uint8_t *code, uint64_t rsp)
{
	seen = (struct seen){ 0 };
	at_rip = in_user_page(code);
	return ring3_enter(at_rip, rsp, USER_RFLAGS, USER_CODE | 3);
}

static void expect_user_frame(uint64_t rip, uint64_t rsp)
{
	EXPECT("ring 3: rip", seen.rip, rip);
	EXPECT("ring 3: cs", seen.cs, USER_CODE | 3);
	EXPECT("ring 3: ss", seen.ss, USER_DATA | 3);
	EXPECT("ring 3: rsp", seen.rsp, rsp);
	EXPECT("ring 3: IF", seen.rflags & RFLAGS_IF, RFLAGS_IF);
}

static void expect_user_fault(const char *what, const uint8_t *code, int vector, uint64_t error_code)
{
	if (run_user(code, USER_STACK) != 1)
		check_fail(what, 0, 1, "no exception", 0);
	if (seen.vector != (uint64_t)vector)
		check_fail(what, seen.vector, (uint64_t)vector, "vector", 0);
	if (seen.error_code != error_code)
		check_fail(what, seen.error_code, error_code, "error code", 0);
	expect_user_frame(in_user_page(code), USER_STACK);
}

static void expect_user_gate_fault(const char *what, const uint8_t *code, int gate)
{
	EXPECT("ended by an exception", run_user(code, USER_STACK), 1);
	expect_gate_error(what, VECTOR_GP, gate);
	expect_user_frame(in_user_page(code), USER_STACK);
}

static void expect_user_page_fault(const char *what, const uint8_t *code, uint64_t address, uint64_t error_code)
{
	run_user(code, address);
	if (seen.vector != VECTOR_PF || seen.error_code != error_code)
		check_fail(what, seen.vector << 8 | seen.error_code, VECTOR_PF << 8 | error_code, "vector, error code", 0);
	if (seen.cr2 != address)
		check_fail(what, seen.cr2, address, "CR2", 0);
	EXPECT("ring 3: rsp", seen.rsp, address);
}

void test_ring3(void)
{
	static const int faults[] = { VECTOR_UD, VECTOR_NP, VECTOR_GP, VECTOR_SS, VECTOR_PF };

	topic("ring 3");
	for (unsigned int i = 0; i < sizeof faults / sizeof *faults; i++)
		set_handler(faults[i], record_and_leave);
	set_handler(VECTOR_USER, record_and_leave);
	set_handler(VECTOR_LEAVE, leave);
	allow_from_ring3(VECTOR_USER);
	allow_from_ring3(VECTOR_LEAVE);

	EXPECT("INT 80 returned", run_user(user_int80, USER_STACK), 1);
	EXPECT("INT 80: vector", seen.vector, VECTOR_USER);
	expect_user_frame(in_user_page(user_int80_after), USER_STACK);

	expect_user_fault("UD2", user_ud2, VECTOR_UD, 0);
	expect_user_fault("CLI", user_cli, VECTOR_GP, 0);
	expect_user_fault("HLT", user_hlt, VECTOR_GP, 0);
	expect_user_fault("IN", user_in, VECTOR_GP, 0);
	expect_user_gate_fault("INT 20 of a ring 0 gate", user_int20, VECTOR_PIC);
	expect_user_gate_fault("INT3 of a ring 0 gate", user_int3, VECTOR_BP);
	expect_user_fault("LIDT", user_lidt, VECTOR_GP, 0);
	expect_user_fault("MOV from CR3", user_mov_cr, VECTOR_GP, 0);
	expect_user_fault("RDMSR", user_rdmsr, VECTOR_GP, 0);
	expect_user_fault("SWAPGS", user_swapgs, VECTOR_GP, 0);

	expect_user_page_fault("read of nothing", user_read, UNMAPPED + 0x10, PF_USER);
	expect_user_page_fault("write to nothing", user_write, UNMAPPED + 0x14, PF_USER | PF_WRITE);
	expect_user_page_fault("read of ring 0's page", user_read, KERNEL_ONLY, PF_USER | PF_PRESENT);
	expect_user_page_fault("write to a read-only page", user_write, USER_READ_ONLY, PF_USER | PF_PRESENT | PF_WRITE);
	EXPECT("read of a read-only page", run_user(user_read, USER_READ_ONLY), 0);
	if (has_nx)
		expect_user_page_fault("fetch from a no-execute page", user_fetch, USER_NO_EXECUTE,
				       PF_USER | PF_PRESENT | PF_FETCH);

	set_handler(VECTOR_DE, count_divide);
	EXPECT("two divide errors ran on", run_user(user_divide_twice, USER_STACK), 0);
	EXPECT("two divide errors in a row", divides, 2);
	EXPECT("the second divide error: rip", seen.rip, in_user_page(user_divide_twice) + 4);
}

void test_ring3_step(void)
{
	uint64_t start = in_user_page(user_step);

	topic("single step in ring 3");
	set_handler(VECTOR_DB, step);
	stepping.count = 0;
	stepping.wanted = 2;
	EXPECT("ran to its end", ring3_enter(start, USER_STACK, USER_RFLAGS | RFLAGS_TF, USER_CODE | 3), 0);
	EXPECT("steps", stepping.count, 2);
	EXPECT("RIP after the first", stepping.rip[0], start + 1);
	EXPECT("RIP after the second", stepping.rip[1], start + 2);
}

static void set_smap(bool on)
{
	uint64_t cr4;

	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	cr4 = on ? cr4 | CR4_SMAP : cr4 & ~(uint64_t)CR4_SMAP;
	__asm__ volatile("movq %0, %%cr4" : : "r"(cr4) : "memory");
}

/* Their frames are ring 3's own accesses: SMAP does not refuse them, and ring 0's pages are closed to them. QEMU 7.2
 * makes them with ring 0's rights. */
void test_far_transfers(void)
{
	bool has_smap = cpuid(7, 0).ebx & CPUID_7_EBX_SMAP;

	topic("far transfers in ring 3");
	for (int smap = 0; smap <= has_smap; smap++) {
		set_smap(smap);
		EXPECT("far return", run_user(user_far_return, USER_STACK), 0);
		EXPECT("far call and return", run_user(user_far_call, USER_STACK), 0);
		EXPECT("IRET", run_user(user_iret, USER_STACK), 0);
		run_user(user_far_return_only, KERNEL_ONLY);
		if (!has_smap && seen.vector == VECTOR_GP)
			print("deviates: a far return pops from ring 0's page\n");
		else
			expect_user_page_fault("far return from ring 0's page", user_far_return_only, KERNEL_ONLY,
					       PF_USER | PF_PRESENT);
		set_smap(false);
	}
	if (!has_smap)
		not_present("SMAP");
}

void test_syscall(void)
{
	topic("SYSCALL from ring 3");
	write_msr(MSR_STAR, (uint64_t)USER_CODE32 << 48 | (uint64_t)KERNEL_CODE << 32);
	write_msr(MSR_LSTAR, (uintptr_t)syscall_entry);
	write_msr(MSR_FMASK, RFLAGS_IF | RFLAGS_TF);
	expect_user_fault("SYSCALL without EFER.SCE", user_syscall, VECTOR_UD, 0);
	write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE);
	EXPECT("SYSCALL came back", run_user(user_syscall, USER_STACK), 1);
	EXPECT("no exception", seen.count, 0);
	EXPECT("RCX", syscall_rcx, in_user_page(user_syscall_after));
	EXPECT("R11", syscall_r11 & RFLAGS_IF, RFLAGS_IF);
	EXPECT("RSP is ring 3's", syscall_rsp, USER_STACK);
	EXPECT("CS", syscall_cs, KERNEL_CODE);
	EXPECT("SS", syscall_ss, KERNEL_DATA);
}

void test_compatibility_mode(void)
{
	uint64_t start = in_user_page(user_compatibility);

	topic("compatibility mode");
	seen = (struct seen){ 0 };
	EXPECT("INT 80 returned", ring3_enter(start, USER_STACK, USER_RFLAGS, USER_CODE32 | 3), 1);
	EXPECT("vector", seen.vector, VECTOR_USER);
	EXPECT("cs", seen.cs, USER_CODE32 | 3);
	EXPECT("rip", seen.rip, in_user_page(user_compatibility_after));
	EXPECT("rsp", seen.rsp, USER_STACK);
}
