/* Hardware tasks: JMP, CALL, IRET, task gates, 16- and 32-bit TSS, and their faults (SDM vol. 3, chapter 7). */
#include "guest.h"
#include "legacy.h"

extern uint32_t task_words[8];
extern uint8_t test_far[6];
extern char by_jump[], by_call[], by_jump_at[], by_call_at[], by_int[], by_int_at[], by_fault[], by_fault_at[];
extern char by_int3[], by_ud[], by_ud_at[], back[], task_back[], task_again[], task_jumps_back[], task_end[];
extern char task_error_code[], task_skips[], nested_iret[], nested_iret_at[];

enum { DB = 1, UD = 6, TS = 10, NP = 11, SS = 12, GP = 13 };
enum { NEW = LEGACY_SPARE, GATE = NEW + 8, EXTRA = NEW + 16, HANDLER = NEW + 24 };
enum { EFLAGS_NT = 0x4000, BUSY = 2, TASK_STACK_BYTES = 512 };

/* Where a TSS has what (SDM vol. 3, figures 7-2 and 7-10). */
enum { LINK = 0, CR3 = 0x1c, EIP = 0x20, EFLAGS = 0x24, EBX = 0x34, ESP = 0x38, SELECTORS = 0x48, LDT_SELECTOR = 0x60, TRAP = 0x64 };
enum { EIP16 = 0x0e, FLAGS16 = 0x10, BX16 = 0x18, SP16 = 0x1a, SELECTORS16 = 0x22, LDT16 = 0x2a };
enum { ES, CS, SS_, DS, FS, GS };

static uint8_t new_tss[0x68], handler_tss[0x68];
static uint8_t new_stack[TASK_STACK_BYTES] __attribute__((aligned(16)));
static uint8_t handler_stack[TASK_STACK_BYTES] __attribute__((aligned(16)));

static void task32(uint8_t *tss, const void *code, const uint8_t *stack)
{
	memset(tss, 0, 0x68);
	legacy_set32(tss, EIP, address32(code));
	legacy_set32(tss, EFLAGS, 2);
	legacy_set32(tss, ESP, address32(stack) + TASK_STACK_BYTES);
	legacy_set32(tss, 4, address32(legacy_esp0_top));
	legacy_set32(tss, 8, LEGACY_DATA);
	for (int i = ES; i <= GS; i++)
		legacy_set32(tss, SELECTORS + 4 * i, i == CS ? LEGACY_CODE : LEGACY_DATA);
}

static void far_to(uint32_t selector)
{
	legacy_set16(test_far, 4, (uint16_t)selector);
}

/* A task NEW that runs `code`, and a task gate to it. */
static void prepare(const void *code)
{
	legacy_reset();
	memset(task_words, 0, sizeof task_words);
	task_words[5] = EXTRA;
	task32(new_tss, code, new_stack);
	legacy_describe(NEW, address32(new_tss), 0x67, TSS32, SMALL);
	legacy_gdt[GATE / 8] = legacy_gate(NEW, 0, TASK_GATE, 0);
	far_to(NEW);
}

static uint32_t type_of(uint32_t selector)
{
	return legacy_gdt[selector / 8] >> 40 & 0xf;
}

static void jumps_and_calls(void)
{
	topic("jumps and calls");
	prepare(task_back);
	legacy_run(by_call);
	CHECK("call runs the task", task_words[0], 1);
	CHECK("call comes back", task_words[1], 0x600d);
	CHECK("call comes back to its TSS", task_words[2], LEGACY_TSS);
	CHECK("call nests", task_words[6] & EFLAGS_NT, EFLAGS_NT);
	CHECK("call links back", legacy_get16(new_tss, LINK), LEGACY_TSS);
	CHECK("a switch sets TS", task_words[3], 8);
	CHECK("IRET leaves the task available", type_of(NEW), 9);
	CHECK("IRET saves the task without NT", legacy_get32(new_tss, EFLAGS) & EFLAGS_NT, 0);
	CHECK("call saves EIP", legacy_get32(legacy_tss, EIP) == address32(by_call_at) + 6, 1);
	CHECK("call saves EBX", legacy_get32(legacy_tss, EBX), 0x600d);
	CHECK("call saves CS", legacy_get16(legacy_tss, SELECTORS + 4 * CS), LEGACY_CODE);
	prepare(task_again);
	legacy_run(by_call);
	legacy_reset();
	legacy_describe(NEW, address32(new_tss), 0x67, TSS32, SMALL);
	legacy_run(by_call);
	CHECK_NOT_QEMU("a task goes on behind its IRET", task_words[0], 0x200,
		       "saves flags that are not those of the last instruction (SDM vol. 3, 7.2.1)");
	prepare(task_back);
	far_to(GATE);
	legacy_run(by_call);
	CHECK("call through a task gate", task_words[0], 1);
	CHECK("call through a task gate comes back", task_words[1], 0x600d);
	prepare(task_jumps_back);
	legacy_run(by_jump);
	CHECK("jump runs the task", task_words[0], 1);
	CHECK("jump comes back by a jump", task_words[1], 0x600d);
	CHECK("jump does not link", legacy_get16(new_tss, LINK), 0);
	CHECK("jump leaves the task available", type_of(NEW), 9);
	prepare(task_end);
	legacy_run(by_jump);
	CHECK("jump makes the task busy", type_of(NEW), 11);
	CHECK("jump makes the old task available", type_of(LEGACY_TSS), 9);
	CHECK_NOT_QEMU("jump saves CF", legacy_get32(legacy_tss, EFLAGS) & 1, 1,
		       "saves flags that are not those of the last instruction (SDM vol. 3, 7.2.1)");
}

static void small_tasks(void)
{
	topic("16-bit tasks");
	prepare(task_back);
	memset(new_tss, 0, sizeof new_tss);
	memset(new_tss + 0x2c, 0xee, sizeof new_tss - 0x2c);
	legacy_describe(NEW, address32(new_tss), 0x2b, TSS16, SMALL);
	legacy_describe(EXTRA, address32(task_back) & ~0xfffu, 0xffff, CODE_RX, BIG);
	legacy_set16(new_tss, EIP16, address32(task_back) & 0xfff);
	legacy_set16(new_tss, FLAGS16, 2);
	legacy_set16(new_tss, SP16, 0x8000);
	legacy_set16(new_tss, SELECTORS16 + 2 * ES, LEGACY_DATA);
	legacy_set16(new_tss, SELECTORS16 + 2 * CS, EXTRA);
	legacy_set16(new_tss, SELECTORS16 + 2 * SS_, LEGACY_DATA16);
	legacy_set16(new_tss, SELECTORS16 + 2 * DS, LEGACY_DATA);
	legacy_describe(LEGACY_DATA16, 0x80000, 0xffff, DATA_RW, SMALL);
	legacy_run(by_call);
	CHECK("16-bit task runs", task_words[0], 1);
	CHECK("16-bit task comes back", task_words[1], 0x600d);
	CHECK("16-bit task is saved, CS", legacy_get16(new_tss, SELECTORS16 + 2 * CS), EXTRA);
	CHECK("16-bit task is saved, DS", legacy_get16(new_tss, SELECTORS16 + 2 * DS), LEGACY_DATA);
	CHECK("16-bit task is saved in its own size", legacy_get32(new_tss, 0x2c), 0xeeeeeeee);
	CHECK("16-bit task links back", legacy_get16(new_tss, LINK), LEGACY_TSS);
}

static void events(void)
{
	topic("task gates in the IDT");
	prepare(task_back);
	legacy_idt[0x61] = legacy_gate(NEW, 0, TASK_GATE, 0);
	legacy_run(by_int);
	CHECK("INT n runs the task", task_words[0], 1);
	CHECK("INT n comes back", task_words[2], LEGACY_TSS);
	CHECK("INT n saves the EIP behind it", legacy_get32(legacy_tss, EIP) == address32(by_int_at) + 2, 1);
	prepare(task_back);
	legacy_idt[3] = legacy_gate(NEW, 0, TASK_GATE, 0);
	legacy_run(by_int3);
	CHECK("INT3 runs the task", task_words[0], 1);
	prepare(task_skips);
	legacy_idt[UD] = legacy_gate(NEW, 0, TASK_GATE, 0);
	legacy_run(by_ud);
	CHECK("a fault runs the task", task_words[0], 1);
	CHECK("a fault comes back where the task says", task_words[2], LEGACY_TSS);
	prepare(task_error_code);
	legacy_idt[NP] = legacy_gate(NEW, 0, TASK_GATE, 0);
	legacy_describe(EXTRA, 0, 0xfffff, DATA_RW ^ ABSENT, BIG_PAGES);
	legacy_run(by_fault);
	CHECK("an error code is on the task's stack", task_words[4], EXTRA);
	CHECK("the fault's instruction is tried again", task_words[2], LEGACY_TSS);
}

#define REFUSED(name, code, access, limit, vector, error_code, at)                          \
	do {                                                                                 \
		prepare(task_end);                                                           \
		legacy_describe(NEW, address32(new_tss), limit, access, SMALL);              \
		legacy_run(code);                                                            \
		CHECK_EVENT(name, vector, error_code, at);                                   \
		CHECK(name " stays in its task", legacy_event_tr, LEGACY_TSS);               \
	} while (0)

static void refusals(void)
{
	topic("faults of the old task");
	REFUSED("jump to an absent TSS", by_jump, TSS32 ^ ABSENT, 0x67, NP, NEW, by_jump_at);
	REFUSED("call of an absent TSS", by_call, TSS32 ^ ABSENT, 0x67, NP, NEW, by_call_at);
	REFUSED("jump to a short TSS", by_jump, TSS32, 0x66, TS, NEW, by_jump_at);
	REFUSED("call of a short 16-bit TSS", by_call, TSS16, 0x2a, TS, NEW, by_call_at);
	REFUSED("jump to a busy TSS", by_jump, TSS32_BUSY, 0x67, GP, NEW, by_jump_at);
	REFUSED("call of a busy TSS", by_call, TSS32_BUSY, 0x67, GP, NEW, by_call_at);
	prepare(task_end);
	legacy_gdt[GATE / 8] = legacy_gate(NEW, 0, TASK_GATE ^ ABSENT, 0);
	far_to(GATE);
	legacy_run(by_jump);
	CHECK_EVENT("jump through an absent task gate", NP, GATE, by_jump_at);
	prepare(task_end);
	legacy_gdt[GATE / 8] = legacy_gate(LEGACY_CODE, 0, TASK_GATE, 0);
	far_to(GATE);
	legacy_run(by_jump);
	CHECK_EVENT("jump through a task gate to code", GP, LEGACY_CODE, by_jump_at);
	prepare(task_end);
	legacy_gdt[GATE / 8] = legacy_gate(NEW | 4, 0, TASK_GATE, 0);
	far_to(GATE);
	legacy_run(by_jump);
	CHECK_EVENT_NOT_QEMU("jump through a task gate to the LDT", GP, NEW | 4,
			     "raises #TS (SDM vol. 2, JMP)");
	prepare(task_end);
	legacy_idt[UD] = legacy_gate(NEW, 0, TASK_GATE, 0);
	legacy_describe(NEW, address32(new_tss), 0x66, TSS32, SMALL);
	legacy_run(by_ud);
	CHECK_EVENT_NOT_QEMU("an exception to a short TSS", TS, NEW | 1,
			     "leaves EXT out of the error code (SDM vol. 3, 6.13)");
	prepare(task_end);
	legacy_set16(legacy_tss, LINK, NEW);
	legacy_run(nested_iret);
	CHECK_EVENT("IRET to a task that is not busy", TS, NEW, nested_iret_at);
	prepare(task_end);
	legacy_set16(legacy_tss, LINK, LEGACY_CODE);
	legacy_run(nested_iret);
	CHECK_EVENT("IRET to code", TS, LEGACY_CODE, nested_iret_at);
	prepare(task_end);
	legacy_describe(NEW, address32(new_tss), 0x67, TSS32_BUSY, SMALL);
	legacy_set16(legacy_tss, LINK, NEW);
	legacy_run(nested_iret);
	CHECK("IRET to a busy task", task_words[0], 1);
}

/* A segment of the new task that can't be loaded. The handler is a task of its own. */
static void new_task_fault(const char *name, unsigned item, uint32_t selector, uint32_t vector, const char *why)
{
	prepare(task_end);
	legacy_describe(EXTRA, 0, 0xfffff, (item == CS ? CODE_RX : DATA_RW) ^ ABSENT, BIG_PAGES);
	if (item <= GS)
		legacy_set16(new_tss, SELECTORS + 4 * item, (uint16_t)selector);
	else
		legacy_set16(new_tss, item, (uint16_t)selector);
	task32(handler_tss, task_error_code, handler_stack);
	legacy_set32(handler_tss, EIP, address32(task_end));
	legacy_describe(HANDLER, address32(handler_tss), 0x67, TSS32, SMALL);
	legacy_idt[vector] = legacy_gate(HANDLER, 0, TASK_GATE, 0);
	legacy_run(by_jump);
	CHECK_NOT_QEMU(name, legacy_get16(handler_tss, LINK) << 16 | legacy_get16(handler_stack, TASK_STACK_BYTES - 4),
		       NEW << 16 | (selector & 0xfffc), why);
}

static void faults_of_the_new_task(void)
{
	const char *where = "leaves the EIP of the old task, or raises another exception (SDM vol. 3, table 7-1)";

	topic("faults of the new task");
	new_task_fault("CS null", CS, 0, TS, (const char *)0);
	new_task_fault("CS data", CS, LEGACY_DATA, TS, (const char *)0);
	new_task_fault("CS of another RPL", CS, LEGACY_CODE | 3, TS, (const char *)0);
	new_task_fault("CS absent", CS, EXTRA, NP, (const char *)0);
	new_task_fault("SS null", SS_, 0, TS, (const char *)0);
	new_task_fault("SS code", SS_, LEGACY_CODE, TS, (const char *)0);
	new_task_fault("SS of ring 3", SS_, LEGACY_USER_DATA, TS, (const char *)0);
	new_task_fault("SS absent", SS_, EXTRA, SS, where);
	new_task_fault("DS absent", DS, EXTRA, NP, (const char *)0);
	new_task_fault("GS a TSS", GS, NEW, TS, (const char *)0);
	new_task_fault("LDT code", LDT_SELECTOR, LEGACY_CODE, TS, (const char *)0);
	prepare(task_end);
	legacy_set32(new_tss, TRAP, 1);
	legacy_run(by_jump);
	CHECK_NOT_QEMU("T flag", legacy_event[EVENT_VECTOR] << 16 | legacy_event_tr, DB << 16 | NEW,
		       "does not look at it (SDM vol. 3, 17.3.1.4)");
	prepare(task_end);
	legacy_set32(new_tss, EFLAGS, 0x102);
	legacy_run(by_jump);
	CHECK("TF steps the new task", legacy_event[EVENT_VECTOR] << 16 | legacy_event_tr, DB << 16 | NEW);
}

_Noreturn void guest_main(void)
{
	jumps_and_calls();
	small_tasks();
	events();
	refusals();
	faults_of_the_new_task();
	finish();
}
