/* How a conformance guest tells each check by name, so that runs on different machines can be compared
 * check by check. The lines, read by tests/system/conformance.py:
 *
 *     - TOPIC
 *     check NAME: GOT ok
 *     check NAME: GOT expected EXPECTED
 *     qemu NAME: REASON         QEMU 7.2 is known to leave the SDM in the check NAME, which follows
 *     absent NAME: REASON       the CPU or machine lacks NAME; its checks are left out
 *
 * A check that would bring QEMU 7.2 down is left out where the command line has `qemu=1`, and is a
 * CHECK_NOT_QEMU elsewhere.
 *
 * Values are hexadecimal. Names are unique in a guest and have no colon; a value that depends on time or
 * on addresses is checked as a condition. Statuses are those of check.h: 33 all passed, 35 a check failed.
 */
#ifndef TEST_CONFORMANCE_H
#define TEST_CONFORMANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "console.h"
#include "machine.h"
#include "power.h"

/* Weak, so that all sources of a guest share one of each. */
__attribute__((weak)) uint32_t conformance_lock;
__attribute__((weak)) unsigned conformance_failures;

/* Any CPU may check; interrupts stay off while it prints. */
static inline void conformance_line(const char *name, uint64_t got, uint64_t expected, const char *why)
{
	bool were_on = interrupts_save();

	while (__atomic_exchange_n(&conformance_lock, 1, __ATOMIC_ACQUIRE))
		pause();
	if (why)
		print("qemu %s: %s\n", name, why);
	if (got == expected) {
		print("check %s: %lx ok\n", name, got);
	} else {
		conformance_failures++;
		print("check %s: %lx expected %lx\n", name, got, expected);
	}
	__atomic_store_n(&conformance_lock, 0, __ATOMIC_RELEASE);
	if (were_on)
		interrupts_on();
}

#define CHECK(name, got, expected) conformance_line(name, (uint64_t)(got), (uint64_t)(expected), (const char *)0)

/* As CHECK, where the SDM (`expected`) decides against QEMU 7.2; `why` says what QEMU does, and which section decides. */
#define CHECK_NOT_QEMU(name, got, expected, why) \
	conformance_line(name, (uint64_t)(got), (uint64_t)(expected), why)

/* What PROVOKE (provoke.h) has brought: exactly this exception, at the instruction. */
#define CHECK_FAULT(name, vector_, error_code_)                          \
	do {                                                             \
		CHECK(name " exceptions", seen.count, 1);                \
		CHECK(name " vector", seen.vector, vector_);             \
		CHECK(name " error code", seen.error_code, error_code_); \
		CHECK(name " at the instruction", seen.rip == at_rip, 1); \
	} while (0)

/* PROVOKE ran without an exception. */
#define CHECK_NO_FAULT(name) CHECK(name " exceptions", seen.count, 0)

static inline void topic(const char *name)
{
	print("- %s\n", name);
}

static inline void absent(const char *name, const char *why)
{
	print("absent %s: %s\n", name, why);
}

static inline _Noreturn void finish(void)
{
	print(conformance_failures ? "checks failed\n" : "all checks passed\n");
	debug_exit(conformance_failures ? EXIT_FAIL : EXIT_PASS);
}

#endif
