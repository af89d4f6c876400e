/* The parts of the debug guest; main.c runs them in this order. */
#ifndef CONFORMANCE_DEBUG_TESTS_H
#define CONFORMANCE_DEBUG_TESTS_H

#include <stdint.h>

#include "interrupts.h"

#define DR6_ONES 0xffff0ff0u
#define DR6_BD 0x2000u
#define DR6_BS 0x4000u
#define DR7_ONES 0x400u
#define DR7_GD 0x2000u
#define CR4_DE 0x8u
#define RFLAGS_RF 0x10000u

/* Of a breakpoint in DR7, by its number (SDM vol. 3, 17.2.4): global, what it waits for, its length. */
enum breakpoint_kind { BREAK_EXECUTE, BREAK_WRITE, BREAK_IO, BREAK_READ_WRITE };
enum breakpoint_length { LENGTH_1, LENGTH_2, LENGTH_8, LENGTH_4 };
#define BREAKPOINT(number, kind, length) (2ull << 2 * (number) | (uint64_t)((kind) | (length) << 2) << (16 + 4 * (number)))

enum { EVENTS_MAX = 12 };

/* The #DBs of a run: where, by bytes from its label 1, with what in DR6, and RF in the frame. */
struct trace {
	uint64_t start;
	uint64_t count;
	uint64_t last;     /* the one that ends single steps */
	uint64_t returned; /* what the handler sets in RFLAGS */
	struct {
		int64_t at;
		uint64_t dr6, rf;
	} event[EVENTS_MAX];
};

extern struct trace trace;
/* What breakpoints are set on. */
extern uint64_t area[8];

/* Each of these clears the trace, DR6 and DR7, and arms. */
void trace_begin(uint64_t dr7);
void set_dr(unsigned number, uint64_t value);
uint64_t get_dr(unsigned number);

/* Runs instructions, which name label 1; RAX has RFLAGS with TF and RBX without. */
#define RUN(instructions, ...)                                                                       \
	do {                                                                                         \
		__asm__ volatile("leaq 1f(%%rip), %%rax; movq %%rax, %0;"                            \
				 "pushfq; popq %%rbx; movq %%rbx, %%rax; orq $0x100, %%rax;"         \
				 instructions                                                        \
				 : "=m"(trace.start)                                                 \
				 : __VA_ARGS__                                                       \
				 : "rax", "rbx", "rcx", "rdx", "rdi", "cc", "memory");               \
	} while (0)

/* Event `n` came `at_` bytes after label 1, with this in DR6 beside what is always set. */
#define CHECK_EVENT(name, n, at_, dr6_)                                         \
	do {                                                                    \
		CHECK(name " event " #n " at", trace.event[(n) - 1].at, at_);  \
		CHECK(name " event " #n " DR6", trace.event[(n) - 1].dr6, dr6_); \
	} while (0)

#define CHECK_EVENT_NOT_QEMU(name, n, at_, dr6_, why)                                          \
	do {                                                                                   \
		CHECK_NOT_QEMU(name " event " #n " at", trace.event[(n) - 1].at, at_, why);   \
		CHECK_NOT_QEMU(name " event " #n " DR6", trace.event[(n) - 1].dr6, dr6_, why); \
	} while (0)

#define CHECK_COUNT(name, n) CHECK(name " events", trace.count, n)

void test_steps(void);
void test_registers(void);
void test_breakpoints(void);
void test_shadow(void);

#endif
