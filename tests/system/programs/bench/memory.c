// Rows of loads and stores.
#include <emmintrin.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define MIB (1024ul * 1024)

static unsigned char *block;
static size_t block_size;

static void allocate(size_t size)
{
    block_size = size;
    block = pages(size);
    memset(block, 1, size);
}

static void release(void)
{
    munmap(block, block_size);
}

static void allocate_25m(void)
{
    allocate(25 * MIB);
}

// a[i] = b[i] + s * c[i] over three arrays of 8 MiB, with so many bytes between them.
static void triad(uint64_t rounds, size_t gap)
{
    uint64_t count = 8 * MIB / sizeof(uint64_t), next = count + gap / sizeof(uint64_t);
    uint64_t *a = (uint64_t *)block, *b = a + next, *c = b + next;

    while (rounds--) {
        for (uint64_t i = 0; i < count; i++) {
            a[i] = b[i] + 3 * c[i];
        }
    }
    sink = a[1];
}

static void stream(uint64_t rounds)
{
    triad(rounds, 37 * PAGE);
}

// The same pages' numbers agree in their low bits: they want the same entry of a TLB that is indexed by
// these.
static void stream_conflict(uint64_t rounds)
{
    triad(rounds, 0);
}

// One chain through all of the block's lines of `stride` bytes, in random order (Sattolo's cycle).
static void make_chain(size_t stride)
{
    size_t count = block_size / stride;
    uint64_t random = 88172645463325252ull;

    for (size_t i = 0; i < count; i++) {
        *(size_t *)(block + i * stride) = i;
    }
    for (size_t i = count - 1; i; i--) {
        size_t other, kept;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        other = random % i;
        kept = *(size_t *)(block + i * stride);
        *(size_t *)(block + i * stride) = *(size_t *)(block + other * stride);
        *(size_t *)(block + other * stride) = kept;
    }
    for (size_t i = 0; i < count; i++) {
        *(void **)(block + i * stride) = block + *(size_t *)(block + i * stride) * stride;
    }
}

static void chase(uint64_t rounds)
{
    void **at = (void **)block;

    while (rounds--) {
        at = *at;
    }
    sink = (uint64_t)at;
}

static void begin_cached(void)
{
    allocate(64 * 1024);
    make_chain(64);
}

static void begin_far(void)
{
    allocate(16 * MIB);
    make_chain(PAGE + 64);
}

static void allocate_64k(void)
{
    allocate(64 * 1024);
}

static void copy_sse(uint64_t rounds)
{
    while (rounds--) {
        const __m128i *from = (const __m128i *)block;
        __m128i *to = (__m128i *)(block + 32 * 1024);

        for (int i = 0; i < 2048; i += 4) {
            __m128i a = _mm_loadu_si128(from + i), b = _mm_loadu_si128(from + i + 1);
            __m128i c = _mm_loadu_si128(from + i + 2), d = _mm_loadu_si128(from + i + 3);

            _mm_storeu_si128(to + i, a);
            _mm_storeu_si128(to + i + 1, b);
            _mm_storeu_si128(to + i + 2, c);
            _mm_storeu_si128(to + i + 3, d);
        }
        __asm__ volatile("" : : : "memory");
    }
}

static void copy_string(uint64_t rounds)
{
    while (rounds--) {
        void *to = block + 32 * 1024;
        const void *from = block;
        uint64_t count = 32 * 1024 / 8;

        __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    }
}

const struct row memory_rows[] = {
    {.name = "stream",
     .unit = "MB/s",
     .per_round = 3 * 8 * MIB / 1e6,
     .work = stream,
     .begin = allocate_25m,
     .end = release},
    {.name = "stream-conflict",
     .unit = "MB/s",
     .per_round = 3 * 8 * MIB / 1e6,
     .work = stream_conflict,
     .begin = allocate_25m,
     .end = release},
    {.name = "load-cached",
     .unit = "M/s",
     .per_round = 1 / 1e6,
     .work = chase,
     .begin = begin_cached,
     .end = release},
    {.name = "load-far",
     .unit = "M/s",
     .per_round = 1 / 1e6,
     .work = chase,
     .begin = begin_far,
     .end = release},
    {.name = "copy-sse",
     .unit = "MB/s",
     .per_round = 32768 / 1e6,
     .work = copy_sse,
     .begin = allocate_64k,
     .end = release},
    {.name = "copy-rep-movs",
     .unit = "MB/s",
     .per_round = 32768 / 1e6,
     .work = copy_string,
     .begin = allocate_64k,
     .end = release},
    {.name = NULL},
};
