/* Time by the ACPI PM timer. */
#ifndef GUEST_TIMER_H
#define GUEST_TIMER_H

#include <stdint.h>

/* Any CPU may wait at any time: the state is the caller's own. */
void delay_us(uint32_t us);

struct stopwatch {
	uint32_t last;
	uint64_t ticks;
};

/* A stopwatch is right as long as it is read more often than the timer wraps (4.6 s for 24 bits). */
void stopwatch_start(struct stopwatch *watch);
uint64_t stopwatch_us(struct stopwatch *watch);

#endif
