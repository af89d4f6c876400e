/* NMI storms: none lost, none too many, one at a time until IRET (SDM vol. 3, section 6.7.1).
 *
 * While CPUs are busy with what an NMI may interrupt anywhere (interrupts off, other interrupts' handlers, page faults,
 * split locked operations), each sends NMIs to its neighbour, the next when the last is counted; so the counts must be
 * equal. Then all send to all without waiting: NMIs may merge, but the last one must be heard.
 *
 * Command line: counted= NMIs of each CPU, rings= without waiting. Needs two CPUs. Status 33 when all passed. */
#include <stddef.h>

#include "apic.h"
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "litmus.h"
#include "paging.h"
#include "smp.h"

enum { BUSINESSES = 5, LINGER_MASK = 0x3ff };

/* Each CPU faults on a page of its own. */
#define FAULTING WINDOW

static uint64_t counted, rings, finished;

static struct {
	uint64_t asked, heard, nmis, sent;
	uint64_t nested;
	bool inside;
	uint64_t interrupts, faults;
	uint64_t *entry;
} __attribute__((aligned(CACHE_LINE))) of[MAX_CPUS];

static uint8_t frames[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t crossing[2 * CACHE_LINE] __attribute__((aligned(CACHE_LINE)));

static void take_nmi(struct interrupt_frame *frame)
{
	int me = this_cpu()->index;

	(void)frame;
	of[me].nested += of[me].inside;
	of[me].inside = true;
	__atomic_add_fetch(&of[me].nmis, 1, __ATOMIC_ACQ_REL);
	__atomic_store_n(&of[me].heard, __atomic_load_n(&of[me].asked, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	linger(50);
	of[me].inside = false;
}

static void take_interrupt(struct interrupt_frame *frame)
{
	(void)frame;
	of[this_cpu()->index].interrupts++;
	apic_eoi();
}

static void take_fault(struct interrupt_frame *frame)
{
	int me = this_cpu()->index;

	(void)frame;
	of[me].faults++;
	*of[me].entry |= PTE_P;
}

static void send_nmi(int to)
{
	__atomic_add_fetch(&of[to].asked, 1, __ATOMIC_ACQ_REL);
	__atomic_add_fetch(&of[to].sent, 1, __ATOMIC_ACQ_REL);
	apic_send(cpu_at(to)->apic_id, ICR_NMI | ICR_ASSERT);
}

static void be_busy(int me, uint64_t random)
{
	switch (random % BUSINESSES) {
	case 0:
		interrupts_off();
		linger(random >> 8 & LINGER_MASK);
		interrupts_on();
		break;
	case 1:
		apic_send(0, ICR_SELF | ICR_ASSERT | VECTOR_TEST);
		break;
	case 2: {
		volatile uint8_t *page = physical(FAULTING + (uint64_t)me * PAGE_BYTES);

		*of[me].entry &= ~PTE_P;
		invalidate_page(page);
		(void)*page;
		break;
	}
	case 3:
		/* Kept rare: all others stand still for it. */
		if (random >> 8 & 7)
			break;
		__asm__ volatile("lock incq (%0)" : : "r"(crossing + CACHE_LINE - 3) : "cc", "memory");
		break;
	default:
		cpuid(0, 0);
	}
}

static void wait_for_all_to_finish(int me, uint64_t random)
{
	__atomic_add_fetch(&finished, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) != (uint64_t)cpu_count)
		be_busy(me, next_random(&random));
}

/* A ring, so that each CPU has one sender. */
static void send_counted(struct cpu *cpu)
{
	int to = (cpu->index + 1) % cpu_count;
	uint64_t random = (uint64_t)cpu->index + 1;

	for (uint64_t i = 1; i <= counted; i++) {
		send_nmi(to);
		while (__atomic_load_n(&of[to].nmis, __ATOMIC_ACQUIRE) < i)
			be_busy(cpu->index, next_random(&random));
	}
	wait_for_all_to_finish(cpu->index, random);
}

static void ring_all(struct cpu *cpu)
{
	uint64_t random = (uint64_t)cpu->index + 1;

	for (uint64_t i = 0; i < rings; i++) {
		for (int to = 0; to < cpu_count; to++) {
			if (to != cpu->index)
				send_nmi(to);
		}
		be_busy(cpu->index, next_random(&random));
	}
	while (__atomic_load_n(&of[cpu->index].heard, __ATOMIC_ACQUIRE) != rings * (uint64_t)(cpu_count - 1))
		be_busy(cpu->index, next_random(&random));
	wait_for_all_to_finish(cpu->index, random);
}

static void run(const char *name, void (*work)(struct cpu *cpu))
{
	uint64_t nmis = 0, interrupts = 0, faults = 0, sent = 0;

	topic(name);
	finished = 0;
	for (int i = 0; i < cpu_count; i++)
		of[i].asked = of[i].heard = of[i].nmis = of[i].sent = 0;
	smp_run(work);
	for (int i = 0; i < cpu_count; i++) {
		EXPECT("an NMI inside an NMI's handler", of[i].nested, 0);
		EXPECT("the last NMI is heard", of[i].heard, of[i].asked);
		EXPECT("more NMIs than were sent", of[i].nmis > of[i].sent, false);
		if (work == send_counted)
			EXPECT("NMIs taken", of[i].nmis, counted);
		nmis += of[i].nmis;
		sent += of[i].sent;
		interrupts += of[i].interrupts;
		faults += of[i].faults;
	}
	print("  %lu NMIs sent, %lu taken among %lu interrupts and %lu page faults\n", sent, nmis, interrupts, faults);
}

_Noreturn void guest_main(void)
{
	counted = count_option("counted", 200);
	rings = count_option("rings", 200);
	set_handler(VECTOR_NMI, take_nmi);
	set_handler(VECTOR_TEST, take_interrupt);
	set_handler(VECTOR_PF, take_fault);
	smp_start();
	if (cpu_count < 2) {
		not_present("a second CPU");
		finish();
	}
	for (int i = 0; i < cpu_count; i++) {
		uint64_t address = FAULTING + (uint64_t)i * PAGE_BYTES;

		map_page(address, frames, PTE_P | PTE_W);
		of[i].entry = page_entry(address);
	}
	run("counted", send_counted);
	run("without waiting", ring_all);
	finish();
}
