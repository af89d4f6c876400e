/* What the parts of this guest share. */
#ifndef IOMMU_TESTS_H
#define IOMMU_TESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "edu.h"
#include "vtd_registers.h"

/* How `edu` is called by who remaps what it asks for: bus, device and function. */
static inline unsigned edu_requester(void)
{
	return edu_slot << 3;
}

#define VTD_RECORDED (1ull << 63)

/* Gives a command, and waits until the status register has its bits as it wants them. */
void vtd_command(uint32_t set, uint32_t clear);
/* Everything cached is forgotten, by the queue. */
void vtd_flush(void);

void test_edu(void);
void test_board(void);
void test_registers(void);
void test_translation(void);
void test_interrupts(void);

#endif
