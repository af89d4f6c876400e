/* REP string instructions that stop in the middle: by a fault, by single steps, by an interrupt; and what they count in
 * (SDM vol. 2, REP; vol. 3, 6.5 and 17.3.1.4). */
#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "paging.h"
#include "provoke.h"
#include "string.h"

enum { MISSING = PAGE_BYTES, SHORT = 16, LONG = 1 << 20 };

static uint8_t source[2 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t bulk[LONG];
static uint64_t steps, stop_rcx, stop_rsi, stop_rdi;
static uint64_t interrupts;
extern const char rep_begin[], rep_end[];

/* Registers at the fault, and the page mapped so that the instruction goes on. */
static void map_missing(struct interrupt_frame *frame)
{
	record(frame);
	stop_rcx = frame->rcx;
	stop_rsi = frame->rsi;
	stop_rdi = frame->rdi;
	map_page(WINDOW + MISSING, page, PTE_P | PTE_W);
}

/* WINDOW's first page is there, the next one is not. */
static void windows(void)
{
	map_page(WINDOW, source, PTE_P | PTE_W);
	map_page(WINDOW + MISSING, page, 0);
	seen = (struct seen){ 0 };
	memset(page, 0, sizeof page);
}

static void test_faults(void)
{
	uint64_t rcx, rsi, rdi;

	topic("a fault in the middle");
	for (unsigned i = 0; i < sizeof source; i++)
		source[i] = (uint8_t)(i * 7 + 1);
	windows();
	rcx = 8, rsi = (uint64_t)source, rdi = WINDOW + MISSING - 3 * 4;
	__asm__ volatile("rep movsl" : "+c"(rcx), "+S"(rsi), "+D"(rdi) : : "memory");
	CHECK("rep movs faults once", seen.count, 1);
	CHECK("rep movs address", seen.cr2, WINDOW + MISSING);
	CHECK("rep movs rcx at the fault", stop_rcx, 5);
	CHECK("rep movs rsi at the fault", stop_rsi, (uint64_t)source + 3 * 4);
	CHECK("rep movs rdi at the fault", stop_rdi, WINDOW + MISSING);
	CHECK("rep movs rcx at the end", rcx, 0);
	CHECK("rep movs has gone on", memcmp(page, source + 3 * 4, 5 * 4), 0);

	windows();
	rcx = 6, rdi = WINDOW + MISSING - 2 * 8;
	__asm__ volatile("rep stosq" : "+c"(rcx), "+D"(rdi) : "a"(0x55) : "memory");
	CHECK("rep stos rcx at the fault", stop_rcx, 4);
	CHECK("rep stos has gone on", *(uint64_t *)(page + 3 * 8), 0x55);

	windows();
	memset(page, 1, sizeof page);
	rcx = 100, rdi = WINDOW + MISSING - 2;
	source[PAGE_BYTES - 1] = source[PAGE_BYTES - 2] = 1;
	page[4] = 9;
	__asm__ volatile("repe scasb" : "+c"(rcx), "+D"(rdi) : "a"(1) : "memory", "cc");
	CHECK("repe scas rcx at the fault", stop_rcx, 98);
	CHECK("repe scas ends where they differ", rdi, WINDOW + MISSING + 5);
	CHECK("repe scas rcx at the end", rcx, 100 - 7);

	windows();
	rcx = 4, rsi = (uint64_t)source + 8, rdi = WINDOW + MISSING + 1;
	__asm__ volatile("std; rep movsb; cld" : "+c"(rcx), "+S"(rsi), "+D"(rdi) : : "memory");
	CHECK("rep movs downwards faults at its first byte", seen.cr2, WINDOW + MISSING + 1);
	CHECK("rep movs downwards rcx at the fault", stop_rcx, 4);
	CHECK("rep movs downwards rdi at the end", rdi, WINDOW + MISSING - 3);
}

static void count_step(struct interrupt_frame *frame)
{
	if (frame->rip == (uint64_t)rep_begin)
		steps++;
	if (frame->rip == (uint64_t)rep_end)
		frame->rflags &= ~(uint64_t)RFLAGS_TF;
}

static void test_steps(void)
{
	uint64_t rcx = SHORT, rsi = (uint64_t)source, rdi = (uint64_t)page;

	topic("single steps");
	set_handler(VECTOR_DB, count_step);
	steps = 0;
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq\n"
			 "nop\n"
			 ".globl rep_begin, rep_end\n"
			 "rep_begin: rep movsb\n"
			 "rep_end: nop"
			 : "+c"(rcx), "+S"(rsi), "+D"(rdi)
			 :
			 : "memory", "cc");
	/* One before the first iteration, and one after each but the last. */
	CHECK("a step an iteration", steps, SHORT);
	CHECK("all is moved", memcmp(page, source, SHORT), 0);
}

static void test_counts(void)
{
	uint64_t rcx, rdi;

	topic("counts");
	rcx = 0, rdi = 1;
	__asm__ volatile("rep stosb" : "+c"(rcx), "+D"(rdi) : "a"(0) : "memory");
	CHECK("a count of 0 touches nothing", rdi, 1);
	rcx = 1ull << 32 | 3, rdi = (uint64_t)page;
	__asm__ volatile("addr32 rep stosb" : "+c"(rcx), "+D"(rdi) : "a"(7) : "memory");
	CHECK("with 32-bit addresses ecx counts", rdi, (uint64_t)page + 3);
	CHECK("with 32-bit addresses rcx is 0", rcx, 0);
	rcx = 0x1234500000000, rdi = 5;
	__asm__ volatile("addr32 rep stosb" : "+c"(rcx), "+D"(rdi) : "a"(7) : "memory");
	CHECK("with 32-bit addresses an ecx of 0 is a count of 0", rdi, 5);
}

static void on_self_ipi(struct interrupt_frame *frame)
{
	interrupts++;
	CHECK("an interrupt finds rdi where rcx says", frame->rdi + frame->rcx == (uint64_t)bulk + LONG, 1);
	apic_eoi();
}

static void test_interrupt(void)
{
	uint64_t rcx = LONG, rdi = (uint64_t)bulk;

	topic("an interrupt");
	set_handler(VECTOR_TEST, on_self_ipi);
	apic_enable();
	interrupts_off();
	apic_send(apic_id(), ICR_FIXED | ICR_ASSERT | VECTOR_TEST);
	__asm__ volatile("sti; rep stosb; cli" : "+c"(rcx), "+D"(rdi) : "a"(0x33) : "memory");
	CHECK("the interrupt has come", interrupts, 1);
	CHECK("rep stos is at its end", rcx, 0);
	CHECK("the last byte is stored", bulk[LONG - 1], 0x33);
}

_Noreturn void guest_main(void)
{
	set_handler(VECTOR_PF, map_missing);
	test_faults();
	test_steps();
	test_counts();
	test_interrupt();
	finish();
}
