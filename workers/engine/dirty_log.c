/* The dirty log: which pages have been stored to since it was last read.
 *
 * A page is marked where a vCPU claims it for writing (docs/coherence.md, rule 2), so the stores that follow cost
 * nothing. Who reads the log takes that claim back, and the next store asks again. */
#include "engine.h"

#define WORD_BITS 64u

static uint64_t *log_of(struct mpvm_vm_page *vm)
{
    return (uint64_t *)(void *)((uint8_t *)vm + vm->dirty_offset);
}

void dirty_mark(struct mpvm_vm_page *vm, uint32_t page)
{
    uint64_t *word = log_of(vm) + page / WORD_BITS;
    uint64_t bit = 1ull << page % WORD_BITS;

    if (!(__atomic_load_n(word, __ATOMIC_SEQ_CST) & bit)) {
        __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
    }
}

static bool is_set(const uint8_t *bitmap, uint32_t bit)
{
    return bitmap[bit / 8] >> bit % 8 & 1;
}

/* Read the log of `count` pages from `first` on into `bitmap`, a bit a page, which is zero, and clear it. A store that
 * is not in it comes after our return. False, and the log is as it was, if some vCPU lets nobody look for
 * `patience_ns`. */
ENGINE_EXPORT bool engine_dirty_log(void *vm_block, uint32_t first, uint32_t count, uint8_t *bitmap,
                                    uint64_t patience_ns)
{
    struct mpvm_vm_page *vm = vm_block;
    struct patience patience = patience_of(patience_ns);
    uint64_t all = 0;
    uint32_t found;
    bool done;

    if (!machine_lock(&vm->coherence_lock, &found, &patience)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bit = 1ull << (first + i) % WORD_BITS;

        /* First: a store that comes between this and the answer is in the memory that our caller reads. */
        if (__atomic_load_n(log_of(vm) + (first + i) / WORD_BITS, __ATOMIC_SEQ_CST) & bit) {
            __atomic_fetch_and(log_of(vm) + (first + i) / WORD_BITS, ~bit, __ATOMIC_SEQ_CST);
            bitmap[i / 8] |= (uint8_t)(1u << i % 8);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        _Atomic uint64_t *writers = (_Atomic uint64_t *)((uint8_t *)vm + vm->writers_offset) + first + i;

        uint64_t targets = is_set(bitmap, i) ? atomic_load(writers) : 0;

        if (targets != 0) {
            all |= targets;
            machine_ask(vm, targets, MPVM_MAIL_WATCH_WRITES, first + i);
        }
    }
    /* Writers take their bits away themselves. We may not: one that has answered may store again by now, and a claim
     * for writing does not ask for the lock. */
    done = machine_await(vm, all, &patience);
    for (uint32_t i = 0; !done && i < count; i++) {
        if (is_set(bitmap, i)) {
            dirty_mark(vm, first + i);
        }
    }
    lock_leave(&vm->coherence_lock, found);
    return done;
}
