/* SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS (SDM vol. 2; vol. 3, sections 5.8.7 and 5.8.8).
 * One CPU; SYSENTER needs a GenuineIntel model, for it is #UD in AMD's long mode. Status 33 when all passed. */
#include "calls.h"
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "paging.h"
#include "provoke.h"
#include "ring3.h"
#include "smp.h"
#include "string.h"

#define VECTOR_USER 0x80

#define EFER_SCE 0x001
#define RFLAGS_DF 0x400
#define RFLAGS_AC 0x40000
#define USER_RFLAGS (RFLAGS_IF | 2)
#define CPUID_1_EDX_SEP (1u << 11)

#define USER_CODE_PAGE (WINDOW + 0x0000)
#define USER_STACK_PAGE (WINDOW + 0x2000)
#define USER_GS_PAGE (WINDOW + 0x3000)
#define USER_STACK (USER_STACK_PAGE + PAGE_BYTES - 16)

enum { ROUNDS = 1000 };

extern const uint8_t user_code[], user_code_end[];
extern const uint8_t user_syscall_loop[], user_syscall_after[], user_sysenter_loop[], user_sysenter[], user_sysexit[],
	user_sysret[], user_compatibility[], user_compatibility_sysenter[];
extern const uint8_t syscall_entry[], sysenter_entry[], sysenter_entry_compatible[];

uint64_t ring3_enter_by_sysretl(uint64_t rip, uint64_t rsp);

uint32_t entry_cs, entry_ss;
uint64_t user_rsp, entry_stack_top;

static uint8_t entry_stack[STACK_BYTES] __attribute__((aligned(16)));
static uint64_t calls;
static bool by_sysenter;
static uint64_t *user_stack;

static void swap_gs(void)
{
	__asm__ volatile("swapgs" : : : "memory");
}

static uint64_t in_user_page(const uint8_t *code)
{
	return USER_CODE_PAGE + (uint64_t)(code - user_code);
}

/* `rcx` and `r11` are the caller's RIP and RFLAGS after SYSCALL; `rflags` are the entry's. */
uint64_t handle_call(uint32_t number, uint64_t argument, uint64_t rcx, uint64_t r11, uint64_t rflags);
uint64_t handle_call(uint32_t number, uint64_t argument, uint64_t rcx, uint64_t r11, uint64_t rflags)
{
	EXPECT("GS is the kernel's", this_cpu() == cpu_at(0), true);
	EXPECT("entry CS", entry_cs, KERNEL_CODE);
	EXPECT("entry SS", entry_ss, KERNEL_DATA);
	EXPECT("entry IF", rflags & RFLAGS_IF, 0);
	if (number == CALL_LEAVE)
		ring3_leave(argument);
	calls++;
	if (!by_sysenter) {
		EXPECT("RCX after SYSCALL", rcx, in_user_page(user_syscall_after));
		EXPECT("R11 after SYSCALL", r11 & (RFLAGS_IF | RFLAGS_DF), RFLAGS_IF | RFLAGS_DF);
		EXPECT("DF by IA32_FMASK", rflags & RFLAGS_DF, 0);
	}
	return argument * 3 + 1;
}

/* Exceptions and INT come with ring 3's GS; whoever entered ring 3 swaps it back. */
static void record_and_leave(struct interrupt_frame *frame)
{
	record(frame);
	ring3_leave(frame->rax);
}

static uint64_t run_user(const uint8_t *code)
{
	uint64_t result;

	seen = (struct seen){ 0 };
	at_rip = in_user_page(code);
	swap_gs();
	result = ring3_enter(at_rip, USER_STACK, USER_RFLAGS, USER_CODE | 3);
	/* SYSCALL's entry has swapped already. */
	if (seen.count)
		swap_gs();
	return result;
}

static void test_swapgs(void)
{
	topic("SWAPGS");
	uint64_t kernel = read_msr(MSR_GS_BASE), other = 0xffff800012345678;

	write_msr(MSR_KERNEL_GS_BASE, other);
	swap_gs();
	EXPECT("GS base", read_msr(MSR_GS_BASE), other);
	EXPECT("KERNEL_GS_BASE", read_msr(MSR_KERNEL_GS_BASE), kernel);
	swap_gs();
	EXPECT("GS base", read_msr(MSR_GS_BASE), kernel);
	EXPECT("KERNEL_GS_BASE", read_msr(MSR_KERNEL_GS_BASE), other);
	EXPECT("this CPU", this_cpu() == cpu_at(0), true);
	write_msr(MSR_KERNEL_GS_BASE, USER_GS_PAGE);
}

static void test_syscall(void)
{
	topic("SYSCALL and SYSRET");
	*user_stack = ROUNDS;
	calls = 0;
	EXPECT("rounds", run_user(user_syscall_loop), ROUNDS);
	EXPECT("calls", calls, ROUNDS);
	EXPECT("exceptions", seen.count, 0);
	EXPECT("ring 3's RSP", user_rsp, USER_STACK + 8);
}

static void expect_compatibility(const char *what, uint64_t rax)
{
	if (seen.vector != VECTOR_USER)
		check_fail(what, seen.vector, VECTOR_USER, "vector", 0);
	EXPECT("cs", seen.cs, USER_CODE32 | 3);
	EXPECT("ss", seen.ss, USER_DATA | 3);
	EXPECT("IF", seen.rflags & RFLAGS_IF, RFLAGS_IF);
	EXPECT("rax", rax, 2);
}

static void test_sysret_to_compatibility_mode(void)
{
	uint64_t rax;

	topic("SYSRET to compatibility mode");
	seen = (struct seen){ 0 };
	interrupts_off();
	swap_gs();
	rax = ring3_enter_by_sysretl(in_user_page(user_compatibility), USER_STACK);
	swap_gs();
	expect_compatibility("SYSRETL", rax);
	EXPECT("rsp", seen.rsp, USER_STACK);
}

static void test_privilege(void)
{
	topic("privilege");
	run_user(user_sysret);
	EXPECT_FAULT("SYSRET in ring 3", VECTOR_GP, 0);
}

static bool has_sysenter(void)
{
	struct cpuid vendor = cpuid(0, 0);

	return vendor.ebx == 0x756e6547 && (cpuid(1, 0).edx & CPUID_1_EDX_SEP);
}

static void test_sysenter(void)
{
	if (!has_sysenter()) {
		not_present("SYSENTER in long mode (no GenuineIntel model)");
		return;
	}
	topic("SYSENTER and SYSEXIT");
	by_sysenter = true;
	write_msr(MSR_SYSENTER_CS, 0);
	run_user(user_sysenter);
	EXPECT_FAULT("SYSENTER with IA32_SYSENTER_CS 0", VECTOR_GP, 0);
	run_user(user_sysexit);
	EXPECT_FAULT("SYSEXIT in ring 3", VECTOR_GP, 0);

	write_msr(MSR_SYSENTER_CS, KERNEL_CODE);
	write_msr(MSR_SYSENTER_ESP, entry_stack_top);
	write_msr(MSR_SYSENTER_EIP, (uintptr_t)sysenter_entry);
	EXPECT("IA32_SYSENTER_CS", read_msr(MSR_SYSENTER_CS), KERNEL_CODE);
	EXPECT("IA32_SYSENTER_ESP", read_msr(MSR_SYSENTER_ESP), entry_stack_top);
	EXPECT("IA32_SYSENTER_EIP", read_msr(MSR_SYSENTER_EIP), (uintptr_t)sysenter_entry);
	*user_stack = ROUNDS;
	calls = 0;
	EXPECT("rounds", run_user(user_sysenter_loop), ROUNDS);
	EXPECT("calls", calls, ROUNDS);
	EXPECT("exceptions", seen.count, 0);

	topic("SYSENTER from compatibility mode");
	write_msr(MSR_SYSENTER_EIP, (uintptr_t)sysenter_entry_compatible);
	seen = (struct seen){ 0 };
	swap_gs();
	EXPECT("result", ring3_enter(in_user_page(user_compatibility_sysenter), USER_STACK, USER_RFLAGS, USER_CODE32 | 3), 16);
	swap_gs();
	EXPECT("vector", seen.vector, VECTOR_USER);
	EXPECT("cs", seen.cs, USER_CODE32 | 3);
	EXPECT("ss", seen.ss, USER_DATA | 3);
	EXPECT("rsp", seen.rsp, USER_STACK);
}

static void set_up(void)
{
	uint8_t *code = page_alloc(), *stack = page_alloc();
	uint32_t *gs = page_alloc();

	memcpy(code, user_code, (size_t)(user_code_end - user_code));
	*gs = USER_GS_MAGIC;
	user_stack = (uint64_t *)(stack + PAGE_BYTES - 16);
	map_page(USER_CODE_PAGE, code, PTE_P | PTE_U);
	map_page(USER_STACK_PAGE, stack, PTE_P | PTE_W | PTE_U);
	map_page(USER_GS_PAGE, gs, PTE_P | PTE_U);

	entry_stack_top = (uintptr_t)(entry_stack + sizeof entry_stack);
	write_msr(MSR_STAR, (uint64_t)USER_CODE32 << 48 | (uint64_t)KERNEL_CODE << 32);
	write_msr(MSR_LSTAR, (uintptr_t)syscall_entry);
	write_msr(MSR_FMASK, RFLAGS_IF | RFLAGS_TF | RFLAGS_DF | RFLAGS_AC);
	write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE);
	set_handler(VECTOR_USER, record_and_leave);
	set_handler(VECTOR_UD, record_and_leave);
	set_handler(VECTOR_GP, record_and_leave);
	allow_from_ring3(VECTOR_USER);
}

_Noreturn void guest_main(void)
{
	set_up();
	test_swapgs();
	test_syscall();
	test_sysret_to_compatibility_mode();
	test_privilege();
	test_sysenter();
	finish();
}
