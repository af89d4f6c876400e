/* The parts of the guest, and the page that they map as they like. */
#ifndef PAGING_TESTS_H
#define PAGING_TESTS_H

#include <stdint.h>

#include "conformance.h"
#include "interrupts.h"
#include "paging.h"
#include "provoke.h"

#define PF_P 1
#define PF_W 2
#define PF_U 4
#define PF_RSVD 8
#define PF_I 16

#define PTE_PWT 0x008ull
#define PTE_PCD 0x010ull
#define PTE_PAT 0x080ull /* of a 4 KiB page */
#define PTE_G 0x100ull
#define PTE_PAT_LARGE 0x1000ull

#define CR0_WP 0x10000ull
#define CR4_PGE 0x80ull
#define EFER_NXE 0x800ull

/* Two frames behind AREA and AREA_NEXT, mapped with PTE_P | PTE_W before each part. */
#define AREA (WINDOW + 0x10000)
#define AREA_NEXT (AREA + PAGE_BYTES)
extern uint8_t frames[4][PAGE_BYTES];

static inline uint64_t *leaf(uint64_t address)
{
	return page_entry(address);
}

/* Maps AREA and AREA_NEXT to the first two frames with these flags. */
void map_area(uint64_t flags);
/* The same for one of them. */
void map_first(uint64_t flags);
void map_second(uint64_t flags);

void test_flushes(void);
void test_bits(void);
void test_crossing(void);
void test_implicit(void);
void test_addresses(void);

/* As CHECK_FAULT, and CR2. */
#define CHECK_PAGE_FAULT(name, error_code_, address)         \
	do {                                                 \
		CHECK_FAULT(name, VECTOR_PF, error_code_);   \
		CHECK(name " cr2", seen.cr2, address);       \
	} while (0)

#endif
