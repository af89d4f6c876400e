/* Runs instructions that fault or trap, and records the exceptions that arrive. */
#ifndef TEST_PROVOKE_H
#define TEST_PROVOKE_H

#include <stdint.h>

#include "interrupts.h"
#include "machine.h"

enum { ERROR_CODE_EXT = 1 };

struct seen {
	uint64_t count;
	uint64_t vector, error_code, rip, cs, rflags, rsp, ss, cr2;
};

/* Weak, so that all sources of a guest share one of each. */
__attribute__((weak)) struct seen seen;
__attribute__((weak)) uint64_t at_rip, resume_rip;

static inline void record(const struct interrupt_frame *frame)
{
	seen = (struct seen){
		.count = seen.count + 1,
		.vector = frame->vector,
		.error_code = frame->error_code,
		.rip = frame->rip,
		.cs = frame->cs,
		.rflags = frame->rflags,
		.rsp = frame->rsp,
		.ss = frame->ss,
		.cr2 = read_cr2(),
	};
}

static inline void skip_fault(struct interrupt_frame *frame)
{
	record(frame);
	frame->rip = resume_rip;
}

/* The instructions' first byte must be the one that faults; afterwards `seen` tells of it. `setup` comes before. */
#define PROVOKE_AFTER(setup, instructions, ...)                                            \
	do {                                                                               \
		seen = (struct seen){ 0 };                                                 \
		__asm__ volatile("leaq 771f(%%rip), %%r11; movq %%r11, %0;"                \
				 "leaq 772f(%%rip), %%r11; movq %%r11, %1;" setup ";"      \
				 "771:" instructions "; 772:"                              \
				 : "=m"(at_rip), "=m"(resume_rip)                          \
				 : __VA_ARGS__                                             \
				 : "rax", "rcx", "rdx", "r11", "cc", "memory");            \
	} while (0)

#define PROVOKE(instructions, ...) PROVOKE_AFTER("", instructions, __VA_ARGS__)

/* By check.h's EXPECT; conformance.h has a form of its own. */
#define EXPECT_FAULT(what, vector_, error_code_)                                           \
	do {                                                                               \
		EXPECT(what ": exceptions", seen.count, 1);                                \
		EXPECT(what ": vector", seen.vector, vector_);                             \
		EXPECT(what ": error code", seen.error_code, error_code_);                 \
		EXPECT(what ": rip", seen.rip, at_rip);                                    \
	} while (0)

#endif
