// Code that one CPU writes and others run: functions of all threads lie side by side in the same pages. A
// function is changed only while nobody runs it, and whoever comes to run it executes a serializing
// instruction first (Intel SDM vol. 3, 8.1.3, "Handling Self- and Cross-Modifying Code").
#include "loads.h"
#include "generate.h"

#include <cpuid.h>
#include <sys/mman.h>

enum { SLOTS = 24, SLOT_BYTES = (MAX_FUNCTION_BYTES + 15) / 16 * 16 };

// `users` is how many run the function, or WRITER.
#define WRITER (-1)

static struct slot {
    _Alignas(64) atomic_int users;
    struct plan plan;
} slots[SLOTS];

static unsigned char *code;

static void serialize(void)
{
    unsigned a, b, c, d;
    __cpuid(0, a, b, c, d);
}

static bool change(struct slot *slot, unsigned char *place, uint64_t *random)
{
    int nobody = 0;
    if (!atomic_compare_exchange_strong(&slot->users, &nobody, WRITER)) {
        return false;
    }
    slot->plan = make_plan(random);
    generate(&slot->plan, place);
    atomic_store(&slot->users, 0);
    return true;
}

static bool use(struct slot *slot, unsigned char *place, uint64_t *random)
{
    int others = atomic_load(&slot->users);
    do {
        if (others == WRITER) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&slot->users, &others, others + 1));
    serialize();
    uint64_t argument = next_random(random);
    uint64_t result = ((function *)place)(argument);
    if (result != evaluate(&slot->plan, argument)) {
        fail("slot %d gives 0x%lx: 0x%lx is right", (int)(slot - slots), result,
             evaluate(&slot->plan, argument));
    }
    atomic_fetch_sub(&slot->users, 1);
    return true;
}

static long play(int number)
{
    uint64_t random = (uint64_t)number;
    long rounds = 0;
    while (!over()) {
        int number_of_slot = (int)(next_random(&random) % SLOTS);
        struct slot *slot = &slots[number_of_slot];
        unsigned char *place = code + number_of_slot * SLOT_BYTES;
        bool writes = next_random(&random) % 8 == 0;
        rounds += writes ? change(slot, place, &random) : use(slot, place, &random);
    }
    return rounds;
}

long publish_load(void)
{
    code = MUST(mmap(NULL, SLOTS * SLOT_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    uint64_t random = 1;
    for (int slot = 0; slot < SLOTS; slot++) {
        slots[slot].plan = make_plan(&random);
        generate(&slots[slot].plan, code + slot * SLOT_BYTES);
    }
    return on_threads(cpus() < 2 ? 2 : cpus(), play);
}
