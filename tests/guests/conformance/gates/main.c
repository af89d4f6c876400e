/* Far jumps, calls and returns, call gates, interrupt gates and IRET in 32-bit protected mode (SDM vol. 3, 5.8 and
 * 6.12; vol. 2, CALL, JMP, RET, IRET, INT n). */
#include "guest.h"
#include "legacy.h"

extern uint32_t test_user, test_words[8], test_frame[8];
extern uint8_t test_far[6];
extern char jump[], jump_at[], call[], call_at[], landed[], to_ring3[], user_call[], user_call_at[];
extern char user_call_after[], inner[], user_jump[], user_jump_at[], user_int[], user_int_at[];
extern char bad_iret[], bad_iret_at[], bad_lret[], bad_lret_at[], user_iret[], user_segments[];

enum { UD = 6, TS = 10, NP = 11, SS = 12, GP = 13 };
enum { NEW = LEGACY_SPARE, GATE = LEGACY_SPARE + 8, STACK = LEGACY_SPARE + 16 };
enum { OUTSIDE = LEGACY_GDT_LIMIT + 1 };

static void far_to(uint32_t selector, const void *offset)
{
	legacy_set32(test_far, 0, address32(offset));
	legacy_set16(test_far, 4, (uint16_t)selector);
}

#define DIRECT(name, selector, access, vector, error_code)                                  \
	do {                                                                                 \
		legacy_reset();                                                              \
		legacy_describe(NEW, 0, 0xfffff, access, BIG_PAGES);                         \
		far_to(selector, landed);                                                    \
		legacy_run(jump);                                                            \
		CHECK_EVENT("jump to " name, vector, error_code, jump_at);                   \
		legacy_reset();                                                              \
		legacy_describe(NEW, 0, 0xfffff, access, BIG_PAGES);                         \
		legacy_run(call);                                                            \
		CHECK_EVENT("call of " name, vector, error_code, call_at);                   \
	} while (0)

static void direct(void)
{
	topic("far jumps and calls");
	DIRECT("null", 0, CODE_RX, GP, 0);
	DIRECT("outside the GDT", OUTSIDE, CODE_RX, GP, OUTSIDE);
	DIRECT("data", NEW, DATA_RW, GP, NEW);
	DIRECT("outer code", NEW, CODE_RX | RING3, GP, NEW);
	DIRECT("code of an outer RPL", NEW | 3, CODE_RX, GP, NEW);
	DIRECT("outer conforming code", NEW, CODE_CONFORMING | RING3, GP, NEW);
	DIRECT("absent code", NEW, CODE_RX ^ ABSENT, NP, NEW);
	DIRECT("an interrupt gate", NEW, INT32, GP, NEW);
	DIRECT("an LDT", NEW, LDT, GP, NEW);
	DIRECT("type 0", NEW, 0x80, GP, NEW);

	legacy_reset();
	legacy_describe(NEW, 0, 0xfff, CODE_RX, BIG);
	far_to(NEW, landed);
	legacy_run(jump);
	CHECK_EVENT("jump beyond the limit", GP, 0, jump_at);
	legacy_reset();
	legacy_describe(NEW, 0, 0xfff, CODE_RX, BIG);
	legacy_run(call);
	CHECK_EVENT_NOT_QEMU("call beyond the limit", GP, 0,
			     "puts the selector into the error code (SDM vol. 2, CALL)");
	legacy_reset();
	legacy_describe(NEW, 0, 0xfffff, CODE_CONFORMING & ~1, BIG_PAGES);
	far_to(NEW | 3, landed);
	legacy_run(call);
	CHECK("conforming code keeps the CPL", test_words[0], NEW);
	CHECK_NOT_QEMU("code is accessed when it is loaded", legacy_gdt[NEW / 8] >> 40 & 1, 1,
		       "marks data segments only (SDM vol. 3, 3.4.5.1)");
}

static void user_through_gate(uint32_t target, uint32_t access, uint32_t count)
{
	legacy_gdt[GATE / 8] = legacy_gate(target, inner, access, count);
	far_to(GATE | 3, 0);
	test_user = address32(user_call);
	legacy_run(to_ring3);
}

static void call_gates(void)
{
	topic("call gates");
	legacy_reset();
	user_through_gate(LEGACY_CODE, CALL32 | RING3, 2);
	CHECK("call to ring 0 comes back", legacy_event[EVENT_VECTOR], 0x60);
	CHECK("call to ring 0 CS", test_words[0], LEGACY_CODE);
	CHECK("call to ring 0 SS", test_words[1], LEGACY_DATA);
	CHECK("call to ring 0 return address", test_frame[0] == address32(user_call_after), 1);
	CHECK("call to ring 0 return CS", test_frame[1], LEGACY_USER_CODE);
	CHECK("call to ring 0 last parameter", test_frame[2], 0x22222222);
	CHECK("call to ring 0 first parameter", test_frame[3], 0x11111111);
	CHECK("call to ring 0 old ESP", test_frame[4] == address32(legacy_user_stack_top) - 8, 1);
	CHECK("call to ring 0 old SS", test_frame[5], LEGACY_USER_DATA);
	CHECK("call to ring 0 parameters are released",
	      legacy_event[EVENT_ESP] == address32(legacy_user_stack_top), 1);
	legacy_reset();
	user_through_gate(LEGACY_CODE, CALL32, 0);
	CHECK_EVENT("gate of ring 0", GP, GATE, user_call_at);
	legacy_reset();
	user_through_gate(LEGACY_CODE, (CALL32 ^ ABSENT) | RING3, 0);
	CHECK_EVENT("gate that is absent", NP, GATE, user_call_at);
	legacy_reset();
	user_through_gate(0, CALL32 | RING3, 0);
	CHECK_EVENT("gate to null", GP, 0, user_call_at);
	legacy_reset();
	user_through_gate(LEGACY_DATA, CALL32 | RING3, 0);
	CHECK_EVENT("gate to data", GP, LEGACY_DATA, user_call_at);
	legacy_reset();
	legacy_describe(NEW, 0, 0xfffff, CODE_RX ^ ABSENT, BIG_PAGES);
	user_through_gate(NEW, CALL32 | RING3, 0);
	CHECK_EVENT("gate to absent code", NP, NEW, user_call_at);

	legacy_reset();
	legacy_gdt[GATE / 8] = legacy_gate(LEGACY_CODE, inner, CALL32 | RING3, 0);
	far_to(GATE | 3, 0);
	test_user = address32(user_jump);
	legacy_run(to_ring3);
	CHECK_EVENT("jump through a gate to ring 0", GP, LEGACY_CODE, user_jump_at);
	legacy_reset();
	legacy_describe(NEW, 0, 0xfffff, CODE_RX ^ ABSENT, BIG_PAGES);
	legacy_gdt[GATE / 8] = legacy_gate(NEW, inner, CALL32, 0);
	far_to(GATE, 0);
	legacy_run(jump);
	CHECK_EVENT_NOT_QEMU("jump through a gate to absent code", NP, NEW,
			     "raises #GP (SDM vol. 2, JMP)");
}

static void interrupt_gates(void)
{
	topic("interrupt gates");
	test_user = address32(user_int);
	legacy_reset();
	legacy_idt[0x61] = legacy_gate(LEGACY_CODE, legacy_handlers + 16 * 0x61, INT32, 0);
	legacy_run(to_ring3);
	CHECK_EVENT("INT n through a gate of ring 0", GP, 0x61 * 8 + 2, user_int_at);
	legacy_reset();
	legacy_idt[0x61] = legacy_gate(LEGACY_CODE, legacy_handlers, (INT32 ^ ABSENT) | RING3, 0);
	legacy_run(to_ring3);
	CHECK_EVENT("INT n through an absent gate", NP, 0x61 * 8 + 2, user_int_at);
	legacy_reset();
	legacy_idt[0x61] = legacy_gate(LEGACY_CODE, legacy_handlers, CALL32 | RING3, 0);
	legacy_run(to_ring3);
	CHECK_EVENT("INT n through a call gate", GP, 0x61 * 8 + 2, user_int_at);
	legacy_reset();
	legacy_idt[0x61] = legacy_gate(0, legacy_handlers, INT32 | RING3, 0);
	legacy_run(to_ring3);
	CHECK_EVENT("INT n to null", GP, 0, user_int_at);
	legacy_reset();
	legacy_idt[0x61] = legacy_gate(LEGACY_DATA, legacy_handlers, INT32 | RING3, 0);
	legacy_run(to_ring3);
	CHECK_EVENT("INT n to data", GP, LEGACY_DATA, user_int_at);
	legacy_reset();
	legacy_idt[0x61] = legacy_gate(LEGACY_CODE, legacy_handlers + 16 * 0x61, TRAP32 | RING3, 0);
	legacy_run(to_ring3);
	CHECK("INT n from ring 3 arrives", legacy_event[EVENT_VECTOR], 0x61);
	CHECK("INT n from ring 3 CS", legacy_event[EVENT_CS] & 0xffff, LEGACY_USER_CODE);
	CHECK("INT n from ring 3 SS", legacy_event[EVENT_SS] & 0xffff, LEGACY_USER_DATA);
	CHECK("INT n from ring 3 ESP", legacy_event[EVENT_ESP] == address32(legacy_user_stack_top), 1);
	CHECK("INT n from ring 3 return address", legacy_event[EVENT_EIP] == address32(user_int_at) + 2, 1);
}

#define BAD_RETURN(name, cs, ss, eip, vector, error_code, why)                              \
	do {                                                                                 \
		legacy_reset();                                                              \
		legacy_describe(NEW, 0, 0xfff, (CODE_RX ^ ABSENT) | RING3, BIG);             \
		legacy_describe(STACK, 0, 0xfffff, (DATA_RW ^ ABSENT) | RING3, BIG_PAGES);   \
		legacy_describe(GATE, 0, 0xfff, CODE_RX | RING3, BIG);                       \
		test_words[0] = cs;                                                          \
		test_words[1] = ss;                                                          \
		test_words[2] = eip;                                                         \
		legacy_run(bad_iret);                                                        \
		CHECK("IRET " name " events", legacy_event_count, 1);                        \
		CHECK_NOT_QEMU("IRET " name, legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_ERROR_CODE], \
			       (uint32_t)(vector) << 16 | (error_code), why);                \
		legacy_event_count = 0;                                                      \
		legacy_describe(LEGACY_TSS, address32(legacy_tss), 0x67, TSS32, SMALL);      \
		legacy_run(bad_lret);                                                        \
		CHECK("RET " name " events", legacy_event_count, 1);                         \
		CHECK_NOT_QEMU("RET " name, legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_ERROR_CODE], \
			       (uint32_t)(vector) << 16 | (error_code), why);                \
	} while (0)

static void returns(void)
{
	topic("far returns and IRET");
	BAD_RETURN("to null", 0, LEGACY_USER_DATA, 0, GP, 0, (const char *)0);
	BAD_RETURN("to ring 0's code with RPL 3", LEGACY_CODE | 3, LEGACY_USER_DATA, 0, GP, LEGACY_CODE,
		   (const char *)0);
	BAD_RETURN("to data", LEGACY_DATA, LEGACY_USER_DATA, 0, GP, LEGACY_DATA, (const char *)0);
	BAD_RETURN("to absent code", NEW | 3, LEGACY_USER_DATA, 0, NP, NEW, (const char *)0);
	BAD_RETURN("to a null stack", LEGACY_USER_CODE, 0, 0, GP, 0, (const char *)0);
	BAD_RETURN("to ring 0's stack", LEGACY_USER_CODE, LEGACY_DATA | 3, 0, GP, LEGACY_DATA, (const char *)0);
	BAD_RETURN("to a stack of RPL 0", LEGACY_USER_CODE, LEGACY_USER_DATA & ~3, 0, GP, LEGACY_USER_DATA & ~3,
		   (const char *)0);
	BAD_RETURN("to an absent stack", LEGACY_USER_CODE, STACK | 3, 0, SS, STACK,
		   "raises #NP (SDM vol. 2, IRET and RET)");

	legacy_reset();
	test_user = address32(user_iret);
	legacy_run(to_ring3);
	CHECK_NOT_QEMU("IRET in ring 3 changes neither VM nor IF nor IOPL", legacy_event[EVENT_EFLAGS], 3,
		       "takes VM from ring 3 (SDM vol. 2, IRET)");
	legacy_reset();
	test_user = address32(user_segments);
	legacy_run(to_ring3);
	CHECK("IRET takes ring 0's segments away", legacy_event_eax, 0);
}

_Noreturn void guest_main(void)
{
	direct();
	call_gates();
	interrupt_gates();
	returns();
	finish();
}
