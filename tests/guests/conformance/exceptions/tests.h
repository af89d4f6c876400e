/* The parts of the exceptions guest; main.c runs them in this order. */
#ifndef CONFORMANCE_EXCEPTIONS_TESTS_H
#define CONFORMANCE_EXCEPTIONS_TESTS_H

#include <stdint.h>

/* The library has no handler of these by default. */
#define VECTOR_NM 7

/* What instructions may load from and store to. */
extern uint8_t area[256];

void test_encodings(void);
void test_lock(void);
void test_alignment(void);
void test_canonical(void);
void test_units(void);
void test_ferr(void);

#endif
