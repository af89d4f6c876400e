// A storm of signals on threads of all CPUs: queued ones that carry a number and come in order, none lost;
// plain ones by tgkill; timers; a signal within a handler. All on alternate stacks, while the threads hold
// registers and read from pipes that SA_RESTART goes on with.
#include "loads.h"
#include "hold.h"

#include <signal.h>
#include <sys/syscall.h>

enum { MAX_THREADS = 32, STACK_BYTES = 65536, SPINS = 300, TIMER_NANOSECONDS = 5000000 };

#define QUEUED (SIGRTMIN + 0)
#define TIMER (SIGRTMIN + 1)
#define NESTED SIGUSR2
#define PLAIN SIGUSR1

struct token {
    long number;
    bool last;
};

static struct thread {
    _Alignas(64) atomic_int tid; // 0 until it runs
    atomic_long received;        // queued signals
    atomic_long plain, nested, timed;
    atomic_int depth;
    char *stack;
    int pipe[2];
} all[MAX_THREADS];

static int threads;
static pthread_barrier_t barrier;
static _Thread_local struct thread *self;

static bool on_own_stack(const void *place)
{
    return (const char *)place >= self->stack && (const char *)place < self->stack + STACK_BYTES;
}

static void enter(void)
{
    char here;
    if (!on_own_stack(&here)) {
        fail("a handler runs at %p, off its stack", (void *)&here);
    }
}

static void on_queued(int number, siginfo_t *information, void *context)
{
    (void)number;
    (void)context;
    enter();
    long right = atomic_fetch_add(&self->received, 1);
    if (information->si_code != SI_QUEUE || (long)information->si_value.sival_ptr != right) {
        fail("queued signal %ld, code %d, comes as number %ld", (long)information->si_value.sival_ptr,
             information->si_code, right);
    }
    clobber((uint64_t)right);
}

static void on_plain(int number)
{
    (void)number;
    enter();
    atomic_fetch_add(&self->plain, 1);
    atomic_fetch_add(&self->depth, 1);
    // Not blocked here: it comes before tgkill() returns, on the same stack.
    long before = atomic_load(&self->nested);
    MUST(syscall(SYS_tgkill, getpid(), self->tid, NESTED));
    if (atomic_load(&self->nested) != before + 1) {
        fail("a signal to oneself does not come at once");
    }
    atomic_fetch_sub(&self->depth, 1);
}

static void on_nested(int number)
{
    enter();
    if (atomic_load(&self->depth) != 1) {
        fail("signal %d at depth %d", number, atomic_load(&self->depth));
    }
    atomic_fetch_add(&self->nested, 1);
    clobber((uint64_t)number);
}

static void on_timer(int number)
{
    enter();
    atomic_fetch_add(&self->timed, 1);
    clobber((uint64_t)number);
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, NESTED);
    MUST(sigaction(number, &action, NULL));
}

static void handle_queued(void)
{
    struct sigaction action = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigfillset(&action.sa_mask);
    MUST(sigaction(QUEUED, &action, NULL));
}

static timer_t set_up_thread(void)
{
    self->stack = MUST((char *)malloc(STACK_BYTES));
    MUST(sigaltstack(&(stack_t){.ss_sp = self->stack, .ss_size = STACK_BYTES}, NULL));
    atomic_store(&self->tid, (int)syscall(SYS_gettid));
    pthread_barrier_wait(&barrier);
    return signal_every(TIMER, TIMER_NANOSECONDS);
}

static void send_queued(const struct thread *to, long number)
{
    siginfo_t information = {.si_code = SI_QUEUE};
    information.si_pid = getpid();
    information.si_value.sival_ptr = (void *)number;
    while (syscall(SYS_rt_tgsigqueueinfo, getpid(), to->tid, QUEUED, &information) != 0) {
        if (errno != EAGAIN) {
            fail("rt_tgsigqueueinfo: %s", strerror(errno));
        }
        sched_yield(); // as many are queued as may be
    }
}

static void take(long number, struct token *token)
{
    char *place = (char *)token;
    for (size_t got = 0; got < sizeof(*token);) {
        got += (size_t)MUST(read(self->pipe[0], place + got, sizeof(*token) - got)); // EINTR would be wrong
    }
    if (token->number != number) {
        fail("token %ld comes as number %ld", token->number, number);
    }
}

static void send(struct thread *to, long number, bool last)
{
    send_queued(to, number);
    MUST(syscall(SYS_tgkill, getpid(), to->tid, PLAIN));
    struct token token = {number, last};
    if (MUST(write(to->pipe[1], &token, sizeof(token))) != (ssize_t)sizeof(token)) {
        fail("a token went only in part");
    }
}

static long play(int number)
{
    self = &all[number];
    timer_t timer = set_up_thread();
    struct thread *next = &all[(number + 1) % threads];
    uint64_t random = (uint64_t)number;
    long sent = 0;
    long taken = 0;
    bool sent_last = false;
    struct token token = {0};
    while (!token.last) {
        if (!sent_last) {
            sent_last = over();
            send(next, sent++, sent_last);
        }
        struct held wanted;
        randomize(&wanted, &random);
        hold(&wanted, SPINS, SYS_sched_yield);
        take(taken++, &token);
    }
    if (!sent_last) {
        send(next, sent++, true);
    }
    pthread_barrier_wait(&barrier);
    while (atomic_load(&self->received) != taken) {
        sched_yield(); // as many were queued as tokens were written
    }
    MUST(timer_delete(timer));
    if (atomic_load(&self->plain) == 0 || atomic_load(&self->nested) != atomic_load(&self->plain)) {
        fail("%ld plain signals and %ld within them", atomic_load(&self->plain), atomic_load(&self->nested));
    }
    pthread_barrier_wait(&barrier);
    return taken;
}

long signal_load(void)
{
    threads = cpus() < 2 ? 2 : cpus();
    threads = threads > MAX_THREADS ? MAX_THREADS : threads;
    handle_queued();
    handle(PLAIN, on_plain);
    handle(NESTED, on_nested);
    handle(TIMER, on_timer);
    for (int number = 0; number < threads; number++) {
        MUST(pipe(all[number].pipe));
    }
    MUST_BE_0(pthread_barrier_init(&barrier, NULL, (unsigned)threads));
    return on_threads(threads, play);
}
