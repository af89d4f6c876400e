/* NMIs (SDM vol. 3, 6.7 and 6.8.3): what blocks them, how many wait, and from where they come. Any smp. */
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"

#define VECTOR 0x84

enum { ROUNDS = 2000 };

static volatile uint64_t nmis, depth, deepest;
static volatile uint64_t nmi_rip, nmi_rsp;
static volatile unsigned resend;
static volatile bool fault_inside;
static uint64_t by_cpu[MAX_CPUS];

/* As a function: QEMU 7.2 looks for interrupts at the end of a block. */
static __attribute__((noinline)) void nmi_self(void)
{
	apic_send(this_cpu()->apic_id, ICR_NMI | ICR_ASSERT);
}

/* Where this CPU's next NMI finds its stack (SDM vol. 3, figure 8-11): without it one NMI would overwrite another's. */
static void move_nmi_stack(int64_t bytes)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdt;
	const uint64_t *descriptor;
	uint64_t *stack;

	__asm__ volatile("sgdt %0" : "=m"(gdt));
	descriptor = physical(gdt.base + TASK_STATE);
	stack = physical((descriptor[0] >> 16 & 0xffffff) | (descriptor[0] >> 56) << 24 | descriptor[1] << 32);
	stack = (uint64_t *)((uint8_t *)stack + 36 + 8 * (IST_NMI - 1));
	*stack += (uint64_t)bytes;
}

static void take(struct interrupt_frame *frame)
{
	if (++depth > deepest)
		deepest = depth;
	nmi_rip = frame->rip;
	nmi_rsp = frame->rsp;
	nmis++;
	while (resend != 0) {
		resend--;
		nmi_self();
	}
	if (fault_inside) {
		fault_inside = false;
		move_nmi_stack(-1024);
		__asm__ volatile("int3" : : : "memory");
		move_nmi_stack(1024);
	}
	depth--;
}

static void take_breakpoint(struct interrupt_frame *frame)
{
	(void)frame;
}

static void begin(void)
{
	nmis = depth = deepest = 0;
}

static void test_delivery(void)
{
	topic("delivery");
	begin();
	interrupts_off();
	nmi_self();
	CHECK("it asks no IF", nmis, 1);
	write_cr8(15);
	nmi_self();
	CHECK("and no priority", nmis, 2);
	write_cr8(0);
	CHECK("it is in nobody's service", apic_read(APIC_PPR), 0);
	/* In one block, so that it waits when HLT comes. */
	__asm__ volatile("movl %0, %1; hlt" : : "r"(ICR_NMI | ICR_SELF | ICR_ASSERT), "m"(*(volatile uint32_t *)physical(
									  (read_msr(MSR_APIC_BASE) & 0xfffff000) + APIC_ICR)) : "memory");
	CHECK("it ends HLT with IF clear", nmis, 3);
	apic_write(APIC_SVR, VECTOR_SPURIOUS);
	nmi_self();
	CHECK("a software-disabled APIC takes it", nmis, 4);
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	interrupts_on();
}

static void test_blocking(void)
{
	topic("blocking");
	begin();
	resend = 1;
	nmi_self();
	CHECK("one in the handler comes after it", nmis, 2);
	CHECK("not within", deepest, 1);
	begin();
	resend = 10;
	nmi_self();
	CHECK("of ten in the handler one is held", nmis, 2);
	begin();
	resend = 1;
	fault_inside = true;
	nmi_self();
	CHECK("the IRET of an exception in the handler lets it in", nmis, 2);
	CHECK("on top of the first", deepest, 2);
}

static void test_shadows(void)
{
	extern const uint8_t after_mov_ss[];
	volatile uint32_t *icr = physical((read_msr(MSR_APIC_BASE) & 0xfffff000) + APIC_ICR);
	uint64_t expected;

	topic("shadows");
	begin();
	interrupts_off();
	/* A stack switch: an NMI between the two would use half of each. */
	__asm__ volatile("movq %%rsp, %%rdx; leaq -64(%%rsp), %%rcx; movl %1, (%2); movl %3, %%ss; movq %%rcx, %%rsp;"
			 ".globl after_mov_ss; after_mov_ss: nop; jmp 1f; 1: movq %%rdx, %%rsp; movq %%rcx, %0"
			 : "=r"(expected)
			 : "r"(ICR_NMI | ICR_SELF | ICR_ASSERT), "r"(icr), "r"((uint32_t)KERNEL_DATA)
			 : "rcx", "rdx", "memory");
	CHECK("not between MOV SS and the next instruction", nmi_rip != (uintptr_t)after_mov_ss || nmi_rsp == expected, 1);
	CHECK("but then", nmis, 1);
	interrupts_on();
}

static uint64_t nmis_of(int cpu)
{
	return __atomic_load_n(&by_cpu[cpu], __ATOMIC_SEQ_CST);
}

static void count_by_cpu(struct interrupt_frame *frame)
{
	(void)frame;
	__atomic_fetch_add(&by_cpu[this_cpu()->index], 1, __ATOMIC_SEQ_CST);
}

static uint64_t takers(void)
{
	uint64_t set = 0;

	for (int i = 0; i < cpu_count; i++)
		set |= (uint64_t)(nmis_of(i) != 0) << i;
	return set;
}

/* Who has taken it once all that are wanted have, however late the host lets them run, and a while after that. */
static uint64_t reached(uint32_t destination, uint32_t command, uint64_t wanted)
{
	for (int i = 0; i < cpu_count; i++)
		__atomic_store_n(&by_cpu[i], 0, __ATOMIC_SEQ_CST);
	apic_send(destination, command | ICR_NMI | ICR_ASSERT);
	for (int i = 0; i < WAIT_MS * 10 && takers() != wanted; i++)
		delay_us(100);
	delay_us(20000);
	return takers();
}

#define REACHES(name, destination, command, set)                             \
	do {                                                                 \
		uint64_t wanted_ = set;                                      \
		CHECK(name, reached(destination, command, wanted_), wanted_); \
	} while (0)

static void test_destinations(void)
{
	int last = cpu_count - 1;
	uint64_t all = (1ull << cpu_count) - 1;

	topic("destinations");
	set_handler(VECTOR_NMI, count_by_cpu);
	REACHES("the last CPU", cpu_at(last)->apic_id, 0, 1ull << last);
	REACHES("all but self", 0, ICR_ALL_BUT_SELF, all & ~1ull);
	REACHES("broadcast", 0xff, 0, all);
}

/* The first CPU and the second send the first one an NMI each, at once; the second then an interrupt, which comes after
 * both: the first CPU sees two NMIs or, as one that waits is one, less. */
static uint64_t turn[2];
static uint64_t less, more;

static void wait_for(uint64_t *word, uint64_t value)
{
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) < value)
		pause();
}

static void send_together(struct cpu *cpu)
{
	if (cpu->index > 1)
		return;
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		uint64_t before = nmis_of(0);

		__atomic_store_n(&turn[cpu->index], 2 * round - 1, __ATOMIC_SEQ_CST);
		wait_for(&turn[!cpu->index], 2 * round - 1);
		apic_send(cpu_at(0)->apic_id, ICR_NMI | ICR_ASSERT);
		if (cpu->index == 1) {
			apic_send(cpu_at(0)->apic_id, ICR_ASSERT | VECTOR);
		} else {
			wait_for(&arrivals[0].of[VECTOR], round);
			less += nmis_of(0) - before < 2;
			more += nmis_of(0) - before > 2;
		}
		__atomic_store_n(&turn[cpu->index], 2 * round, __ATOMIC_SEQ_CST);
		wait_for(&turn[!cpu->index], 2 * round);
	}
}

static void test_together(void)
{
	if (cpu_count < 2)
		return;
	topic("two at once");
	forget_arrivals();
	by_cpu[0] = 0;
	smp_run(send_together);
	CHECK("rounds with more than two", more, 0);
	CHECK_NOT_QEMU("rounds with less than two", less, 0, "two that come before either is taken are one there; "
							     "SDM vol. 3, 6.7.1: the second waits for the first one's IRET");
}

_Noreturn void guest_main(void)
{
	count_vectors(VECTOR_TEST, 0xef);
	set_handler(VECTOR_NMI, take);
	set_handler(VECTOR_BP, take_breakpoint);
	smp_start();
	test_delivery();
	test_blocking();
	test_shadows();
	test_destinations();
	test_together();
	finish();
}
