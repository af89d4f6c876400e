// Futex ping-pong between CPUs, with the system call bare: a lost wake-up hangs, a doubled one breaks the
// turn.
#include "loads.h"

#include <linux/futex.h>
#include <sys/syscall.h>

enum { MAX_PAIRS = 32 };

// `turn` counts up: even numbers are the first thread's turn, odd ones the second's.
static struct pair {
    _Alignas(64) atomic_uint turn;
    unsigned long plain; // only ever written by whose turn it is
    atomic_bool last;
} pairs[MAX_PAIRS];

static void futex_wait(atomic_uint *word, unsigned seen)
{
    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0) != 0 && errno != EAGAIN &&
        errno != EINTR) {
        fail("FUTEX_WAIT: %s", strerror(errno));
    }
}

static long play(int number)
{
    struct pair *pair = &pairs[number / 2];
    long rounds = 0;
    for (unsigned mine = (unsigned)(number % 2);; mine += 2) {
        unsigned turn;
        while ((turn = atomic_load_explicit(&pair->turn, memory_order_acquire)) != mine) {
            if ((int)(turn - mine) > 0) {
                fail("the turn is %u, past %u, which nobody has taken", turn, mine);
            }
            futex_wait(&pair->turn, turn);
        }
        if (pair->plain != mine) {
            fail("in turn %u the other side's store is not seen: %lu", mine, pair->plain);
        }
        pair->plain++;
        // The first thread decides, the second has its last turn after that.
        bool last = number % 2 != 0 ? atomic_load(&pair->last) : over();
        atomic_store(&pair->last, last);
        atomic_store_explicit(&pair->turn, mine + 1, memory_order_release);
        MUST(syscall(SYS_futex, &pair->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
        rounds++;
        if (last) {
            return rounds;
        }
    }
}

long futex_load(void)
{
    int count = cpus() < 2 ? 2 : cpus() / 2 * 2;
    if (count > 2 * MAX_PAIRS) {
        count = 2 * MAX_PAIRS;
    }
    long rounds = on_threads(count, play);
    unsigned long turns = 0;
    for (int pair = 0; pair < count / 2; pair++) {
        turns += pairs[pair].plain;
    }
    if (turns != (unsigned long)rounds) {
        fail("%ld turns were taken, %lu counted", rounds, turns);
    }
    return rounds;
}
