/* A remapping unit's registers (Intel VT-d specification 3.3, chapter 11). */
#ifndef TEST_VTD_REGISTERS_H
#define TEST_VTD_REGISTERS_H

#include <stdint.h>

#include "machine.h"

#define VTD_BASE 0xfed90000u
#define VTD_PAGE 4096

enum vtd_register {
	VTD_VERSION = 0x00,
	VTD_CAP = 0x08,
	VTD_ECAP = 0x10,
	VTD_GCMD = 0x18,
	VTD_GSTS = 0x1c,
	VTD_RTADDR = 0x20,
	VTD_CCMD = 0x28,
	VTD_FSTS = 0x34,
	VTD_FECTL = 0x38,
	VTD_FEDATA = 0x3c,
	VTD_FEADDR = 0x40,
	VTD_IQH = 0x80,
	VTD_IQT = 0x88,
	VTD_IQA = 0x90,
	VTD_ICS = 0x9c,
	VTD_IECTL = 0xa0,
	VTD_IEDATA = 0xa4,
	VTD_IEADDR = 0xa8,
	VTD_IRTA = 0xb8,
	VTD_IVA = 0xf0,
	VTD_IOTLB = 0xf8,
	VTD_FRCD = 0x220,
};

#define GCMD_TE (1u << 31)
#define GCMD_SRTP (1u << 30)
#define GCMD_QIE (1u << 26)
#define GCMD_IRE (1u << 25)
#define GCMD_SIRTP (1u << 24)
#define GCMD_ONE_SHOT (GCMD_SRTP | GCMD_SIRTP)

#define FSTS_PFO 0x01
#define FSTS_PPF 0x02
#define FSTS_IQE 0x10
#define EVENT_MASKED (1u << 31)
#define EVENT_PENDING (1u << 30)
#define FRCD_F (1u << 31)
#define FRCD_READ (1u << 30)

static inline uint32_t vtd_read(uint32_t reg)
{
	return *(volatile uint32_t *)physical(VTD_BASE + reg);
}

/* As a function: QEMU 7.2 looks for interrupts at the end of a block. */
static __attribute__((noinline, unused)) void vtd_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)physical(VTD_BASE + reg) = value;
}

static inline uint64_t vtd_read_wide(uint32_t reg)
{
	return *(volatile uint64_t *)physical(VTD_BASE + reg);
}

static inline void vtd_write_wide(uint32_t reg, uint64_t value)
{
	*(volatile uint64_t *)physical(VTD_BASE + reg) = value;
}

#endif
