/* The coherence lock: a mutex on a futex word (Drepper, "Futexes Are Tricky"). A vCPU that runs alone keeps it
 * across an exit, but lends it meanwhile to the coordinator, which may have to store on behalf of a device
 * before it answers. */
#include "engine.h"

bool lock_try(uint32_t *lock)
{
    uint32_t seen = LOCK_FREE;

    return __atomic_compare_exchange_n(lock, &seen, LOCK_HELD, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Take the lock if it is `wanted` (LOCK_FREE or LOCK_LENT); otherwise sleep until it may be, a signal comes or
 * `deadline` is over. Whether it is taken. */
bool lock_take_or_sleep(uint32_t *lock, uint32_t wanted, const struct timespec *deadline)
{
    uint32_t seen = __atomic_load_n(lock, __ATOMIC_SEQ_CST);

    if (seen == LOCK_HELD || seen == wanted) {
        /* Others may sleep: who takes it leaves it contended, too. */
        if (!__atomic_compare_exchange_n(lock, &seen, LOCK_CONTENDED, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST)) {
            return false;
        }
        if (seen == wanted) {
            return true;
        }
        seen = LOCK_CONTENDED;
    }
    if (seen != LOCK_FREE) {
        futex_wait(lock, seen, deadline);
    }
    return false;
}

/* Leave the lock LOCK_FREE, for one of those that sleep, or LOCK_LENT, for one that only some may take. */
void lock_leave(uint32_t *lock, uint32_t as)
{
    if (__atomic_exchange_n(lock, as, __ATOMIC_SEQ_CST) != LOCK_HELD) {
        futex_wake(lock, as == LOCK_FREE ? 1 : INT32_MAX);
    }
}
