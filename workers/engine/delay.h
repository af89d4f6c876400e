/* Fault injection: a build with -DMPVM_DELAYS can be late at every step of what vCPUs do with each other, so
 * that races which are a few instructions wide get wide. In a normal build a step is nothing.
 *
 * The environment says when (docs/coherence.md): MPVM_DELAYS=SEED has each step late never, seldom, often or
 * always, as the seed decides; MPVM_DELAYS=SEED:step,step has those that are named late always, no other. */
#ifndef MPVM_DELAY_H
#define MPVM_DELAY_H

#ifdef MPVM_DELAYS

#include <stdbool.h>
#include <stdint.h>

struct delay_step {
    const char *name;
    bool known;
    uint32_t one_in; /* how often it is late: one time in so many; 0: never */
};

void delay_step(struct delay_step *step);

#define STEP(name)                                                                                           \
    do {                                                                                                     \
        static struct delay_step step_ = {#name, false, 0};                                                  \
        delay_step(&step_);                                                                                  \
    } while (0)

#else

#define STEP(name) ((void)0)

#endif

#endif
