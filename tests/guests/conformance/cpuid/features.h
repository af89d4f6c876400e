/* Each of CPUID's feature flags tells whether an instruction is there. */
#ifndef FEATURES_H
#define FEATURES_H

#include "conformance.h"
#include "provoke.h"

enum cpuid_register { EAX, EBX, ECX, EDX };

static inline bool has(uint32_t function, uint32_t index, enum cpuid_register reg, unsigned bit)
{
	struct cpuid leaf = cpuid(function & 0x80000000, 0);

	if (function > leaf.eax)
		return false;
	leaf = cpuid(function, index);
	return (reg == EAX ? leaf.eax : reg == EBX ? leaf.ebx : reg == ECX ? leaf.ecx : leaf.edx) >> bit & 1;
}

/* With the flag the instructions run; without it the first of them is #UD. EAX, ECX and EDX are what `setup` makes of them. */
#define FEATURE_IS(check, present, setup, instructions, ...)                                      \
	do {                                                                                       \
		bool present_ = (present);                                                         \
		PROVOKE_AFTER(setup, instructions, [at] "m"(operand));                             \
		check(present_ ? seen.count == 0                                                   \
			       : seen.count == 1 && seen.vector == VECTOR_UD && seen.rip == at_rip, \
		      __VA_ARGS__);                                                                \
	} while (0)
#define FEATURE_CHECK(got, name) CHECK(name " is as CPUID says", got, true)
#define FEATURE_CHECK_NOT_QEMU(got, name) \
	CHECK_NOT_QEMU(name " is as CPUID says", got, true, "runs it without the flag, SDM vol. 2, its page")
#define FEATURE_AFTER(name, present, setup, instructions) \
	FEATURE_IS(FEATURE_CHECK, present, setup, instructions, name)
#define FEATURE_NOT_QEMU(name, present, setup, instructions) \
	FEATURE_IS(FEATURE_CHECK_NOT_QEMU, present, setup, instructions, name)
#define FEATURE(name, present, instructions) FEATURE_AFTER(name, present, "", instructions)

extern uint8_t operand[512];

void test_leaf_1(void);
void test_leaf_7(void);
void test_extended(void);
void test_vectors(void);

#endif
