/* To ring 3 and back. */
#ifndef GUEST_RING3_H
#define GUEST_RING3_H

#include <stdint.h>

/* Goes to ring 3 with these registers; returns the value that ring3_leave() is given by a handler on
 * the same CPU. Interrupts are off then. One CPU at a time. */
uint64_t ring3_enter(uint64_t rip, uint64_t rsp, uint64_t rflags, uint64_t cs);
_Noreturn void ring3_leave(uint64_t value);

#endif
