/* What a late step does: it spins, gives the core away or sleeps, up to a few hundred microseconds. */
#include "engine.h"

#ifdef MPVM_DELAYS

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_SPIN 4096u
#define LONGEST_SLEEP_NS 200000u

static _Thread_local uint64_t random_state;

/* Marsaglia's xorshift64; the state is never 0. */
SIGNAL_SAFE static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* FNV-1a, so that each seed picks other steps. */
SIGNAL_SAFE static uint64_t hash(uint64_t seed, const char *name)
{
    uint64_t value = 0xcbf29ce484222325u ^ seed * 0x9e3779b97f4a7c15u;

    for (; *name != '\0'; name++) {
        value = (value ^ (unsigned char)*name) * 0x100000001b3u;
    }
    return value ^ value >> 32;
}

/* Whether `names`, which commas part, has `name`. */
SIGNAL_SAFE static bool listed(const char *names, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = strstr(names, name); at != NULL; at = strstr(at + 1, name)) {
        if ((at == names || at[-1] == ',') && (at[length] == ',' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

SIGNAL_SAFE static void step_know(struct delay_step *step)
{
    static const uint32_t one_in[] = {0, 64, 8, 1};
    const char *asked = getenv("MPVM_DELAYS");
    char *names;
    uint64_t seed;

    step->known = true;
    if (asked == NULL) {
        return;
    }
    seed = strtoull(asked, &names, 10);
    if (*names == ':') {
        step->one_in = listed(names + 1, step->name);
    } else {
        step->one_in = one_in[hash(seed, step->name) % (sizeof(one_in) / sizeof(one_in[0]))];
    }
    if (random_state == 0) {
        random_state = hash(seed, "delays") + (self != NULL ? self->index : 0) * 2 + 1;
    }
}

SIGNAL_SAFE void delay_step(struct delay_step *step)
{
    int error = errno;
    uint64_t random;

    if (!step->known) {
        step_know(step);
    }
    if (step->one_in == 0) {
        return;
    }
    random = random_next();
    if (random % step->one_in != 0) {
        return;
    }
    random >>= 8;
    switch (random % 4) {
    case 0:
        sched_yield();
        break;
    case 1:
        for (uint64_t spins = (random >> 8) % LONGEST_SPIN; spins > 0; spins--) {
            __builtin_ia32_pause();
        }
        break;
    default:
        /* A kick ends it, as it would end any wait. */
        nanosleep(&(struct timespec){.tv_nsec = (long)((random >> 8) % LONGEST_SLEEP_NS)}, NULL);
        break;
    }
    errno = error;
}

#else

/* C wants something in every file. */
typedef int delays_are_off;

#endif
