/* One access in 32-bit protected mode: what C asks of legacy.S, and what comes back. */
#ifndef LEGACY_H
#define LEGACY_H

#define LEGACY_CR0 0
#define LEGACY_CR3 4
#define LEGACY_CR4 8
#define LEGACY_EFER 12
#define LEGACY_KIND 16
#define LEGACY_ADDRESS 20
#define LEGACY_POKE 24
#define LEGACY_POKED 28
#define LEGACY_RELOAD 32
#define LEGACY_VECTOR 36
#define LEGACY_ERROR_CODE 40
#define LEGACY_CR2 44
#define LEGACY_EIP 48
#define LEGACY_VALUE 52

#define KIND_READ 0
#define KIND_WRITE 1
#define KIND_FETCH 2
#define KIND_NONE 3

#define NO_VECTOR 0xff
#define OPCODE_RET 0xc3

#ifndef __ASSEMBLER__
#include <stdint.h>

struct legacy {
	/* The registers there. */
	uint32_t cr0, cr3, cr4, efer;
	/* If there is something to poke, the address is read first, then a 32-bit word is stored, which no flush follows,
	 * and what is accessed is the page after the address. */
	uint32_t kind, address, poke, poked;
	/* CR3 then, unless 0. */
	uint32_t reload;
	/* What came: NO_VECTOR and what was read, or an exception. */
	uint32_t vector, error_code, cr2, eip, value;
};

void legacy_run(struct legacy *legacy);
#endif

#endif
