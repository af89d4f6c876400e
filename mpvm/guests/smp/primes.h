/* Counting primes in two ways. */
#ifndef SMP_PRIMES_H
#define SMP_PRIMES_H

#include <stdint.h>

#define PRIMES_MAX 4000000

/* Primes below `limit`, by the sieve of Eratosthenes. */
uint64_t primes_count_by_sieve(uint64_t limit);

/* Every CPU calls it: takes chunks from the common counter until none is left and returns how many
 * primes its own chunks held, by trial division. */
uint64_t primes_count_chunks(uint64_t limit);

/* Puts the common counter back; no CPU may be counting. */
void primes_restart(void);

#endif
