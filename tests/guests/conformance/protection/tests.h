/* The parts of the guest. */
#ifndef PROTECTION_TESTS_H
#define PROTECTION_TESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "conformance.h"
#include "interrupts.h"
#include "provoke.h"

#define PF_P 1
#define PF_W 2
#define PF_U 4
#define PF_PK 32

#define CR0_PE (1ull << 0)
#define CR0_WP (1ull << 16)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define CR4_LA57 (1ull << 12)
#define CR4_OSXSAVE (1ull << 18)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)
#define CR4_PKE (1ull << 22)
#define CR4_PKS (1ull << 24)
#define RFLAGS_AC (1ull << 18)

/* Runs code in ring 3 until it faults or ends by INT $VECTOR_TEST; `seen` tells of the fault. */
void in_ring3(const uint8_t *code, unsigned size);

#define CHECK_RING3(name, vector_, ...)                           \
	do {                                                      \
		static const uint8_t code[] = { __VA_ARGS__ };    \
                                                                  \
		in_ring3(code, sizeof code);                      \
		CHECK(name " faults", seen.count, 1);             \
		CHECK(name " vector", seen.vector, vector_);      \
		CHECK(name " error code", seen.error_code, 0);    \
	} while (0)

void test_control_registers(void);
void test_smap(void);
void test_protection_keys(void);

#endif
