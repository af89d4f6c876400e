/* Code that a guest writes and calls: functions of MOV EAX, imm32; RET. */
#ifndef TEST_CODE_H
#define TEST_CODE_H

#include <stdint.h>

#include "machine.h"
#include "string.h"

#define MOV_EAX 0xb8
#define RET 0xc3

enum { FUNCTION_BYTES = 6 };

static inline uint32_t call_code(const void *at)
{
	uint32_t result;

	/* Not through a C function pointer: the compiler may assume that it keeps or changes other things. */
	__asm__ volatile("call *%1" : "=a"(result) : "r"(at) : "rcx", "rdx", "cc", "memory");
	return result;
}

static inline void serialize(void)
{
	cpuid(0, 0);
}

static inline void write_function(void *at, uint32_t value)
{
	uint8_t bytes[FUNCTION_BYTES] = { MOV_EAX };

	memcpy(bytes + 1, &value, sizeof value);
	bytes[5] = RET;
	memcpy(at, bytes, sizeof bytes);
}

#endif
