/* IPI storms: none lost, none delivered twice, higher classes first (SDM vol. 3, sections 10.6 and 10.8).
 *
 * An IPI whose vector is pending already merges with it, so each vector has one sender, which sends the next
 * one when the receiver has counted the last. Handlers of the storm let higher classes in. Rings of a doorbell,
 * which all share, may merge, but after each ring there must be a call.
 *
 * Command line: storm= IPIs of each vector from each CPU to each other, rings= of doorbells by each CPU, orders= times that
 * all vectors wait at once, pings= between halted CPUs. Needs two CPUs and has vectors for 16. Status 33 when
 * all passed. */
#include <stddef.h>

#include "apic.h"
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "litmus.h"
#include "smp.h"
#include "timer.h"

/* A class of vectors for each kind, and in it one for each sender. */
enum {
	SENDERS_MAX = 16,
	KINDS = 4,
	LOWEST_CLASS = 7,
	CLASS_STEP = 2,
	BROADCAST_KIND = KINDS - 1,
	NESTED_MAX = KINDS + 1,
	VECTOR_DOORBELLS = 0x60,
	BELLS = 8,
	VECTOR_PING = 0xe6,
	SPINS_MAX = 1000000,
	LINGER_MASK = 0x3fff,
	RINGS_A_WAIT = 3,
	HEARD_LIMIT_US = 30000000,
};

#define FIXED_IPI (ICR_FIXED | ICR_ASSERT)

static uint64_t storm, rings, orders, pings;

static int vector_of(int kind, int sender)
{
	return (LOWEST_CLASS + kind * CLASS_STEP) << 4 | sender;
}

/* -- counted ------------------------------------------------------------------------------------- */

static struct receiver {
	uint64_t taken[KINDS][SENDERS_MAX];
	uint64_t twice, misordered;
	int nested[NESTED_MAX];
	int depth;
} __attribute__((aligned(CACHE_LINE))) receivers[SENDERS_MAX];

static struct sender {
	uint64_t sent[KINDS][SENDERS_MAX];
	uint64_t done;
} __attribute__((aligned(CACHE_LINE))) senders[SENDERS_MAX];

static void count_one(const struct interrupt_frame *frame, struct receiver *mine, int me)
{
	int kind = ((int)frame->vector >> 4) - LOWEST_CLASS, sender = (int)frame->vector & 0xf;
	uint64_t taken;

	kind /= CLASS_STEP;
	taken = mine->taken[kind][sender] + 1;
	mine->twice += taken > __atomic_load_n(&senders[sender].sent[kind][me], __ATOMIC_ACQUIRE);
	__atomic_store_n(&mine->taken[kind][sender], taken, __ATOMIC_RELEASE);
}

/* Interrupts are on inside: only a higher class may come in before the EOI. */
static void take_storm(struct interrupt_frame *frame)
{
	int me = this_cpu()->index;
	struct receiver *mine = &receivers[me];
	int class = (int)frame->vector >> 4;

	mine->misordered += mine->depth > 0 && mine->nested[mine->depth - 1] >= class;
	if (mine->depth == NESTED_MAX)
		panic("%d interrupts inside each other", NESTED_MAX);
	mine->nested[mine->depth++] = class;
	count_one(frame, mine, me);
	interrupts_on();
	linger(20);
	interrupts_off();
	mine->depth--;
	apic_eoi();
}

static bool all_taken(struct cpu *cpu, int kind, int receiver)
{
	return __atomic_load_n(&receivers[receiver].taken[kind][cpu->index], __ATOMIC_ACQUIRE) ==
	       senders[cpu->index].sent[kind][receiver];
}

static uint64_t *sent_to(struct cpu *cpu, int kind, int receiver)
{
	return &senders[cpu->index].sent[kind][receiver];
}

static void send_counted(struct cpu *cpu, int kind, int receiver)
{
	uint64_t next = *sent_to(cpu, kind, receiver) + 1;

	__atomic_store_n(sent_to(cpu, kind, receiver), next, __ATOMIC_RELEASE);
	apic_send(cpu_at(receiver)->apic_id, FIXED_IPI | (uint32_t)vector_of(kind, cpu->index));
}

/* One IPI for all others, once each of them has taken the last. */
static bool broadcast_counted(struct cpu *cpu)
{
	for (int receiver = 0; receiver < cpu_count; receiver++) {
		if (receiver != cpu->index && !all_taken(cpu, BROADCAST_KIND, receiver))
			return false;
	}
	for (int receiver = 0; receiver < cpu_count; receiver++) {
		if (receiver != cpu->index)
			__atomic_add_fetch(sent_to(cpu, BROADCAST_KIND, receiver), 1, __ATOMIC_RELEASE);
	}
	apic_send(0, ICR_ALL_BUT_SELF | FIXED_IPI | (uint32_t)vector_of(BROADCAST_KIND, cpu->index));
	return true;
}

/* True when something is still to be sent or to be taken. */
static bool send_what_may_be_sent(struct cpu *cpu)
{
	bool open = false;

	for (int receiver = 0; receiver < cpu_count; receiver++) {
		if (receiver == cpu->index)
			continue;
		for (int kind = 0; kind < BROADCAST_KIND; kind++) {
			if (!all_taken(cpu, kind, receiver))
				open = true;
			else if (*sent_to(cpu, kind, receiver) < storm)
				send_counted(cpu, kind, receiver), open = true;
		}
		open |= !all_taken(cpu, BROADCAST_KIND, receiver) || *sent_to(cpu, BROADCAST_KIND, receiver) < storm;
	}
	if (*sent_to(cpu, BROADCAST_KIND, (cpu->index + 1) % cpu_count) < storm)
		broadcast_counted(cpu);
	return open;
}

static void run_storm(struct cpu *cpu)
{
	while (send_what_may_be_sent(cpu))
		pause();
}

static void test_storm(void)
{
	uint64_t taken = 0;

	topic("storm");
	for (int kind = 0; kind < KINDS; kind++) {
		for (int sender = 0; sender < cpu_count; sender++)
			set_handler(vector_of(kind, sender), take_storm);
	}
	smp_run(run_storm);
	for (int i = 0; i < cpu_count; i++) {
		EXPECT("IPIs that were never sent", receivers[i].twice, 0);
		EXPECT("interrupts of a class inside the same or a higher one", receivers[i].misordered, 0);
		for (int kind = 0; kind < KINDS; kind++) {
			for (int sender = 0; sender < cpu_count; sender++) {
				taken += receivers[i].taken[kind][sender];
				EXPECT("IPIs taken", receivers[i].taken[kind][sender], sender == i ? 0 : storm);
			}
		}
	}
	print("  %lu IPIs\n", taken);
}

/* -- doorbells ----------------------------------------------------------------------------------- */

static struct bell {
	uint64_t rung, heard, calls;
} bells[SENDERS_MAX][BELLS] __attribute__((aligned(CACHE_LINE)));

static void answer(struct interrupt_frame *frame)
{
	struct bell *bell = &bells[this_cpu()->index][frame->vector - VECTOR_DOORBELLS];

	bell->calls++;
	__atomic_store_n(&bell->heard, __atomic_load_n(&bell->rung, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	apic_eoi();
}

/* Until there was a call after the ring `number`. */
static void wait_until_heard(const struct bell *bell, uint64_t number)
{
	struct stopwatch watch;

	stopwatch_start(&watch);
	while (__atomic_load_n(&bell->heard, __ATOMIC_ACQUIRE) < number) {
		if (stopwatch_us(&watch) > HEARD_LIMIT_US) {
			EXPECT("a ring that was never heard", number, bell->heard);
			finish();
		}
		pause();
	}
}

static void ring(struct cpu *cpu)
{
	uint64_t random = (uint64_t)cpu->index + 1;

	for (uint64_t i = 0; i < rings; i++) {
		int receiver = (cpu->index + 1 + (int)(next_random(&random) % (uint64_t)(cpu_count - 1))) % cpu_count;
		uint32_t kind = random >> 8 & (BELLS - 1);
		struct bell *bell = &bells[receiver][kind];
		uint64_t number = __atomic_add_fetch(&bell->rung, 1, __ATOMIC_ACQ_REL);

		apic_send(cpu_at(receiver)->apic_id, FIXED_IPI | (VECTOR_DOORBELLS + kind));
		linger(random >> 16 & LINGER_MASK);
		if ((random >> 32) % RINGS_A_WAIT == 0)
			wait_until_heard(bell, number);
	}
}

static void wait_for_all_bells(struct cpu *cpu)
{
	for (int kind = 0; kind < BELLS; kind++)
		wait_until_heard(&bells[cpu->index][kind], bells[cpu->index][kind].rung);
}

static void test_doorbells(void)
{
	uint64_t rung = 0, calls = 0;

	topic("doorbells");
	for (int kind = 0; kind < BELLS; kind++)
		set_handler(VECTOR_DOORBELLS + kind, answer);
	smp_run(ring);
	smp_run(wait_for_all_bells);
	for (int i = 0; i < cpu_count; i++) {
		for (int kind = 0; kind < BELLS; kind++) {
			EXPECT("more calls than rings", bells[i][kind].calls > bells[i][kind].rung, false);
			rung += bells[i][kind].rung;
			calls += bells[i][kind].calls;
		}
	}
	EXPECT("rings", rung, rings * (uint64_t)cpu_count);
	print("  %lu rings, %lu calls\n", rung, calls);
}

/* -- order ----------------------------------------------------------------------------------------- */

static struct {
	uint64_t round, taken;
	int last;
	uint64_t misordered;
} order __attribute__((aligned(CACHE_LINE)));

static void take_in_order(struct interrupt_frame *frame)
{
	order.misordered += (int)frame->vector >= order.last;
	order.last = (int)frame->vector;
	order.taken++;
	apic_eoi();
}

static bool is_waiting(int vector)
{
	return apic_read((enum apic_register)(APIC_IRR + vector / 32 * 0x10)) >> vector % 32 & 1;
}

/* CPU 0 keeps interrupts off until every vector of every other CPU waits; then they come from the highest down. */
static void take_all_that_wait(struct cpu *cpu)
{
	uint64_t expected = (uint64_t)(cpu_count - 1) * BROADCAST_KIND;

	for (uint64_t round = 1; round <= orders; round++) {
		if (cpu->index != 0) {
			while (__atomic_load_n(&order.round, __ATOMIC_ACQUIRE) < round)
				pause();
			for (int kind = 0; kind < BROADCAST_KIND; kind++)
				apic_send(cpu_at(0)->apic_id, FIXED_IPI | (uint32_t)vector_of(kind, cpu->index));
			continue;
		}
		interrupts_off();
		order.last = 0x100;
		order.taken = 0;
		__atomic_store_n(&order.round, round, __ATOMIC_RELEASE);
		for (int i = 1; i < cpu_count; i++) {
			for (int kind = 0; kind < BROADCAST_KIND; kind++) {
				while (!is_waiting(vector_of(kind, i)))
					pause();
			}
		}
		__asm__ volatile("sti; nop; nop" : : : "memory");
		EXPECT("all that waited came at once", order.taken, expected);
	}
	if (cpu->index == 0)
		EXPECT("a lower vector before a higher one", order.misordered, 0);
}

static void test_order(void)
{
	topic("order");
	for (int kind = 0; kind < BROADCAST_KIND; kind++) {
		for (int sender = 1; sender < cpu_count; sender++)
			set_handler(vector_of(kind, sender), take_in_order);
	}
	smp_run(take_all_that_wait);
	print("  %lu times %d vectors\n", orders, (cpu_count - 1) * BROADCAST_KIND);
}

/* -- halted ------------------------------------------------------------------------------------------ */

static struct {
	uint64_t pings;
} __attribute__((aligned(CACHE_LINE))) pinged[SENDERS_MAX];

static void take_ping(struct interrupt_frame *frame)
{
	(void)frame;
	__atomic_add_fetch(&pinged[this_cpu()->index].pings, 1, __ATOMIC_RELEASE);
	apic_eoi();
}

/* Pairs: each sleeps until the other has sent. A wake-up that comes between the look and the HLT must not be lost. */
static void ping(struct cpu *cpu)
{
	int other = cpu->index ^ 1;

	if (other >= cpu_count)
		return;
	for (uint64_t i = 1; i <= pings; i++) {
		if (cpu->index % 2 == 0)
			apic_send(cpu_at(other)->apic_id, FIXED_IPI | VECTOR_PING);
		interrupts_off();
		while (__atomic_load_n(&pinged[cpu->index].pings, __ATOMIC_ACQUIRE) < i)
			wait_for_interrupt();
		interrupts_on();
		if (cpu->index % 2)
			apic_send(cpu_at(other)->apic_id, FIXED_IPI | VECTOR_PING);
	}
}

static void test_halted(void)
{
	topic("between halted CPUs");
	set_handler(VECTOR_PING, take_ping);
	smp_run(ping);
	for (int i = 0; i < (cpu_count & ~1); i++)
		EXPECT("pings", pinged[i].pings, pings);
	print("  %lu pings each\n", pings);
}

/* -- the shadow of STI ----------------------------------------------------------------------------------- */

static uint64_t shadowed;

static void take_shadowed(struct interrupt_frame *frame)
{
	(void)frame;
	shadowed++;
	apic_eoi();
}

/* STI, then one more instruction that ends a translated block in its own way. */
extern void sti_ret(void), sti_jump(void), sti_indirect_jump(void), sti_call(void);
__asm__(".text\n"
	".globl sti_ret, sti_jump, sti_indirect_jump, sti_call\n"
	"sti_ret: sti; ret\n"
	"sti_jump: sti; jmp 1f; nop; 1: ret\n"
	"sti_indirect_jump: leaq 2f(%rip), %rax; sti; jmp *%rax; nop; 2: ret\n"
	"sti_call: sti; call 3f; ret; 3: ret\n");

/* The same code each time, so that its blocks run without a stop between them. */
__attribute__((noinline)) static uint64_t spin_until_taken(void (*let_in)(void), uint64_t before, uint64_t limit)
{
	uint64_t spins = 0;

	let_in();
	__asm__ volatile("1: cmpq %1, %2; jne 2f; incq %0; cmpq %3, %0; jb 1b; 2:"
			 : "+r"(spins)
			 : "r"(before), "m"(*(volatile uint64_t *)&shadowed), "r"(limit)
			 : "cc", "memory");
	return spins;
}

static void test_shadow_of(const char *name, void (*let_in)(void))
{
	spin_until_taken(let_in, shadowed, 1000);
	for (int i = 0; i < 3; i++) {
		interrupts_off();
		apic_send(0, ICR_SELF | FIXED_IPI | VECTOR_TEST);
		while (!is_waiting(VECTOR_TEST))
			pause();
		EXPECT(name, spin_until_taken(let_in, shadowed, SPINS_MAX), 0);
	}
}

static void test_shadow(void)
{
	topic("an interrupt that waits comes after the instruction that follows STI");
	set_handler(VECTOR_TEST, take_shadowed);
	test_shadow_of("spins after STI, RET", sti_ret);
	test_shadow_of("spins after STI, JMP", sti_jump);
	test_shadow_of("spins after STI, JMP RAX", sti_indirect_jump);
	test_shadow_of("spins after STI, CALL", sti_call);
}

_Noreturn void guest_main(void)
{
	storm = count_option("storm", 100);
	rings = count_option("rings", 300);
	orders = count_option("orders", 10);
	pings = count_option("pings", 200);
	smp_start();
	test_shadow();
	if (cpu_count < 2 || cpu_count > SENDERS_MAX) {
		not_present("2 to 16 CPUs");
		finish();
	}
	test_storm();
	test_doorbells();
	test_order();
	test_halted();
	finish();
}
