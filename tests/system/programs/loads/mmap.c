// A storm of mmap, mprotect, mremap, madvise and munmap by threads of one address space. Every page carries a
// stamp that no other page has at any time, so that a page found in a wrong place is known.
#include "loads.h"

#include <sys/mman.h>

enum { PAGE = 4096, MAX_PAGES = 24 };

static uint64_t stamp_of(int number, long round, int page)
{
    return (uint64_t)number << 56 | (uint64_t)round << 16 | (uint64_t)page << 1 | 1;
}

static uint64_t *word(char *memory, int page, int place)
{
    return (uint64_t *)(memory + page * PAGE + place * (PAGE - 8));
}

static void expect(char *memory, int page, uint64_t right, const char *when)
{
    for (int place = 0; place < 2; place++) {
        if (*word(memory, page, place) != right) {
            fail("page %d at %p has 0x%lx %s: 0x%lx is right", page, (void *)memory,
                 *word(memory, page, place), when, right);
        }
    }
}

static long storm(int number)
{
    uint64_t random = (uint64_t)number;
    long round = 0;
    for (; !over(); round++) {
        int pages = 1 + (int)(next_random(&random) % MAX_PAGES);
        size_t size = (size_t)pages * PAGE;
        char *memory = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (int page = 0; page < pages; page++) {
            expect(memory, page, 0, "when new");
            *word(memory, page, 0) = *word(memory, page, 1) = stamp_of(number, round, page);
        }
        MUST(mprotect(memory, size, PROT_READ));
        for (int page = 0; page < pages; page++) {
            expect(memory, page, stamp_of(number, round, page), "when read-only");
        }
        MUST(mprotect(memory, size, PROT_READ | PROT_WRITE));
        memory = MUST(mremap(memory, size, 2 * size, MREMAP_MAYMOVE));
        int dropped = (int)(next_random(&random) % (uint64_t)pages);
        MUST(madvise(memory, (size_t)dropped * PAGE, MADV_DONTNEED));
        for (int page = 0; page < 2 * pages; page++) {
            bool kept = dropped <= page && page < pages;
            expect(memory, page, kept ? stamp_of(number, round, page) : 0, "after mremap and madvise");
            *word(memory, page, 0) = *word(memory, page, 1) = ~stamp_of(number, round, page);
        }
        sched_yield();
        for (int page = 0; page < 2 * pages; page++) {
            expect(memory, page, ~stamp_of(number, round, page), "at the end");
        }
        MUST(munmap(memory, 2 * size));
    }
    return round;
}

long mmap_load(void)
{
    return on_threads(2 * cpus(), storm);
}
