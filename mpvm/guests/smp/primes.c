#include "primes.h"

#include <stdbool.h>

#include "string.h"

enum { CHUNK = 500 };

static uint8_t composite[PRIMES_MAX];
static uint64_t next_chunk;

uint64_t primes_count_by_sieve(uint64_t limit)
{
	uint64_t count = 0;

	memset(composite, 0, limit);
	for (uint64_t n = 2; n < limit; n++) {
		if (composite[n])
			continue;
		count++;
		for (uint64_t multiple = n * n; multiple < limit; multiple += n)
			composite[multiple] = 1;
	}
	return count;
}

static bool is_prime(uint32_t n)
{
	if (n < 4)
		return n >= 2;
	if (n % 2 == 0)
		return false;
	for (uint32_t divisor = 3; divisor * divisor <= n; divisor += 2) {
		if (n % divisor == 0)
			return false;
	}
	return true;
}

uint64_t primes_count_chunks(uint64_t limit)
{
	uint64_t count = 0;

	for (;;) {
		uint64_t n = __atomic_fetch_add(&next_chunk, CHUNK, __ATOMIC_RELAXED);
		uint64_t end = n + CHUNK < limit ? n + CHUNK : limit;

		if (n >= limit)
			return count;
		for (; n < end; n++)
			count += is_prime((uint32_t)n);
	}
}

void primes_restart(void)
{
	next_chunk = 0;
}
