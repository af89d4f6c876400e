// Locked operations of every width by all CPUs at once, aligned, across a cache line and across a page: no
// update is lost, in none of them, and nothing beside the operand changes.
#include "loads.h"

#include <sys/mman.h>

enum { OPERATIONS = 400, SPLITS = 20, PAGE = 4096, LINE = 64, MAX_THREADS = 64 };

static unsigned char *memory; // three pages
static pthread_barrier_t barrier;
static atomic_bool stop;
static atomic_uint holdings; // of the token, counted apart
static int threads;

// One of each that takes LOCK, all of which add up to `count` in the end.
#define ADD_WITH(type, suffix)                                                                               \
    static void add_##type(volatile type *place, int times)                                                  \
    {                                                                                                        \
        for (int i = 0; i < times; i += 4) {                                                                 \
            type expected = *place;                                                                          \
            type one = 1;                                                                                    \
            bool done;                                                                                       \
            __asm__ volatile("lock inc" suffix " %0" : "+m"(*place) : : "cc", "memory");                     \
            __asm__ volatile("lock xadd %1, %0" : "+m"(*place), "+q"(one) : : "cc", "memory");               \
            __asm__ volatile("lock sub" suffix " $-1, %0" : "+m"(*place) : : "cc", "memory");                \
            do {                                                                                             \
                type next = (type)(expected + 1);                                                            \
                __asm__ volatile("lock cmpxchg %3, %0"                                                       \
                                 : "+m"(*place), "+a"(expected), "=@ccz"(done)                               \
                                 : "q"(next)                                                                 \
                                 : "memory");                                                                \
            } while (!done);                                                                                 \
        }                                                                                                    \
    }

ADD_WITH(uint8_t, "b")
ADD_WITH(uint16_t, "w")
ADD_WITH(uint32_t, "l")
ADD_WITH(uint64_t, "q")

static void add_128(volatile uint64_t *place, int times)
{
    uint64_t low = place[0];
    uint64_t high = place[1];
    for (int i = 0; i < times; i++) {
        bool done;
        do {
            uint64_t next_low = low + 1;
            uint64_t next_high = high + 3;
            __asm__ volatile("lock cmpxchg16b %0"
                             : "+m"(*(volatile unsigned __int128 *)place), "+a"(low), "+d"(high),
                               "=@ccz"(done)
                             : "b"(next_low), "c"(next_high)
                             : "memory");
        } while (!done);
        low++;
        high += 3;
    }
}

// Bits of one word, each set and cleared by its own thread; XCHG passes a token about.
static void flip(volatile uint64_t *bits, volatile uint32_t *token, int number, int times)
{
    static _Thread_local uint32_t held;
    for (int i = 0; i < times; i++) {
        bool was;
        __asm__ volatile("lock btsq %2, %0" : "+m"(*bits), "=@ccc"(was) : "r"((uint64_t)number) : "memory");
        if (was) {
            fail("bit %d is set though its thread has cleared it", number);
        }
        __asm__ volatile("lock btrq %2, %0" : "+m"(*bits), "=@ccc"(was) : "r"((uint64_t)number) : "memory");
        if (!was) {
            fail("bit %d is clear though its thread has set it", number);
        }
        __asm__ volatile("xchgl %1, %0" : "+m"(*token), "+r"(held) : : "memory");
        if (held != 0) {
            // The token: only its holder counts, and gives it back.
            volatile uint32_t *count = token + 1;
            *count += 1;
            atomic_fetch_add(&holdings, 1);
            __asm__ volatile("xchgl %1, %0" : "+m"(*token), "+r"(held) : : "memory");
            if (held != 0) {
                fail("there are two tokens");
            }
        }
    }
}

// Where the operands are. Each is looked at with the bytes beside it.
static const struct operand {
    int offset;
    int bytes;
    int times;
} operands[] = {
    {0, 1, OPERATIONS},        {LINE, 2, OPERATIONS},      {2 * LINE, 4, OPERATIONS},
    {3 * LINE, 8, OPERATIONS}, {4 * LINE, 16, OPERATIONS}, {7 * LINE - 1, 2, SPLITS},
    {9 * LINE - 3, 4, SPLITS}, {11 * LINE - 5, 8, SPLITS}, {PAGE - 4, 8, SPLITS},
    {2 * PAGE - 2, 4, SPLITS},
};

enum { OPERANDS = sizeof(operands) / sizeof(*operands), BITS = 20 * LINE, TOKEN = 22 * LINE };

static void add(const struct operand *operand)
{
    unsigned char *place = memory + operand->offset;
    switch (operand->bytes) {
    case 1:
        add_uint8_t(place, operand->times);
        break;
    case 2:
        add_uint16_t((uint16_t *)place, operand->times);
        break;
    case 4:
        add_uint32_t((uint32_t *)place, operand->times);
        break;
    case 8:
        add_uint64_t((uint64_t *)place, operand->times);
        break;
    default:
        add_128((uint64_t *)place, operand->times);
    }
}

static void check(long rounds)
{
    for (int i = 0; i < OPERANDS; i++) {
        const struct operand *operand = &operands[i];
        uint64_t low = 0;
        uint64_t high = 0;
        memcpy(&low, memory + operand->offset, operand->bytes < 8 ? (size_t)operand->bytes : 8);
        memcpy(&high, memory + operand->offset + 8, operand->bytes == 16 ? 8 : 0);
        uint64_t added = (uint64_t)rounds * (uint64_t)threads * (uint64_t)operand->times;
        uint64_t right = operand->bytes < 8 ? added & ((1UL << operand->bytes * 8) - 1) : added;
        if (low != right || (operand->bytes == 16 && high != 3 * added)) {
            fail("%d bytes at %d count 0x%lx of 0x%lx", operand->bytes, operand->offset, low, right);
        }
        if (memory[operand->offset + operand->bytes] != 0 ||
            (operand->offset > 0 && memory[operand->offset - 1] != 0)) {
            fail("a byte beside the %d at %d has changed", operand->bytes, operand->offset);
        }
    }
    if (*(uint64_t *)(memory + BITS) != 0) {
        fail("bits 0x%lx are left", *(uint64_t *)(memory + BITS));
    }
    if (((uint32_t *)(memory + TOKEN))[1] != atomic_load(&holdings)) {
        fail("the token's holders count %u of %u", ((uint32_t *)(memory + TOKEN))[1], atomic_load(&holdings));
    }
}

static long play(int number)
{
    long rounds = 0;
    while (!atomic_load(&stop)) {
        for (int i = 0; i < OPERANDS; i++) {
            add(&operands[i]);
        }
        flip((uint64_t *)(memory + BITS), (uint32_t *)(memory + TOKEN), number, OPERATIONS);
        rounds++;
        pthread_barrier_wait(&barrier);
        if (number == 0) {
            check(rounds);
            atomic_store(&stop, over());
        }
        pthread_barrier_wait(&barrier);
    }
    return rounds;
}

long atomics_load(void)
{
    threads = cpus() < 2 ? 2 : cpus();
    threads = threads > MAX_THREADS ? MAX_THREADS : threads;
    MUST_BE_0(pthread_barrier_init(&barrier, NULL, (unsigned)threads));
    memory = MUST(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    *(uint32_t *)(memory + TOKEN) = 1;
    return on_threads(threads, play);
}
