/* Real mode: exceptions, the vector table, far transfers, the stack, segments beyond 64 KiB (SDM vol. 3, 20.1; vol. 2,
 * INT n, IRET, CALL, RET). */
#include "guest.h"
#include "legacy.h"

#define SNIPPET(name) extern char name[], name##_end[]
SNIPPET(r_divide);
SNIPPET(r_bound);
SNIPPET(r_ud);
SNIPPET(r_int);
SNIPPET(r_int3);
SNIPPET(r_into);
SNIPPET(r_step);
SNIPPET(r_sldt);
SNIPPET(r_lar);
SNIPPET(r_arpl);
SNIPPET(r_limit);
SNIPPET(r_moved);
SNIPPET(r_far);
SNIPPET(r_stack);
SNIPPET(r_big);
SNIPPET(r_a20);
SNIPPET(r_flags);
SNIPPET(r_lmsw);
SNIPPET(r_lgdt);
SNIPPET(r_loop);
SNIPPET(r_strings);
extern char to_real[], real_blob[], real_blob_end[], real_vectors[];

enum { REAL_BASE = 0x8000, SNIPPET_BASE = 0x9000, REAL_EVENT = 0x7800, REAL_STACK = 0x7000 };
enum { DE = 0, DB = 1, BP = 3, OF = 4, BR = 5, UD = 6, GP = 13, DONE = 0x60 };
enum { IF = 0x200, TF = 0x100 };

struct real_event {
	uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
	uint16_t handler_flags, vector, ip, cs, flags;
} __attribute__((packed));

static struct real_event event;

static void run(const char *code, const char *end)
{
	uint8_t *low = (uint8_t *)REAL_BASE;

	legacy_reset();
	legacy_describe(LEGACY_SPARE, REAL_BASE, 0xffff, CODE_RX, SMALL);
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t vector = (REAL_BASE / 16) << 16 | ((uint32_t)(real_vectors - real_blob) + 8 * i);

		memcpy((uint8_t *)(uintptr_t)(i * 4), &vector, sizeof vector);
	}
	memcpy(low, real_blob, (size_t)(real_blob_end - real_blob));
	memset((uint8_t *)SNIPPET_BASE, 0, 0x200);
	memcpy((uint8_t *)SNIPPET_BASE, code, (size_t)(end - code));
	legacy_run(to_real);
	memcpy(&event, (uint8_t *)REAL_EVENT, sizeof event);
}

#define RUN(snippet) run(snippet, snippet##_end)
#define LENGTH(snippet) (uint32_t)(snippet##_end - snippet)

#define CHECK_REAL(name, vector_, ip_)                                                       \
	do {                                                                                 \
		CHECK(name " vector", event.vector, vector_);                                \
		CHECK(name " IP", event.ip, ip_);                                            \
		CHECK(name " CS", event.cs, SNIPPET_BASE / 16);                              \
		CHECK(name " has no error code", event.esp, REAL_STACK - 10);                \
	} while (0)

static void exceptions(void)
{
	topic("exceptions");
	RUN(r_divide);
	CHECK_REAL("DIV by 0", DE, 2);
	RUN(r_bound);
	CHECK_REAL("BOUND", BR, LENGTH(r_bound) - 6);
	RUN(r_ud);
	CHECK_REAL("UD2", UD, 0);
	RUN(r_int);
	CHECK_REAL("INT n", 0x61, 3);
	CHECK("INT n pushes IF", event.flags & IF, IF);
	CHECK("INT n clears IF", event.handler_flags & IF, 0);
	RUN(r_int3);
	CHECK_REAL("INT3", BP, 1);
	RUN(r_into);
	CHECK_REAL("INTO", OF, LENGTH(r_into));
	RUN(r_step);
	CHECK_REAL("TF", DB, 5);
	CHECK("TF is pushed", event.flags & TF, TF);
	CHECK("TF is clear in the handler", event.handler_flags & TF, 0);
	RUN(r_sldt);
	CHECK_REAL("SLDT", UD, 0);
	RUN(r_lar);
	CHECK_REAL("LAR", UD, 0);
	RUN(r_arpl);
	CHECK_REAL("ARPL", UD, 0);
	topic("the vector table");
	RUN(r_limit);
	CHECK_REAL("INT n beyond the limit", GP, LENGTH(r_limit) - 8);
	RUN(r_moved);
	CHECK("INT n by another table", event.vector, 0x62);
}

static void transfers(void)
{
	topic("far transfers and the stack");
	RUN(r_far);
	CHECK("far calls, returns and IRET", event.vector, DONE);
	CHECK("all of them arrive", event.eax & 0xffff, 3);
	CHECK("all of them leave SP", event.ebx & 0xffff, REAL_STACK);
	RUN(r_stack);
	CHECK("SP wraps", event.ebx, 0x1234fffe);
	CHECK("SP wraps back", event.ecx, 0x12340000);
	CHECK("what is pushed at 0", event.edx & 0xffff, 0xbeef);
	CHECK("what is popped", event.eax & 0xffff, 0xbeef);
	RUN(r_flags);
	CHECK("POPF", event.eax & 0xffff, 0x7cd7);
}

static void memory(void)
{
	uint32_t first;

	topic("segments and addresses");
	RUN(r_big);
	CHECK("a segment of 4 GiB", event.vector, DONE);
	CHECK("a segment of 4 GiB is read", event.eax, 0xcafef00d);
	RUN(r_a20);
	memcpy(&first, (uint8_t *)0x100000, sizeof first);
	CHECK("FFFF and 0010 lead to 1 MiB", event.eax == first, 1);
	RUN(r_strings);
	CHECK("REP STOS and REP MOVS", event.eax & 0xffffff00, 0x11223300);
	CHECK("REP MOVS moves DI", event.ebx & 0xffff, 0x110);
	CHECK("LODS with DF", event.edx & 0xffff, 0x10e);
	RUN(r_loop);
	CHECK("LOOP counts CX", event.eax & 0xffff, 6);
	CHECK("LOOP leaves the rest of ECX", event.ebx, 0x10000);
}

static void system(void)
{
	topic("system registers");
	RUN(r_lmsw);
	CHECK("LMSW", event.vector, DONE);
	CHECK("SMSW in real mode", event.ebx & 1, 0);
	CHECK("LMSW does not clear PE", event.ecx & 1, 1);
	CHECK("SMSW of 32 bits is CR0", event.esi == event.edi, 1);
	RUN(r_lgdt);
	CHECK("the base of LGDT of 16 bits", event.eax, 0x123456);
	CHECK("the limit of LGDT of 16 bits", event.ebx & 0xffff, 0x1234);
}

_Noreturn void guest_main(void)
{
	exceptions();
	transfers();
	memory();
	system();
	finish();
}
