/* The IDT and who handles what. */
#ifndef GUEST_INTERRUPTS_H
#define GUEST_INTERRUPTS_H

#include <stdbool.h>
#include <stdint.h>

/* What vectors.S and the CPU push; a handler may change it. */
struct interrupt_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector;
	uint64_t error_code;
	uint64_t rip, cs, rflags, rsp, ss;
};

typedef void interrupt_handler(struct interrupt_frame *frame);

enum vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_UD = 6,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_AC = 17,
	VECTOR_MC = 18,
	VECTOR_PIC = 0x20, /* 16 of them */
	VECTOR_TIMER = 0x40,
	VECTOR_RING = 0x50,
	VECTOR_TEST = 0x60, /* a test's own from here to 0xef */
	VECTOR_WAKE = 0xf0,
	VECTOR_SPURIOUS = 0xff,
};

/* Interrupt stack table entries: these handlers run whatever has become of the stack. */
enum { IST_DOUBLE_FAULT = 1, IST_NMI = 2 };

void interrupts_init(void);
/* Loads the common IDT on this CPU. */
void interrupts_load(void);
/* The default handler of an exception or a foreign interrupt reports it and ends the guest. */
void set_handler(int vector, interrupt_handler *handler);
/* An absent gate makes its vector end in #NP. */
void set_gate_present(int vector, bool present);
/* Lets ring 3 raise the vector by INT n. */
void allow_from_ring3(int vector);

#endif
