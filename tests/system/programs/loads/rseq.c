// Counters a CPU, counted up without LOCK in a restartable sequence (Linux, rseq(2)): the kernel restarts it
// when the thread was preempted, migrated or given a signal in it. An interrupt taken anywhere but where RIP
// says loses a count.
#include "loads.h"

#include <sys/rseq.h>

enum { BATCH = 2000, MAX_CPUS = 64 };

static struct {
    _Alignas(64) volatile unsigned long count;
} counters[MAX_CPUS];

// Adds 1 to counters[cpu].count if the thread is on `cpu` all the while; false if it was interrupted before.
static bool add_on(struct rseq *rseq, unsigned cpu)
{
    __asm__ goto(".pushsection __rseq_cs, \"aw\"\n"
                 ".balign 32\n"
                 "3: .long 0, 0\n"
                 ".quad 1f, 2f - 1f, 4f\n"
                 ".popsection\n"
                 "lea 3b(%%rip), %%rax\n"
                 "mov %%rax, %[sequence]\n"
                 "1:\n"
                 "cmp %[cpu], %[now]\n"
                 "jne %l[aborted]\n"
                 "mov %[count], %%rax\n"
                 "lea 1(%%rax), %%rax\n"
                 "mov %%rax, %[count]\n"
                 "2:\n"
                 ".pushsection __rseq_failure, \"ax\"\n"
                 ".byte 0x0f, 0xb9, 0x3d\n" // UD1, whose operand is the signature
                 ".long %c[signature]\n"
                 "4: jmp %l[aborted]\n"
                 ".popsection\n"
                 :
                 : [sequence] "m"(rseq->rseq_cs), [now] "m"(rseq->cpu_id), [cpu] "r"(cpu),
                   [count] "m"(counters[cpu].count), [signature] "i"(RSEQ_SIG)
                 : "rax", "memory", "cc"
                 : aborted);
    return true;
aborted:
    return false;
}

static long play(int number)
{
    struct rseq *rseq = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    uint64_t random = (uint64_t)number;
    long added = 0;
    while (!over()) {
        for (int i = 0; i < BATCH; i++) {
            added += add_on(rseq, rseq->cpu_id_start);
        }
        // To another CPU now and then: threads meet there.
        pin((int)(next_random(&random) % (uint64_t)cpus()));
    }
    return added;
}

long rseq_load(void)
{
    if (cpus() > MAX_CPUS || __rseq_size == 0) {
        fail("rseq(2) is not there");
    }
    long added = on_threads(3 * cpus(), play);
    unsigned long counted = 0;
    for (int cpu = 0; cpu < cpus(); cpu++) {
        counted += counters[cpu].count;
    }
    if (counted != (unsigned long)added) {
        fail("%lu of %ld are counted", counted, added);
    }
    return added;
}
