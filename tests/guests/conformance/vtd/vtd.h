/* A remapping unit's queue and its faults, for the parts of this guest. */
#ifndef TEST_VTD_H
#define TEST_VTD_H

#include <stdbool.h>
#include <stdint.h>

#include "conformance.h"
#include "vtd_registers.h"

/* One command in the place of the last one-shot, and what is on stays on. */
static inline void vtd_command(uint32_t set, uint32_t clear)
{
	vtd_write(VTD_GCMD, ((vtd_read(VTD_GSTS) & ~GCMD_ONE_SHOT) | set) & ~clear);
}

/* Puts two quadwords into the queue, and has them carried out. */
void queue_put(uint64_t low, uint64_t high);
/* Nothing that the unit may have cached holds any more. */
void queue_invalidate_all(void);

/* The fault that is recorded: reason, type and requester; 0 when there is none. It is cleared. */
uint64_t take_fault(uint64_t *address);

void test_registers(void);
void test_queue(void);
void test_translation(void);
void test_interrupts(void);

#endif
