/* RDMSR and WRMSR that may fault: as PROVOKE, which has no registers left for their operands. */
#ifndef TEST_PROVOKE_MSR_H
#define TEST_PROVOKE_MSR_H

#include <stdint.h>

#include "provoke.h"

static inline void provoke_write_msr(uint32_t msr, uint64_t value)
{
	seen = (struct seen){ 0 };
	__asm__ volatile("leaq 771f(%%rip), %%r11; movq %%r11, %0; leaq 772f(%%rip), %%r11; movq %%r11, %1;"
			 "771: wrmsr; 772:"
			 : "=m"(at_rip), "=m"(resume_rip)
			 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "r11", "cc", "memory");
}

static inline void provoke_read_msr(uint32_t msr)
{
	uint32_t low, high;

	seen = (struct seen){ 0 };
	__asm__ volatile("leaq 771f(%%rip), %%r11; movq %%r11, %0; leaq 772f(%%rip), %%r11; movq %%r11, %1;"
			 "771: rdmsr; 772:"
			 : "=m"(at_rip), "=m"(resume_rip), "=a"(low), "=d"(high)
			 : "c"(msr)
			 : "r11", "cc", "memory");
}

#endif
