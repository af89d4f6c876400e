/* What the code at the waking vector and the C code share. */
#ifndef TEST_SUSPEND_H
#define TEST_SUSPEND_H

/* The waking vector: its low four bits are the offset in the segment that the rest names. */
#define VECTOR 0x9008
/* What it found: CS, the offset it runs at, CR0, RFLAGS. */
#define TOLD_CS 0x9800
#define TOLD_IP 0x9804
#define TOLD_CR0 0x9808
#define TOLD_FLAGS 0x980c

#endif
