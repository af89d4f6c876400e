#include "rmw.h"

#define TOP(type) ((type)((type)1 << (sizeof(type) * 8 - 1)))
#define CLOBBERS "cc", "memory"

/* SDM vol. 2, LOCK, names them. ADC and SBB add their carry to one less than the others. */
#define STEP(name) static uint64_t name(void *operand, uint64_t n)
#define SIMPLE(name, type, instruction, source)                                                          \
	STEP(name)                                                                                       \
	{                                                                                                \
		(void)n;                                                                                 \
		__asm__ volatile(instruction : : "r"(operand), "q"((type)(source)) : CLOBBERS);          \
		return 0;                                                                                \
	}
#define ALTERNATING(name, type, even, even_source, odd, odd_source)                                      \
	STEP(name)                                                                                       \
	{                                                                                                \
		if (n % 2)                                                                               \
			__asm__ volatile(odd : : "r"(operand), "q"((type)(odd_source)) : CLOBBERS);      \
		else                                                                                     \
			__asm__ volatile(even : : "r"(operand), "q"((type)(even_source)) : CLOBBERS);    \
		return 0;                                                                                \
	}

#define ALL_WIDTHS(width, s, type)                                                                       \
	SIMPLE(add##width, type, "lock add" s " %1, (%0)", TOP(type))                                    \
	SIMPLE(sub##width, type, "lock sub" s " %1, (%0)", TOP(type))                                    \
	SIMPLE(adc##width, type, "stc; lock adc" s " %1, (%0)", TOP(type) - 1)                           \
	SIMPLE(sbb##width, type, "stc; lock sbb" s " %1, (%0)", TOP(type) - 1)                           \
	SIMPLE(xor##width, type, "lock xor" s " %1, (%0)", TOP(type))                                    \
	ALTERNATING(or_and##width, type, "lock or" s " %1, (%0)", TOP(type), "lock and" s " %1, (%0)", ~TOP(type)) \
	ALTERNATING(inc_dec##width, type, "lock inc" s " (%0)", 0, "lock dec" s " (%0)", 0)              \
	SIMPLE(not##width, type, "lock not" s " (%0)", 0)                                                \
	SIMPLE(neg##width, type, "lock neg" s " (%0)", 0)                                                \
	STEP(xadd##width)                                                                                \
	{                                                                                                \
		type value = TOP(type);                                                                  \
                                                                                                         \
		(void)n;                                                                                 \
		__asm__ volatile("lock xadd" s " %0, (%1)" : "+q"(value) : "r"(operand) : CLOBBERS);     \
		return 0;                                                                                \
	}                                                                                                \
	STEP(xchg##width)                                                                                \
	{                                                                                                \
		type value = (type)TOKEN;                                                                \
                                                                                                         \
		(void)n;                                                                                 \
		__asm__ volatile("xchg" s " %0, (%1)" : "+q"(value) : "r"(operand) : "memory");          \
		return value;                                                                            \
	}                                                                                                \
	STEP(cmpxchg##width)                                                                             \
	{                                                                                                \
		type expected = *(volatile type *)operand;                                               \
                                                                                                         \
		(void)n;                                                                                 \
		__asm__ volatile("lock cmpxchg" s " %2, (%1)"                                            \
				 : "+a"(expected)                                                        \
				 : "r"(operand), "q"((type)(expected ^ TOP(type)))                       \
				 : CLOBBERS);                                                            \
		return 0;                                                                                \
	}                                                                                                \
	/* Nobody stores 01 to the lowest two bits. */                                                   \
	STEP(failing_cmpxchg##width)                                                                     \
	{                                                                                                \
		type expected = (type)(*(volatile type *)operand ^ 3);                                   \
                                                                                                         \
		(void)n;                                                                                 \
		__asm__ volatile("lock cmpxchg" s " %2, (%1)" : "+a"(expected) : "r"(operand), "q"((type)0) : CLOBBERS); \
		return 0;                                                                                \
	}

#define BITS(width, s, type)                                                                             \
	SIMPLE(btc##width, type, "lock btc" s " %1, (%0)", sizeof(type) * 8 - 1)                         \
	ALTERNATING(bts_btr##width, type, "lock bts" s " %1, (%0)", sizeof(type) * 8 - 1, "lock btr" s " %1, (%0)", \
		    sizeof(type) * 8 - 1)

ALL_WIDTHS(8, "b", uint8_t)
ALL_WIDTHS(16, "w", uint16_t)
ALL_WIDTHS(32, "l", uint32_t)
ALL_WIDTHS(64, "q", uint64_t)
BITS(16, "w", uint16_t)
BITS(32, "l", uint32_t)
BITS(64, "q", uint64_t)

static void cmpxchg8b(void *operand, uint32_t low, uint32_t high, uint32_t new_high)
{
	__asm__ volatile("lock cmpxchg8b (%2)"
			 : "+a"(low), "+d"(high)
			 : "r"(operand), "b"(low), "c"(new_high)
			 : CLOBBERS);
}

static void cmpxchg16b(void *operand, uint64_t low, uint64_t high, uint64_t new_high)
{
	__asm__ volatile("lock cmpxchg16b (%2)"
			 : "+a"(low), "+d"(high)
			 : "r"(operand), "b"(low), "c"(new_high)
			 : CLOBBERS);
}

STEP(cmpxchg8b_flips)
{
	const volatile uint32_t *now = operand;
	uint32_t low = now[0], high = now[1];

	(void)n;
	cmpxchg8b(operand, low, high, high ^ TOP(uint32_t));
	return 0;
}

STEP(cmpxchg8b_fails)
{
	const volatile uint32_t *now = operand;

	(void)n;
	cmpxchg8b(operand, now[0] ^ 3, now[1], 0);
	return 0;
}

STEP(cmpxchg16b_flips)
{
	const volatile uint64_t *now = operand;
	uint64_t low = now[0], high = now[1];

	(void)n;
	cmpxchg16b(operand, low, high, high ^ TOP(uint64_t));
	return 0;
}

STEP(cmpxchg16b_fails)
{
	const volatile uint64_t *now = operand;

	(void)n;
	cmpxchg16b(operand, now[0] ^ 3, now[1], 0);
	return 0;
}

#define IN_WIDTH(bytes, width)                                                                           \
	{ "ADD " #width, bytes, FLIPS_TOP, add##width, false },                                          \
	{ "SUB " #width, bytes, FLIPS_TOP, sub##width, false },                                          \
	{ "ADC " #width, bytes, FLIPS_TOP, adc##width, false },                                          \
	{ "SBB " #width, bytes, FLIPS_TOP, sbb##width, false },                                          \
	{ "XOR " #width, bytes, FLIPS_TOP, xor##width, false },                                          \
	{ "OR, AND " #width, bytes, FLIPS_TOP, or_and##width, false },                                   \
	{ "XADD " #width, bytes, FLIPS_TOP, xadd##width, false },                                        \
	{ "CMPXCHG " #width, bytes, FLIPS_TOP, cmpxchg##width, false },                                  \
	{ "CMPXCHG that fails " #width, bytes, KEEPS, failing_cmpxchg##width, false },                   \
	{ "INC, DEC " #width, bytes, COUNTS, inc_dec##width, false },                                    \
	{ "NOT " #width, bytes, INVERTS, not##width, false },                                            \
	{ "NEG " #width, bytes, NEGATES, neg##width, false },                                            \
	{ "XCHG " #width, bytes, EXCHANGES, xchg##width, false }

#define BITS_IN_WIDTH(bytes, width)                                                                      \
	{ "BTC " #width, bytes, FLIPS_TOP, btc##width, false },                                          \
	{ "BTS, BTR " #width, bytes, FLIPS_TOP, bts_btr##width, false }

const struct rmw rmws[] = {
	IN_WIDTH(1, 8),
	IN_WIDTH(2, 16),
	IN_WIDTH(4, 32),
	IN_WIDTH(8, 64),
	BITS_IN_WIDTH(2, 16),
	BITS_IN_WIDTH(4, 32),
	BITS_IN_WIDTH(8, 64),
	{ "CMPXCHG8B", 8, FLIPS_TOP, cmpxchg8b_flips, false },
	{ "CMPXCHG8B that fails", 8, KEEPS, cmpxchg8b_fails, false },
	{ "CMPXCHG16B", 16, FLIPS_TOP, cmpxchg16b_flips, true },
	{ "CMPXCHG16B that fails", 16, KEEPS, cmpxchg16b_fails, true },
};

const int rmw_count = sizeof rmws / sizeof rmws[0];
