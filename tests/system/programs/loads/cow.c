// fork() while other threads store: the child's pages are those of one moment. A CPU that keeps a TLB entry
// which lets stores through past fork() changes the child's memory behind its back.
#include "loads.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { MAX_WRITERS = 16, PAGES = 8, PAGE_WORDS = 512 };

// The first word of a page is stored before its last one, and both count: a child sees them equal or one
// apart.
static volatile uint64_t (*pages)[PAGES][PAGE_WORDS];
static atomic_bool stop;
static int writers;

static void look(uint64_t seen[MAX_WRITERS][PAGES][2])
{
    for (int writer = 0; writer < writers; writer++) {
        for (int page = 0; page < PAGES; page++) {
            seen[writer][page][1] = pages[writer][page][PAGE_WORDS - 1];
            seen[writer][page][0] = pages[writer][page][0];
        }
    }
}

static void be_child(void)
{
    static uint64_t first[MAX_WRITERS][PAGES][2], second[MAX_WRITERS][PAGES][2];
    look(first);
    for (int times = 0; times < 3; times++) {
        sched_yield();
        look(second);
        if (memcmp(first, second, sizeof(first)) != 0) {
            fail("a child's memory changes though it stores nothing");
        }
    }
    for (int writer = 0; writer < writers; writer++) {
        for (int page = 0; page < PAGES; page++) {
            if (first[writer][page][0] - first[writer][page][1] > 1) {
                fail("a child sees %lu stored before %lu, which is at most one less", first[writer][page][0],
                     first[writer][page][1]);
            }
        }
    }
    _exit(0);
}

static long store(int writer)
{
    uint64_t count = 0;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        count++;
        for (int page = 0; page < PAGES; page++) {
            pages[writer][page][0] = count;
            pages[writer][page][PAGE_WORDS - 1] = count;
        }
    }
    for (int page = 0; page < PAGES; page++) {
        if (pages[writer][page][0] != count || pages[writer][page][PAGE_WORDS - 1] != count) {
            fail("a store before fork() is lost: page %d has %lu, %lu is right", page, pages[writer][page][0],
                 count);
        }
    }
    return 0;
}

static long fork_often(void)
{
    long rounds = 0;
    for (; !over(); rounds++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            be_child();
        }
        int status;
        MUST(waitpid(child, &status, 0));
        if (status != 0) {
            fail("a child ended with wait status 0x%x", (unsigned)status);
        }
    }
    atomic_store(&stop, true);
    return rounds;
}

static long play(int number)
{
    return number == writers ? fork_often() : store(number);
}

long cow_load(void)
{
    writers = cpus() < 2 ? 1 : cpus() - 1;
    writers = writers > MAX_WRITERS ? MAX_WRITERS : writers;
    size_t size = (size_t)writers * sizeof(*pages);
    pages = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    return on_threads(writers + 1, play);
}
