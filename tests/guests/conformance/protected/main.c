/* Segment registers, LDTR, TR and descriptors in 32-bit protected mode (SDM vol. 3, chapters 3 and 5). */
#include "guest.h"
#include "legacy.h"

extern uint32_t test_selector, test_rights, test_limit, test_flags;
extern char load_es[], load_ss[], load_ds[], load_fs[], load_gs[];
extern char load_es_at[], load_ss_at[], load_ds_at[], load_fs_at[], load_gs_at[];
extern char load_ldt[], load_ldt_at[], load_tr[], load_tr_at[], look[], adjust[], wrap[];

enum { UD = 6, TS = 10, NP = 11, SS = 12, GP = 13 };
enum { NEW = LEGACY_SPARE, IN_LDT = 0x0c, OUTSIDE = LEGACY_GDT_LIMIT + 1 };

struct load {
	const char *name;
	const char *code, *at;
	uint32_t selector, access, vector, error_code;
};

static const struct load loads[] = {
	{ "ES null", load_es, load_es_at, 0, DATA_RW, 0, 0 },
	{ "GS null with an RPL", load_gs, load_gs_at, 3, DATA_RW, 0, 0 },
	{ "DS data", load_ds, load_ds_at, NEW, DATA_RW, 0, 0 },
	{ "DS read-only data", load_ds, load_ds_at, NEW, DATA_RO, 0, 0 },
	{ "ES readable code", load_es, load_es_at, NEW, CODE_RX, 0, 0 },
	{ "FS conforming code of an outer RPL", load_fs, load_fs_at, NEW | 3, CODE_CONFORMING, 0, 0 },
	{ "SS data", load_ss, load_ss_at, NEW, DATA_RW, 0, 0 },
	{ "DS outer data", load_ds, load_ds_at, NEW | 3, DATA_RW | RING3, 0, 0 },
	{ "ES execute-only code", load_es, load_es_at, NEW, CODE_X, GP, NEW },
	{ "DS data of an outer RPL", load_ds, load_ds_at, NEW | 3, DATA_RW, GP, NEW },
	{ "FS system descriptor", load_fs, load_fs_at, NEW, INT32, GP, NEW },
	{ "GS outside the GDT", load_gs, load_gs_at, OUTSIDE, DATA_RW, GP, OUTSIDE },
	{ "DS in no LDT", load_ds, load_ds_at, IN_LDT, DATA_RW, GP, IN_LDT },
	{ "ES absent", load_es, load_es_at, NEW, DATA_RW ^ ABSENT, NP, NEW },
	{ "SS null", load_ss, load_ss_at, 0, DATA_RW, GP, 0 },
	{ "SS read-only", load_ss, load_ss_at, NEW, DATA_RO, GP, NEW },
	{ "SS code", load_ss, load_ss_at, NEW, CODE_RX, GP, NEW },
	{ "SS of another RPL", load_ss, load_ss_at, NEW | 1, DATA_RW, GP, NEW },
	{ "SS of another DPL", load_ss, load_ss_at, NEW, DATA_RW | RING3, GP, NEW },
	{ "SS absent", load_ss, load_ss_at, NEW, DATA_RW ^ ABSENT, SS, NEW },
	{ "LDTR null", load_ldt, load_ldt_at, 0, LDT, 0, 0 },
	{ "LDTR an LDT", load_ldt, load_ldt_at, NEW, LDT, 0, 0 },
	{ "LDTR data", load_ldt, load_ldt_at, NEW, DATA_RW, GP, NEW },
	{ "LDTR a TSS", load_ldt, load_ldt_at, NEW, TSS32, GP, NEW },
	{ "LDTR in the LDT", load_ldt, load_ldt_at, IN_LDT, LDT, GP, IN_LDT },
	{ "LDTR absent", load_ldt, load_ldt_at, NEW, LDT ^ ABSENT, NP, NEW },
	{ "TR a TSS", load_tr, load_tr_at, NEW, TSS32, 0, 0 },
	{ "TR a 16-bit TSS", load_tr, load_tr_at, NEW, TSS16, 0, 0 },
	{ "TR a busy TSS", load_tr, load_tr_at, NEW, TSS32_BUSY, GP, NEW },
	{ "TR an LDT", load_tr, load_tr_at, NEW, LDT, GP, NEW },
	{ "TR absent", load_tr, load_tr_at, NEW, TSS32 ^ ABSENT, NP, NEW },
	{ "TR in the LDT", load_tr, load_tr_at, IN_LDT, TSS32, GP, IN_LDT },
};

/* The name of a check: two parts. */
static const char *joined(const char *one, const char *two)
{
	static char name[96];
	char *to = name;

	while (*one && to < name + 60)
		*to++ = *one++;
	*to++ = ' ';
	while (*two && to < name + sizeof name - 1)
		*to++ = *two++;
	*to = 0;
	return name;
}

static void segment_loads(void)
{
	topic("loads of segment registers");
	for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++) {
		const struct load *load = &loads[i];
		uint32_t unaccessed = load->access & 0x10 ? load->access & ~1u : load->access;

		legacy_reset();
		legacy_describe(NEW, address32(legacy_ldt), 0xfffff, unaccessed, BIG_PAGES);
		test_selector = load->selector;
		legacy_run(load->code);
		CHECK(joined(load->name, "event"), legacy_event[EVENT_VECTOR] << 16 | legacy_event[EVENT_ERROR_CODE],
		      load->vector << 16 | load->error_code);
		CHECK(joined(load->name, "events"), legacy_event_count, load->vector != 0);
		if (load->vector)
			CHECK(joined(load->name, "at the instruction"), legacy_event[EVENT_EIP] == address32(load->at), 1);
		else if (load->selector > 3)
			CHECK(joined(load->name, "access byte"), legacy_gdt[NEW / 8] >> 40 & 0xff,
			      load->access | (load->access & 0x10 ? 1 : (load->access & 0xf) != 2 ? 2 : 0));
	}
}

static void descriptor_looks(void)
{
	static const struct {
		const char *name;
		uint32_t access, flags;
	} looks[] = {
		{ "data", DATA_RW, 0xf },
		{ "read-only data", DATA_RO, 0xe },
		{ "execute-only code", CODE_X, 0xc },
		{ "conforming code", CODE_CONFORMING, 0xe },
		{ "absent data", DATA_RW ^ ABSENT, 0xf },
		{ "a 16-bit TSS", TSS16, 0xc },
		{ "an LDT", LDT, 0xc },
		{ "a busy TSS", TSS32_BUSY, 0xc },
		{ "a 16-bit call gate", CALL16, 0x8 },
		{ "a task gate", TASK_GATE, 0x8 },
		{ "a call gate", CALL32, 0x8 },
		{ "an interrupt gate", INT32, 0x0 },
		{ "a trap gate", TRAP16, 0x0 },
		{ "type 0", 0x80, 0x0 },
		{ "type 8", 0x88, 0x0 },
	};

	topic("LAR, LSL, VERR, VERW");
	for (unsigned i = 0; i < sizeof looks / sizeof looks[0]; i++) {
		legacy_reset();
		legacy_describe(NEW, 0, 0x54321, looks[i].access, BIG_PAGES);
		test_selector = NEW;
		legacy_run(look);
		CHECK(joined(looks[i].name, "is seen by"), test_flags, looks[i].flags);
		CHECK(joined(looks[i].name, "rights"), test_rights,
		      looks[i].flags & 8 ? looks[i].access << 8 | 0xc00000 : 0);
		CHECK(joined(looks[i].name, "limit"), test_limit, looks[i].flags & 4 ? 0x54321fff : 0);
	}
	test_selector = 0;
	legacy_reset();
	legacy_run(look);
	CHECK("a null selector is seen by", test_flags, 0);
	test_selector = OUTSIDE;
	legacy_reset();
	legacy_run(look);
	CHECK("a selector outside is seen by", test_flags, 0);
	CHECK("a selector outside events", legacy_event_count, 0);
	legacy_reset();
	legacy_run(adjust);
	CHECK("ARPL raises", test_rights, 0xaaaa0013);
	CHECK("ARPL ZF", test_flags, 2);
}

_Noreturn void guest_main(void)
{
	segment_loads();
	descriptor_looks();
	topic("16-bit stacks");
	legacy_reset();
	legacy_describe(NEW, 0x80000, 0xffff, DATA_RW, SMALL);
	legacy_run(wrap);
	CHECK("SP wraps and the rest of ESP stays", test_limit, 0xabcdfffe);
	CHECK("what is pushed is at the end", *(uint16_t *)0x8fffe, 0x1234);
	finish();
}
