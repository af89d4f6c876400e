/* Locks that are freed by a plain store, as operating systems build them: the next owner must see all that the last
 * one stored, and a store that frees must not be undone by another CPU's locked instruction.
 *
 * Command line: rounds= of each spinlock, queued= of the locks that have a queue, which all CPUs share. A queue's next
 * owner need not be one that the host runs, so these are slow with more CPUs than cores. Any smp; Peterson's lock
 * needs two. Status 33 when all passed. */
#include <stddef.h>

#include "check.h"
#include "guest.h"
#include "litmus.h"
#include "smp.h"

enum { DATA_LINES = 2, LINGER_MASK = 31 };

/* Everything that is only touched inside. */
static struct {
	uint64_t count;
	uint64_t copies[DATA_LINES][CACHE_LINE / sizeof(uint64_t)];
	int owner;
} data __attribute__((aligned(CACHE_LINE)));

struct kind {
	const char *name;
	void (*acquire)(int me);
	void (*release)(int me);
	int cpus; /* 0: all */
	bool queued;
};

/* -- one word ---------------------------------------------------------------------------------- */

static struct {
	uint64_t value;
} __attribute__((aligned(CACHE_LINE))) word;

static void wait_for_zero(void)
{
	while (__atomic_load_n(&word.value, __ATOMIC_RELAXED))
		pause();
}

static void acquire_xchg(int me)
{
	uint32_t taken = 1;

	(void)me;
	for (;;) {
		__asm__ volatile("xchgl %0, %1" : "+r"(taken), "+m"(word.value) : : "memory");
		if (!taken)
			return;
		wait_for_zero();
	}
}

/* Does not look before it tries, so that CMPXCHGs fail all the time. */
static void acquire_cmpxchg(int me)
{
	uint32_t expected;

	(void)me;
	do {
		expected = 0;
		__asm__ volatile("lock cmpxchgl %2, %1" : "+a"(expected), "+m"(word.value) : "r"(1) : "cc", "memory");
	} while (expected);
}

static void acquire_bts(int me)
{
	bool was_set;

	(void)me;
	for (;;) {
		__asm__ volatile("lock btsl $0, %1; setc %0" : "=q"(was_set), "+m"(word.value) : : "cc", "memory");
		if (!was_set)
			return;
		wait_for_zero();
	}
}

/* The way of older Linux: a signed byte that a locked decrement takes below zero, and a store of 1 frees. */
static void acquire_dec(int me)
{
	bool negative;

	(void)me;
	for (;;) {
		__asm__ volatile("lock decb %1; sets %0" : "=q"(negative), "+m"(word.value) : : "cc", "memory");
		if (!negative)
			return;
		while (*(volatile int8_t *)&word.value <= 0)
			pause();
	}
}

static void release_byte(int me)
{
	(void)me;
	__asm__ volatile("movb $0, %0" : "=m"(word.value) : : "memory");
}

static void release_long(int me)
{
	(void)me;
	__asm__ volatile("movl $0, %0" : "=m"(word.value) : : "memory");
}

static void release_dec(int me)
{
	(void)me;
	__asm__ volatile("movb $1, %0" : "=m"(word.value) : : "memory");
}

/* -- tickets: XADD on the low half-word takes one, a plain INC of the high one calls the next ----------- */

static void acquire_ticket(int me)
{
	uint16_t ticket = 1;

	(void)me;
	__asm__ volatile("lock xaddw %0, %1" : "+r"(ticket), "+m"(word.value) : : "cc", "memory");
	while (((volatile uint16_t *)&word.value)[1] != ticket)
		pause();
}

static void release_ticket(int me)
{
	(void)me;
	__asm__ volatile("incw %0" : "+m"(((uint16_t *)&word.value)[1]) : : "cc", "memory");
}

/* -- Mellor-Crummey and Scott's queue: each CPU spins on a line of its own ------------------------------- */

struct node {
	struct node *next;
	uint64_t waits;
} __attribute__((aligned(CACHE_LINE)));

static struct node nodes[MAX_CPUS];

static void acquire_mcs(int me)
{
	struct node *own = &nodes[me], *before = own;

	own->next = NULL;
	own->waits = 1;
	__asm__ volatile("xchgq %0, %1" : "+r"(before), "+m"(word.value) : : "memory");
	if (!before)
		return;
	__atomic_store_n(&before->next, own, __ATOMIC_RELEASE);
	while (__atomic_load_n(&own->waits, __ATOMIC_ACQUIRE))
		pause();
}

static void release_mcs(int me)
{
	struct node *own = &nodes[me], *last = own;

	if (!__atomic_load_n(&own->next, __ATOMIC_ACQUIRE)) {
		__asm__ volatile("lock cmpxchgq %2, %1" : "+a"(last), "+m"(word.value) : "r"(NULL) : "cc", "memory");
		if (last == own)
			return;
		while (!__atomic_load_n(&own->next, __ATOMIC_ACQUIRE))
			pause();
	}
	__atomic_store_n(&own->next->waits, 0, __ATOMIC_RELEASE);
}

/* -- Peterson's lock: no locked instruction at all, only the fence that its stores need before its loads -- */

static struct {
	uint64_t wants;
} __attribute__((aligned(CACHE_LINE))) interest[2];

static void acquire_peterson(int me)
{
	int other = 1 - me;

	__atomic_store_n(&interest[me].wants, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&word.value, (uint64_t)other, __ATOMIC_RELAXED);
	__asm__ volatile("mfence" : : : "memory");
	while (__atomic_load_n(&interest[other].wants, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&word.value, __ATOMIC_ACQUIRE) == (uint64_t)other)
		pause();
}

static void release_peterson(int me)
{
	__atomic_store_n(&interest[me].wants, 0, __ATOMIC_RELEASE);
}

static const struct kind kinds[] = {
	{ "XCHG, plain MOV", acquire_xchg, release_long, 0, false },
	{ "CMPXCHG, plain MOV", acquire_cmpxchg, release_long, 0, false },
	{ "CMPXCHG, plain byte MOV", acquire_cmpxchg, release_byte, 0, false },
	{ "BTS, plain MOV", acquire_bts, release_long, 0, false },
	{ "DEC, plain byte MOV", acquire_dec, release_dec, 0, false },
	{ "Peterson", acquire_peterson, release_peterson, 2, false },
	{ "ticket, plain INC", acquire_ticket, release_ticket, 0, true },
	{ "MCS", acquire_mcs, release_mcs, 0, true },
};

/* -- the work ---------------------------------------------------------------------------------- */

static const struct kind *kind;
static uint64_t rounds, changes_of_owner;

static void work_inside(int me, uint64_t *wrong)
{
	uint64_t count = data.count;

	changes_of_owner += data.owner != me;
	data.owner = me;
	/* Every line must be as its last owner left it. */
	for (int line = 0; line < DATA_LINES; line++) {
		*wrong += data.copies[line][0] != count;
		data.copies[line][0] = count + 1;
	}
	*(volatile uint64_t *)&data.count = count + 1;
	*wrong += *(volatile int *)&data.owner != me;
}

static void use_lock(struct cpu *cpu)
{
	int cpus = kind->cpus ? kind->cpus : cpu_count;
	uint64_t own = rounds / (uint64_t)cpus, wrong = 0, random = (uint64_t)cpu->index + 1;

	if (cpu->index >= cpus)
		return;
	for (uint64_t i = 0; i < own; i++) {
		kind->acquire(cpu->index);
		work_inside(cpu->index, &wrong);
		kind->release(cpu->index);
		linger(next_random(&random) & LINGER_MASK);
	}
	EXPECT(kind->name, wrong, 0);
}

static void run_kind(uint64_t count)
{
	int cpus = kind->cpus ? kind->cpus : cpu_count;

	__builtin_memset(&data, 0, sizeof data);
	word.value = kind->release == release_dec;
	rounds = count - count % (uint64_t)cpus;
	changes_of_owner = 0;
	smp_run(use_lock);
	print("  %s: %lu rounds, %lu after another CPU\n", kind->name, rounds, changes_of_owner);
	EXPECT("rounds counted inside", data.count, rounds);
}

_Noreturn void guest_main(void)
{
	uint64_t spins = count_option("rounds", 100000), queued = count_option("queued", 2000);

	smp_start();
	topic("locks");
	for (kind = kinds; kind < kinds + sizeof kinds / sizeof *kinds; kind++) {
		if (kind->cpus <= cpu_count)
			run_kind(kind->queued ? queued : spins);
		else
			not_present("a second CPU for Peterson's lock");
	}
	finish();
}
