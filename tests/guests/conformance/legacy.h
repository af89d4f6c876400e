/* Protected mode without long mode, for conformance guests: the C side of legacy.inc, which says how it works. */
#ifndef TEST_LEGACY_H
#define TEST_LEGACY_H

#include <stdint.h>

#include "conformance.h"
#include "string.h"

enum {
	LEGACY_CODE = 0x08,
	LEGACY_DATA = 0x10,
	LEGACY_USER_CODE = 0x1b,
	LEGACY_USER_DATA = 0x23,
	LEGACY_TSS = 0x28,
	LEGACY_CODE64 = 0x30,
	LEGACY_CODE16 = 0x38,
	LEGACY_DATA16 = 0x40,
	LEGACY_SPARE = 0x48, /* from here to 0x1ff */
	LEGACY_GDT_LIMIT = 0x1ff,
};

/* Access bytes of descriptors (SDM vol. 3, figure 3-8 and table 3-2). */
enum {
	DATA_RO = 0x91,
	DATA_RW = 0x93,
	DATA_DOWN = 0x97,
	CODE_X = 0x99,
	CODE_RX = 0x9b,
	CODE_CONFORMING = 0x9f,
	TSS16 = 0x81,
	LDT = 0x82,
	CALL16 = 0x84,
	TASK_GATE = 0x85,
	INT16 = 0x86,
	TRAP16 = 0x87,
	TSS32 = 0x89,
	TSS32_BUSY = 0x8b,
	CALL32 = 0x8c,
	INT32 = 0x8e,
	TRAP32 = 0x8f,
	ABSENT = 0x80, /* exclusive-or of an access byte: not present */
	RING3 = 0x60,
	RING1 = 0x20,
};
enum { SMALL = 0, BIG = 0x4, BIG_PAGES = 0xc, LONG_PAGES = 0xa };

extern uint64_t legacy_gdt[64], legacy_ldt[8], legacy_idt[256];
extern uint8_t legacy_tss[0x90];
extern char legacy_stack_top[], legacy_esp0_top[], legacy_user_stack_top[], legacy_handlers[];
extern uint32_t legacy_event[12], legacy_event_count, legacy_event_esp, legacy_event_tr, legacy_event_ds;
extern uint32_t legacy_event_eax, legacy_event_cr2;
void legacy_run(const void *code);

/* What legacy_event holds from the first word on. */
enum { EVENT_VECTOR, EVENT_ERROR_CODE, EVENT_EIP, EVENT_CS, EVENT_EFLAGS, EVENT_ESP, EVENT_SS, EVENT_VM86_ES };

static inline void legacy_describe(uint32_t selector, uint32_t base, uint32_t limit, uint32_t access, uint32_t flags)
{
	uint64_t *table = selector & 4 ? legacy_ldt : legacy_gdt;

	table[selector / 8] = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
			      (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 |
			      (uint64_t)(base >> 24) << 56;
}

static inline uint64_t legacy_gate(uint32_t selector, const void *target, uint32_t access, uint32_t count)
{
	uint64_t offset = (uintptr_t)target;

	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)count << 32 | (uint64_t)access << 40 |
	       (offset >> 16 & 0xffff) << 48;
}

static inline void legacy_set32(void *table, unsigned offset, uint32_t value)
{
	memcpy((uint8_t *)table + offset, &value, sizeof value);
}

static inline void legacy_set16(void *table, unsigned offset, uint16_t value)
{
	memcpy((uint8_t *)table + offset, &value, sizeof value);
}

static inline uint32_t legacy_get32(const void *table, unsigned offset)
{
	uint32_t value;

	memcpy(&value, (const uint8_t *)table + offset, sizeof value);
	return value;
}

static inline uint16_t legacy_get16(const void *table, unsigned offset)
{
	return (uint16_t)legacy_get32(table, offset);
}

static inline uint32_t address32(const void *pointer)
{
	return (uint32_t)(uintptr_t)pointer;
}

/* The tables as legacy_run() is to find them, without what the last test has put there. */
static inline void legacy_reset(void)
{
	memset(legacy_gdt, 0, sizeof legacy_gdt);
	memset(legacy_ldt, 0, sizeof legacy_ldt);
	memset(legacy_tss, 0, sizeof legacy_tss);
	memset(legacy_event, 0, sizeof legacy_event);
	legacy_event_count = 0;
	legacy_describe(LEGACY_CODE, 0, 0xfffff, CODE_RX, BIG_PAGES);
	legacy_describe(LEGACY_DATA, 0, 0xfffff, DATA_RW, BIG_PAGES);
	legacy_describe(LEGACY_USER_CODE, 0, 0xfffff, CODE_RX | RING3, BIG_PAGES);
	legacy_describe(LEGACY_USER_DATA, 0, 0xfffff, DATA_RW | RING3, BIG_PAGES);
	legacy_describe(LEGACY_TSS, address32(legacy_tss), 0x67, TSS32, SMALL);
	legacy_describe(LEGACY_CODE64, 0, 0xfffff, CODE_RX, LONG_PAGES);
	legacy_describe(LEGACY_CODE16, 0, 0xffff, CODE_RX, SMALL);
	legacy_describe(LEGACY_DATA16, 0, 0xffff, DATA_RW, SMALL);
	for (unsigned i = 0; i < 256; i++)
		legacy_idt[i] = legacy_gate(LEGACY_CODE, legacy_handlers + 16 * i, INT32 | RING3, 0);
	legacy_set32(legacy_tss, 4, address32(legacy_esp0_top));
	legacy_set32(legacy_tss, 8, LEGACY_DATA);
	legacy_set16(legacy_tss, 0x66, 0x68);
}

/* That the last run has brought one event, with the error code (0 for a vector without), at `where`. */
#define CHECK_EVENT(name, vector_, error_code_, where)                                       \
	do {                                                                                 \
		CHECK(name " events", legacy_event_count, 1);                                \
		CHECK(name " vector", legacy_event[EVENT_VECTOR], vector_);                  \
		CHECK(name " error code", legacy_event[EVENT_ERROR_CODE], error_code_);      \
		CHECK(name " at the instruction", legacy_event[EVENT_EIP] == address32(where), 1); \
	} while (0)

/* As CHECK_EVENT where QEMU 7.2 has another event, or none; one check, of their number, the vector and the error code. */
#define CHECK_EVENT_NOT_QEMU(name, vector_, error_code_, why)                         \
	CHECK_NOT_QEMU(name " event",                                                        \
		       (uint64_t)legacy_event_count << 32 | legacy_event[EVENT_VECTOR] << 16 | \
			       legacy_event[EVENT_ERROR_CODE],                               \
		       1ull << 32 | (uint32_t)(vector_) << 16 | (error_code_), why)

#endif
