/* Virtual-8086 mode without its extensions (SDM vol. 3, chapter 20). */
#include "guest.h"
#include "legacy.h"

#define SNIPPET(name) extern char name[], name##_end[]
SNIPPET(v_ud);
SNIPPET(v_cli);
SNIPPET(v_sti);
SNIPPET(v_pushf);
SNIPPET(v_popf);
SNIPPET(v_int);
SNIPPET(v_iret);
SNIPPET(v_int3);
SNIPPET(v_into);
SNIPPET(v_hlt);
SNIPPET(v_lgdt);
SNIPPET(v_cr0);
SNIPPET(v_smsw);
SNIPPET(v_sldt);
SNIPPET(v_lar);
SNIPPET(v_arpl);
SNIPPET(v_in);
SNIPPET(v_far);
SNIPPET(v_popf_if);
extern uint32_t vm86_flags, vm86_ds;
extern char to_vm86[], to_vm86_at[];

enum { DB = 1, BP = 3, OF = 4, UD = 6, GP = 13 };
enum { VM = 0x20000, IOPL3 = 0x3000, IF = 0x200, TF = 0x100 };
enum { SEGMENT = 0x5000, STACK_SEGMENT = 0x6000, STACK = 0x800, IO_BITMAP = 0x68, ECHO_PORT = 0xe0 };

static void run(const char *code, const char *end, uint32_t flags)
{
	memcpy((void *)(SEGMENT * 16L), code, (size_t)(end - code));
	vm86_flags = VM | 2 | flags;
	legacy_run(to_vm86);
}

/* An event at IP `ip` of the snippet. */
#define EXPECT_AT(name, snippet, flags, vector, error_code, ip)                              \
	do {                                                                                 \
		legacy_reset();                                                              \
		run(snippet, snippet##_end, flags);                                          \
		CHECK(name " event", legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_ERROR_CODE], \
		      (uint32_t)(vector) << 16 | (error_code));                              \
		CHECK(name " IP", legacy_event[EVENT_EIP], ip);                              \
		CHECK(name " VM in the flags", legacy_event[EVENT_EFLAGS] & VM, VM);         \
	} while (0)

static void entry_and_exit(void)
{
	topic("IRET to it, and an exception out of it");
	EXPECT_AT("UD2", v_ud, 0, UD, 0, v_ud_end - v_ud - 2);
	CHECK("UD2 CS", legacy_event[EVENT_CS], SEGMENT);
	CHECK("UD2 SS", legacy_event[EVENT_SS], STACK_SEGMENT);
	CHECK("UD2 ESP", legacy_event[EVENT_ESP], STACK);
	CHECK("UD2 ES is pushed", legacy_event[EVENT_VM86_ES] & 0xffff, 0x2345);
	CHECK("UD2 DS is pushed", legacy_event[EVENT_VM86_ES + 1] & 0xffff, 0x1234);
	CHECK("UD2 FS is pushed", legacy_event[EVENT_VM86_ES + 2] & 0xffff, 0x4567);
	CHECK("UD2 GS is pushed", legacy_event[EVENT_VM86_ES + 3] & 0xffff, 0x5678);
	CHECK("UD2 DS is null in the handler", legacy_event_ds & 0xffff, 0);
	CHECK("DS and FS inside", legacy_event_eax, 0x12344567);
	CHECK("the handler's stack is the TSS's", legacy_event_esp == address32(legacy_esp0_top) - 11 * 4, 1);
	legacy_reset();
	run(v_ud, v_ud_end, TF);
	CHECK("TF steps", legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_EIP], DB << 16 | 2);
}

static void sensitive(void)
{
	topic("instructions that IOPL is about");
	EXPECT_AT("CLI", v_cli, 0, GP, 0, 0);
	EXPECT_AT("STI", v_sti, 0, GP, 0, 0);
	EXPECT_AT("PUSHF", v_pushf, 0, GP, 0, 0);
	EXPECT_AT("POPF", v_popf, 0, GP, 0, 0);
	EXPECT_AT("INT n", v_int, 0, GP, 0, 0);
	EXPECT_AT("IRET", v_iret, 0, GP, 0, 0);
	EXPECT_AT("CLI with IOPL 3", v_cli, IOPL3 | IF, UD, 0, 1);
	CHECK("CLI with IOPL 3 clears IF", legacy_event[EVENT_EFLAGS] & IF, 0);
	EXPECT_AT("PUSHF with IOPL 3", v_pushf, IOPL3, UD, 0, 1);
	EXPECT_AT("INT n with IOPL 3", v_int, IOPL3, 0x61, 0, 2);
	EXPECT_AT("INT3", v_int3, 0, BP, 0, 1);
	EXPECT_AT("INTO", v_into, 0, OF, 0, 5);
	EXPECT_AT("POPF with IOPL 3", v_popf_if, IOPL3, UD, 0, v_popf_if_end - v_popf_if - 2);
	CHECK("POPF with IOPL 3 sets IF and leaves IOPL", legacy_event_eax & 0xffff, IOPL3 | IF | 2);
	legacy_reset();
	legacy_idt[0x61] = legacy_gate(LEGACY_CODE, legacy_handlers, INT32, 0);
	run(v_int, v_int_end, IOPL3);
	CHECK("INT n through a gate of ring 0", legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_ERROR_CODE],
	      GP << 16 | (0x61 * 8 + 2));
	legacy_reset();
	legacy_describe(LEGACY_SPARE, 0, 0xfffff, CODE_CONFORMING, BIG_PAGES);
	legacy_idt[0x61] = legacy_gate(LEGACY_SPARE, legacy_handlers, INT32 | RING3, 0);
	run(v_int, v_int_end, IOPL3);
	CHECK("INT n to conforming code", legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_ERROR_CODE],
	      GP << 16 | LEGACY_SPARE);
}

static void privilege(void)
{
	topic("it is ring 3");
	EXPECT_AT("HLT", v_hlt, IOPL3, GP, 0, 0);
	EXPECT_AT("LGDT", v_lgdt, IOPL3, GP, 0, 0);
	EXPECT_AT("MOV from CR0", v_cr0, IOPL3, GP, 0, 0);
	EXPECT_AT("SMSW", v_smsw, 0, UD, 0, 3);
	EXPECT_AT("SLDT", v_sldt, IOPL3, UD, 0, 0);
	EXPECT_AT("LAR", v_lar, IOPL3, UD, 0, 0);
	EXPECT_AT("ARPL", v_arpl, IOPL3, UD, 0, 0);
	EXPECT_AT("far calls, returns and IRET", v_far, IOPL3, UD, 0, 19);
	CHECK("far calls, returns and IRET leave SP", legacy_event_eax & 0xffff, STACK);
	CHECK("a segment is 16 times its selector", *(uint16_t *)0x51010, 0xbeef);
}

static void ports(void)
{
	topic("ports");
	EXPECT_AT("IN without a bitmap, IOPL 3", v_in, IOPL3, GP, 0, 0);
	legacy_reset();
	legacy_describe(LEGACY_TSS, address32(legacy_tss), 0x8f, TSS32, SMALL);
	run(v_in, v_in_end, 0);
	CHECK("IN that the bitmap allows", legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_EIP], UD << 16 | 2);
	legacy_reset();
	legacy_describe(LEGACY_TSS, address32(legacy_tss), 0x8f, TSS32, SMALL);
	legacy_tss[IO_BITMAP + ECHO_PORT / 8] = 1;
	run(v_in, v_in_end, IOPL3);
	CHECK("IN that the bitmap forbids", legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_EIP], GP << 16);
}

_Noreturn void guest_main(void)
{
	entry_and_exit();
	sensitive();
	privilege();
	ports();
	finish();
}
