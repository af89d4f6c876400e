/* Faults, software interrupts and double faults in ring 0. */
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "paging.h"
#include "provoke.h"
#include "tests.h"

/* Selector one past the GDT. */
#define SELECTOR_OUT_OF_TABLE GDT_BYTES

static uint64_t saved_rsp;

void test_faults(void)
{
	topic("faults in ring 0");
	set_handler(VECTOR_DE, skip_fault);
	set_handler(VECTOR_UD, skip_fault);
	set_handler(VECTOR_NP, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	set_handler(VECTOR_SS, skip_fault);

	/* A divide error is contributory: taken twice, the second must not turn into a double fault. */
	for (int i = 0; i < 3; i++) {
		PROVOKE("divl %2", "m"((uint32_t){ 0 }));
		EXPECT_FAULT("#DE", VECTOR_DE, 0);
	}
	PROVOKE("ud2", );
	EXPECT_FAULT("#UD", VECTOR_UD, 0);
	PROVOKE("movl %2, %%ds", "r"(SELECTOR_OUT_OF_TABLE));
	EXPECT_FAULT("#GP of a selector past the GDT", VECTOR_GP, SELECTOR_OUT_OF_TABLE);
	PROVOKE("movq (%2), %%rax", "r"(0x0000800000000000));
	EXPECT_FAULT("#GP of a non-canonical address", VECTOR_GP, 0);
	PROVOKE("movq (%%rsp, %2), %%rax", "r"(0x0000800000000000));
	/* #SS(0) by the SDM (vol. 3, section 6.15); QEMU 7.2 makes it #GP(0), which is as good here. */
	EXPECT_FAULT("non-canonical stack address", seen.vector == VECTOR_GP ? VECTOR_GP : VECTOR_SS, 0);
	PROVOKE("divl %2", "m"((uint32_t){ 0 }));
	EXPECT_FAULT("#DE after #GP", VECTOR_DE, 0);
	set_gate_present(VECTOR_ABSENT, false);
	PROVOKE("int $0x90", );
	expect_gate_error("absent gate", VECTOR_NP, VECTOR_ABSENT);
}

void test_quotient_overflow(void)
{
	topic("registers after a fault");
	uint64_t a = 1, d = 7;

	resume_rip = 0;
	seen = (struct seen){ 0 };
	__asm__ volatile("leaq 1f(%%rip), %%r11; movq %%r11, %2; divl %3; 1:"
			 : "+a"(a), "+d"(d), "=m"(resume_rip)
			 : "m"((uint32_t){ 2 })
			 : "r11", "cc", "memory");
	EXPECT("#DE of a quotient that does not fit: vector", seen.count << 8 | seen.vector, 1 << 8 | VECTOR_DE);
	EXPECT("RAX kept", a, 1);
	EXPECT("RDX kept", d, 7);
}

void test_page_faults(void)
{
	topic("page faults in ring 0");
	set_handler(VECTOR_PF, skip_fault);
	PROVOKE("movl (%2), %%eax", "r"(UNMAPPED + 0x123));
	EXPECT_FAULT("read of nothing", VECTOR_PF, 0);
	EXPECT("CR2", seen.cr2, UNMAPPED + 0x123);
	PROVOKE("movl %%eax, (%2)", "r"(UNMAPPED + 0x124));
	EXPECT_FAULT("write to nothing", VECTOR_PF, PF_WRITE);
	EXPECT("CR2", seen.cr2, UNMAPPED + 0x124);
	PROVOKE("lock incl (%2)", "r"(UNMAPPED + 0x128));
	EXPECT("locked access of nothing: vector", seen.vector, VECTOR_PF);
	EXPECT("CR2", seen.cr2, UNMAPPED + 0x128);
	/* The second page of an access that crosses into it. */
	PROVOKE("movq (%2), %%rax", "r"(UNMAPPED - 4));
	EXPECT_FAULT("read that crosses into nothing", VECTOR_PF, 0);
	EXPECT("CR2", seen.cr2, UNMAPPED);
	PROVOKE("movl %%eax, (%2)", "r"(KERNEL_READ_ONLY));
	EXPECT_FAULT("write to a read-only page", VECTOR_PF, PF_WRITE | PF_PRESENT);
	if (!has_nx) {
		not_present("NX");
		return;
	}
	at_rip = USER_NO_EXECUTE;
	seen = (struct seen){ 0 };
	__asm__ volatile("leaq 1f(%%rip), %%r11; movq %%r11, %0; jmp *%1; 1:"
			 : "=m"(resume_rip)
			 : "r"(USER_NO_EXECUTE)
			 : "r11", "memory");
	EXPECT_FAULT("fetch from a no-execute page", VECTOR_PF, PF_FETCH | PF_PRESENT);
	EXPECT("CR2", seen.cr2, USER_NO_EXECUTE);
}

/* A fault handler that repairs its cause returns to the instruction, which then runs whole, once. */
static void map_and_retry(struct interrupt_frame *frame)
{
	record(frame);
	map_page(read_cr2() & PTE_ADDRESS, page_alloc(), PTE_P | PTE_W);
}

void test_retry(void)
{
	uint64_t *pushed = physical(UNMAPPED + 0x1000), value = 5;

	topic("retry after a page fault");
	set_handler(VECTOR_PF, map_and_retry);
	seen = (struct seen){ 0 };
	__asm__ volatile("lock xaddq %0, (%1)" : "+r"(value) : "r"(pushed) : "memory");
	EXPECT("page faults of one XADD", seen.count, 1);
	EXPECT("XADD returned", value, 0);
	EXPECT("XADD stored", *pushed, 5);
	set_handler(VECTOR_PF, skip_fault);
}

static void trap(struct interrupt_frame *frame)
{
	record(frame);
}

void test_software_interrupts(void)
{
	topic("software interrupts in ring 0");
	set_handler(VECTOR_BP, trap);
	set_handler(VECTOR_USER, trap);
	PROVOKE("int3", );
	EXPECT("#BP: vector", seen.vector, VECTOR_BP);
	EXPECT("#BP: rip", seen.rip, at_rip + 1);
	PROVOKE(".byte 0xcd, 3", );
	EXPECT("INT 3: vector", seen.vector, VECTOR_BP);
	EXPECT("INT 3: rip", seen.rip, at_rip + 2);
	PROVOKE("int $0x80", );
	EXPECT("INT 80: vector", seen.vector, VECTOR_USER);
	EXPECT("INT 80: rip", seen.rip, at_rip + 2);
	EXPECT("INT 80: cs", seen.cs, KERNEL_CODE);
	/* INT n of an exception's vector pushes no error code, so the frame would be one word short: the
	 * vectors used here have none. */
	PROVOKE("int $6", );
	EXPECT("INT 6: vector", seen.vector, VECTOR_UD);
	EXPECT("INT 6: rip", seen.rip, at_rip + 2);
}

static void leave_double_fault(struct interrupt_frame *frame)
{
	uint64_t handler_stack = (uintptr_t)frame;

	record(frame);
	EXPECT("#DF runs on its own stack", handler_stack - saved_rsp < STACK_BYTES, false);
	frame->rip = resume_rip;
	frame->rsp = saved_rsp;
}

void test_double_faults(void)
{
	topic("double faults");
	set_handler(VECTOR_DF, leave_double_fault);
	for (int i = 0; i < 2; i++) {
		seen = (struct seen){ 0 };
		__asm__ volatile("leaq 1f(%%rip), %%r11; movq %%r11, %0; movq %%rsp, %1;"
				 "movq %2, %%rsp; pushq %%rax; 1:"
				 : "=m"(resume_rip), "=m"(saved_rsp)
				 : "r"(UNMAPPED + 0x800)
				 : "r11", "memory");
		EXPECT("#PF whose stack is not mapped: exceptions", seen.count, 1);
		EXPECT("#PF whose stack is not mapped: vector", seen.vector, VECTOR_DF);
		EXPECT("#DF: error code", seen.error_code, 0);
		PROVOKE("divl %2", "m"((uint32_t){ 0 }));
		EXPECT_FAULT("#DE after #DF", VECTOR_DE, 0);
	}

	/* Contributory on contributory is a double fault, contributory on benign is not
	 * (SDM vol. 3, table 6-5). */
	set_gate_present(VECTOR_DE, false);
	__asm__ volatile("movq %%rsp, %0" : "=m"(saved_rsp));
	PROVOKE("divl %2", "m"((uint32_t){ 0 }));
	EXPECT("#DE with an absent gate: vector", seen.vector, VECTOR_DF);
	set_gate_present(VECTOR_DE, true);
	set_gate_present(VECTOR_UD, false);
	PROVOKE("ud2", );
	expect_gate_error("#UD with an absent gate", VECTOR_NP, VECTOR_UD);
	set_gate_present(VECTOR_UD, true);
}
