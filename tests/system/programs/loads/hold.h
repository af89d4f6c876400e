// Registers that are held for a while, to be compared after it.
#ifndef HOLD_H
#define HOLD_H

#include <stdint.h>

// The layout is known to the assembly in hold.c.
struct held {
    _Alignas(16) uint8_t fx[512]; // as FXSAVE64 writes it (Intel SDM vol. 1, table 10-2)
    uint64_t general[12];         // RBX, RBP, RSI, RDI, R8, R9, R10, R12 to R15, RDX
    uint64_t flags;
};

// Random contents for all registers that user code may hold.
void randomize(struct held *registers, uint64_t *random);

// Loads `wanted`, counts RCX down from `spins`, makes the system call `call` without arguments that matter,
// counts down once more, and stores what is there to `found`. Fails where it is not what was loaded.
void hold(const struct held *wanted, unsigned long spins, long call);

// Overwrites the SSE and x87 registers: what a signal handler may do without the thread's noticing it.
void clobber(uint64_t seed);

#endif
