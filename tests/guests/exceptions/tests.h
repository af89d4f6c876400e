/* The parts of the exceptions guest; main.c runs them in this order. */
#ifndef EXCEPTIONS_TESTS_H
#define EXCEPTIONS_TESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "interrupts.h"
#include "paging.h"
#include "smp.h"

#define VECTOR_USER 0x80
#define VECTOR_LEAVE 0x81
#define VECTOR_ABSENT 0x90

#define PF_PRESENT 0x01
#define PF_WRITE 0x02
#define PF_USER 0x04
#define PF_FETCH 0x10

#define USER_CODE_PAGE (WINDOW + 0x0000)
#define USER_STACK_PAGE (WINDOW + 0x2000)
#define USER_READ_ONLY (WINDOW + 0x3000)
#define USER_NO_EXECUTE (WINDOW + 0x4000)
#define KERNEL_READ_ONLY (WINDOW + 0x5000)
#define KERNEL_ONLY (WINDOW + 0x6000)
#define UNMAPPED (WINDOW + 0x8000)
#define USER_STACK (USER_STACK_PAGE + PAGE_BYTES - 16)
/* Nothing but the bit that is always set, and IF. */
#define USER_RFLAGS (RFLAGS_IF | 2)

/* The pieces of user.S, which are copied to USER_CODE_PAGE. */
extern const uint8_t user_code[], user_code_end[];
extern bool has_nx;

enum { STEPS_MAX = 16 };

/* Where the traps of `count` single steps came, of `wanted`. */
struct stepping {
	uint64_t rip[STEPS_MAX];
	uint64_t count, wanted;
	uint64_t dr6, first_dr6;
};

extern struct stepping stepping;

/* The handler of #DB that fills it, and clears TF after the last. */
void step(struct interrupt_frame *frame);

void expect_gate_error(const char *what, int vector, int gate);

void test_faults(void);
void test_quotient_overflow(void);
void test_page_faults(void);
void test_retry(void);
void test_software_interrupts(void);
void test_single_step(void);
void test_data_breakpoints(void);
void test_double_faults(void);
void test_ring3(void);
void test_ring3_step(void);
void test_far_transfers(void);
void test_syscall(void);
void test_compatibility_mode(void);

#endif
