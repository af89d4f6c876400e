// One thread maps another frame under a page, and takes the right to write away from another page; the others
// never see the old frame after that, nor does a store of theirs land.
#include "loads.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { PAGE = 4096, FRAMES = 8, MAX_USERS = 16 };

static atomic_ulong generation; // of the remapped page: at least so new is what is mapped
static volatile unsigned long *remapped;
static volatile unsigned long *guarded; // a word a user
static atomic_ulong faults;
static atomic_bool stop;
static int users;

static void on_fault(int number, siginfo_t *information, void *context)
{
    (void)number;
    (void)context;
    if ((uintptr_t)information->si_addr / PAGE != (uintptr_t)guarded / PAGE ||
        information->si_code != SEGV_ACCERR) {
        fail("a fault at %p with code %d", information->si_addr, information->si_code);
    }
    atomic_fetch_add(&faults, 1);
    sched_yield();
}

static long use(int user)
{
    unsigned long stores = 0;
    while (!atomic_load(&stop)) {
        unsigned long before = atomic_load(&generation);
        unsigned long seen = *remapped;
        unsigned long after = atomic_load(&generation);
        if (seen < before || seen > after + 1) {
            fail("frame %lu is seen while %lu to %lu are right", seen, before, after + 1);
        }
        guarded[user] = ++stores;
    }
    if (guarded[user] != stores) {
        fail("of %lu stores the last that is there is %lu", stores, guarded[user]);
    }
    return 0;
}

static long change(void)
{
    int file = MUST(memfd_create("frames", 0));
    MUST(ftruncate(file, FRAMES * PAGE));
    volatile unsigned long *frames =
        MUST(mmap(NULL, FRAMES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    long rounds = 0;
    while (!over()) {
        unsigned long next = (unsigned long)++rounds;
        unsigned long frame = next % FRAMES;
        frames[frame * PAGE / sizeof(*frames)] = next;
        MUST(mmap((void *)remapped, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, file, (off_t)frame * PAGE));
        atomic_store(&generation, next);

        unsigned long seen[MAX_USERS];
        MUST(mprotect((void *)guarded, PAGE, PROT_READ));
        for (int user = 0; user < users; user++) {
            seen[user] = guarded[user];
        }
        sched_yield();
        for (int user = 0; user < users; user++) {
            if (guarded[user] != seen[user]) {
                fail("store %lu of CPU %d lands after mprotect(PROT_READ), %lu was there", guarded[user],
                     user, seen[user]);
            }
        }
        MUST(mprotect((void *)guarded, PAGE, PROT_READ | PROT_WRITE));
    }
    atomic_store(&stop, true);
    return rounds;
}

static long play(int number)
{
    return number == users ? change() : use(number);
}

long shootdown_load(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGSEGV, &action, NULL));
    users = cpus() < 2 ? 1 : cpus() - 1;
    users = users > MAX_USERS ? MAX_USERS : users;
    remapped = MUST(mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    guarded = MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    return on_threads(users + 1, play);
}
