/* The tests as data: what each thread does to X and Y, what is looked at, and what must never be seen. */
#ifndef LITMUS_SHAPES_H
#define LITMUS_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

enum { THREADS_MAX = 4, REGISTERS = 2, OBSERVED_MAX = 4, FORBIDDEN_MAX = 2 };

/* Runs one thread's instructions; what they load goes to `r`. */
typedef void thread(uint64_t *x, uint64_t *y, uint64_t r[REGISTERS]);

/* An observed value: a thread's register, or what memory holds in the end. */
enum observed { NOTHING, T0_R0, T0_R1, T1_R0, T1_R1, T2_R0, T2_R1, T3_R0, T3_R1, FINAL_X, FINAL_Y };

struct shape {
	const char *name;
	const char *text;
	thread *threads[THREADS_MAX];
	enum observed observed[OBSERVED_MAX];
	/* Values from 0 to 3 in the order of `observed`; '*' is any. */
	const char *forbidden[FORBIDDEN_MAX];
	/* QEMU 7.2 leaves the SDM here: a failure only with strict=1. */
	bool reference_deviates;
};

extern const struct shape shapes[];
extern const int shape_count;

#endif
