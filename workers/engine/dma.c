/* Stores to guest RAM by the machine, a device's DMA for one, while vCPUs run (docs/coherence.md).
 *
 * The coordinator calls this. It is no vCPU and has no bit in the page map: a page that it stores to stands in
 * VmPage.dma_page meanwhile, and who wants to translate from that page waits for the lock. */
#include "engine.h"

#include <string.h>

struct patience patience_of(uint64_t ns)
{
    uint64_t until_ns = monotonic_ns() + ns;

    return (struct patience){
        .until_ns = until_ns,
        .until = {.tv_sec = (time_t)(until_ns / 1000000000u), .tv_nsec = (long)(until_ns % 1000000000u)},
    };
}

static bool is_over(const struct patience *patience)
{
    return monotonic_ns() >= patience->until_ns;
}

/* Take the lock from nobody or from one who has lent it; it goes back as it was found. A vCPU in an exit that
 * waits for us has lent it if it has it at all. */
bool machine_lock(uint32_t *lock, uint32_t *found, const struct patience *patience)
{
    if (lock_try(lock)) {
        *found = LOCK_FREE;
        return true;
    }
    for (;;) {
        uint32_t wanted = __atomic_load_n(lock, __ATOMIC_SEQ_CST) == LOCK_LENT ? LOCK_LENT : LOCK_FREE;

        if (lock_take_or_sleep(lock, wanted, &patience->until)) {
            *found = wanted;
            return true;
        }
        if (is_over(patience)) {
            /* Our sleep may have ended by the wake that was for one of those who sleep on. */
            futex_wake(lock, 1);
            return false;
        }
    }
}

/* Wait until a vCPU that has been kicked has read its mail. */
static bool await(struct mpvm_vcpu_area *area, const struct patience *patience)
{
    for (;;) {
        uint32_t answered = __atomic_load_n(&area->mailbox.answered, __ATOMIC_SEQ_CST);

        __atomic_store_n(&area->mailbox.awaited, 1, __ATOMIC_SEQ_CST);
        if (outside_or_answered(area)) {
            return true;
        }
        if (is_over(patience)) {
            return false;
        }
        futex_wait(&area->mailbox.answered, answered, &patience->until);
    }
}

/* Mail `targets`, and kick those in the guest. Called with the lock held. */
void machine_ask(struct mpvm_vm_page *vm, uint64_t targets, uint32_t kind, uint32_t page)
{
    mail_post(vm, targets, kind, page);
    STEP(dma_kick);
    for (uint64_t rest = targets; rest != 0; rest &= rest - 1) {
        struct mpvm_vcpu_area *area = area_of(vm, (unsigned)__builtin_ctzll(rest));

        if (!outside_or_answered(area)) {
            kick_area(area);
        }
    }
}

/* Wait until all `targets`, which have been asked, are outside or have answered. */
bool machine_await(struct mpvm_vm_page *vm, uint64_t targets, const struct patience *patience)
{
    for (uint64_t rest = targets; rest != 0; rest &= rest - 1) {
        STEP(dma_await);
        if (!await(area_of(vm, (unsigned)__builtin_ctzll(rest)), patience)) {
            return false;
        }
    }
    return true;
}

/* No vCPU runs a translation of `page` any more. Who claims it from now on waits for the lock. */
static bool code_take_away(struct mpvm_vm_page *vm, uint32_t page, const struct patience *patience)
{
    _Atomic uint64_t *holders = (_Atomic uint64_t *)((uint8_t *)vm + vm->holders_offset) + page;
    uint64_t targets = atomic_load(holders);

    if (targets == 0) {
        return true;
    }
    machine_ask(vm, targets, MPVM_MAIL_DROP_CODE, page);
    if (!machine_await(vm, targets, patience)) {
        return false;
    }
    STEP(dma_answered);
    atomic_fetch_and(holders, ~targets);
    return true;
}

/* What a device stores at once the guest sees at once: an index, a status. */
static void memory_store(void *to, const void *from, uint64_t length)
{
    if (length == 2 && (uintptr_t)to % 2 == 0) {
        uint16_t value;

        memcpy(&value, from, sizeof(value));
        __atomic_store_n((uint16_t *)to, value, __ATOMIC_RELEASE);
    } else if (length == 4 && (uintptr_t)to % 4 == 0) {
        uint32_t value;

        memcpy(&value, from, sizeof(value));
        __atomic_store_n((uint32_t *)to, value, __ATOMIC_RELEASE);
    } else if (length == 8 && (uintptr_t)to % 8 == 0) {
        uint64_t value;

        memcpy(&value, from, sizeof(value));
        __atomic_store_n((uint64_t *)to, value, __ATOMIC_RELEASE);
    } else {
        memcpy(to, from, length);
    }
}

static bool page_store(struct mpvm_vm_page *vm, uint32_t page, void *to, const void *from, uint64_t length,
                       const struct patience *patience)
{
    uint32_t found;
    bool done;

    if (!machine_lock(&vm->coherence_lock, &found, patience)) {
        return false;
    }
    STEP(dma_lock_held);
    __atomic_store_n(&vm->dma_page, page + 1, __ATOMIC_SEQ_CST);
    STEP(dma_announced);
    done = code_take_away(vm, page, patience);
    if (done) {
        memory_store(to, from, length);
        STEP(dma_stored);
        if (vm->dirty_logging) {
            dirty_mark(vm, page);
        }
    }
    __atomic_store_n(&vm->dma_page, 0, __ATOMIC_SEQ_CST);
    STEP(dma_unlock);
    lock_leave(&vm->coherence_lock, found);
    return done;
}

/* Store `length` bytes at `offset` of the RAM block, in ascending order of pages. Returns how many are stored: less
 * than all when some vCPU has let nobody store for `patience_ns`. */
ENGINE_EXPORT uint64_t engine_dma_write(void *vm_block, uint8_t *ram, uint64_t offset, const uint8_t *data,
                                        uint64_t length, uint64_t patience_ns)
{
    struct patience patience = patience_of(patience_ns);
    uint64_t done = 0;

    while (done < length) {
        uint64_t at = offset + done;
        uint64_t room = PAGE_BYTES - at % PAGE_BYTES;
        uint64_t part = length - done < room ? length - done : room;

        if (!page_store(vm_block, (uint32_t)(at >> PAGE_SHIFT), ram + at, data + done, part, &patience)) {
            break;
        }
        done += part;
    }
    return done;
}
