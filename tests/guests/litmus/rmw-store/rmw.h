/* Every instruction that takes a LOCK prefix, in every width, as a step that leaves most bits as they are: so a
 * plain store into the operand stays recognizable, however many steps come after it. */
#ifndef RMW_H
#define RMW_H

#include <stdbool.h>
#include <stdint.h>

/* What a step does to its operand. */
enum effect {
	FLIPS_TOP,  /* the topmost bit */
	COUNTS,     /* up in even steps and down in odd ones; needs 10 in the lowest two bits, and changes only those */
	KEEPS,      /* nothing: a CMPXCHG that fails */
	INVERTS,    /* every bit */
	NEGATES,    /* the two's complement */
	EXCHANGES,  /* all for a token whose bytes have their topmost bits set */
};

struct rmw {
	const char *name;
	int bytes;
	enum effect effect;
	/* Step `n`, from 0 on; returns what an exchange found, 0 otherwise. */
	uint64_t (*step)(void *operand, uint64_t n);
	bool needs_cmpxchg16b;
};

extern const struct rmw rmws[];
extern const int rmw_count;

#define TOKEN_BIT 0x80
#define TOKEN 0x8181818181818181ull

#endif
