/* How a test guest says what failed. Statuses: 33 all passed, 35 a check failed, 125 a panic,
 * 127 an exception that the test did not ask for. */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "console.h"
#include "machine.h"
#include "power.h"

enum { FAILURES_PRINTED_MAX = 20 };

/* Weak, so that all sources of a guest share one of each. */
__attribute__((weak)) uint32_t check_lock;
__attribute__((weak)) int check_failures;

/* Any CPU may check; interrupts stay off while it prints. */
static inline void check_fail(const char *what, uint64_t got, uint64_t expected, const char *file, int line)
{
	bool were_on = interrupts_save();

	while (__atomic_exchange_n(&check_lock, 1, __ATOMIC_ACQUIRE))
		pause();
	if (check_failures++ < FAILURES_PRINTED_MAX)
		print("FAIL %s: got %lx expected %lx (%s:%d)\n", what, got, expected, file, line);
	__atomic_store_n(&check_lock, 0, __ATOMIC_RELEASE);
	if (were_on)
		interrupts_on();
}

#define EXPECT(what, got, expected)                                                        \
	do {                                                                               \
		uint64_t got_ = (uint64_t)(got), expected_ = (uint64_t)(expected);         \
		if (got_ != expected_)                                                     \
			check_fail(what, got_, expected_, __FILE_NAME__, __LINE__);        \
	} while (0)

/* A group of checks begins. */
static inline void topic(const char *name)
{
	print("- %s\n", name);
}

/* What the machine lacks is named, and is no failure: the caller knows what its machine must have. */
static inline void not_present(const char *name)
{
	print("not present: %s\n", name);
}

static inline _Noreturn void finish(void)
{
	if (check_failures) {
		print("%d checks failed\n", check_failures);
		debug_exit(EXIT_FAIL);
	}
	print("all checks passed\n");
	debug_exit(EXIT_PASS);
}

#endif
