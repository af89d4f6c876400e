/* Code that is changed: by itself, through another mapping, by another CPU, by remapping, and under a CPU
 * that runs it. Everywhere the new code must run, never the old (SDM vol. 3, section 8.1.3).
 *
 * Command line: rounds= on one CPU and between two, all_rounds= with all CPUs; race=1 adds changes that come while
 * another CPU runs or fetches the code. The SDM leaves those to the processor; operating systems patch their text
 * that way and rely on it. QEMU 7.2 fails them now and then: a store that comes while another vCPU translates the
 * bytes goes unseen, and the old translation stays. Any smp. Status 33 when all passed. */
#include "apic.h"
#include "check.h"
#include "code.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "paging.h"
#include "smp.h"
#include "string.h"

#define ALIAS WINDOW
#define REMAPPED (WINDOW + 0x10000)

#define VECTOR_SYNC VECTOR_TEST

#define FUNCTION_STRIDE 16
#define INT3 0xcc
#define HLT 0xf4

enum { TRAPPED = -1 };

static uint8_t code[2 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t alone[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t frames[2][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint64_t rounds, all_rounds;
static bool race;

static void write_immediate(void *at, uint32_t value)
{
	__asm__ volatile("movl %1, 1(%0)" : : "r"(at), "r"(value) : "memory");
}

/* -- one CPU ----------------------------------------------------------------------------------- */

static void test_own_code(void)
{
	uint64_t stale = 0;

	topic("a CPU changes its own code");
	write_function(code, 0);
	for (uint64_t i = 1; i <= rounds; i++) {
		write_immediate(code, (uint32_t)i);
		stale += call_code(code) != (uint32_t)i;
	}
	EXPECT("stale calls", stale, 0);
}

static void test_code_ahead(void)
{
	/* MOV [RDI], ESI; JMP +0; MOV EAX, 0; RET: the store hits the MOV that follows. */
	static const uint8_t bytes[] = { 0x89, 0x37, 0xeb, 0x00, 0xb8, 0, 0, 0, 0, 0xc3 };
	uint64_t stale = 0;

	topic("code changes what comes next");
	memcpy(code, bytes, sizeof bytes);
	for (uint64_t i = 1; i <= rounds; i++) {
		uint32_t result;

		__asm__ volatile("call *%1" : "=a"(result) : "r"(code), "D"(code + 5), "S"((uint32_t)i) : "cc", "memory");
		stale += result != (uint32_t)i;
	}
	EXPECT("stale calls", stale, 0);
}

/* The immediate lies in two pages. */
static void test_page_crossing(void)
{
	uint8_t *crossing = code + PAGE_BYTES - 3;
	uint64_t stale = 0;

	topic("an instruction that crosses a page");
	write_function(crossing, 0);
	for (uint64_t i = 1; i <= rounds; i++) {
		uint32_t value = (uint32_t)(i * 0x01010101);

		write_immediate(crossing, value);
		stale += call_code(crossing) != value;
		/* Only its second page is written. */
		*(volatile uint8_t *)(code + PAGE_BYTES) = (uint8_t)i;
		value = (value & 0xff00ffff) | (uint32_t)(uint8_t)i << 16;
		stale += call_code(crossing) != value;
	}
	EXPECT("stale calls", stale, 0);
}

static void test_alias(void)
{
	uint64_t stale = 0;

	topic("through another mapping of the page");
	map_page(ALIAS, code, PTE_P | PTE_W);
	write_function(code, 0);
	for (uint64_t i = 1; i <= rounds; i++) {
		bool write_by_alias = i & 1;

		write_immediate(write_by_alias ? physical(ALIAS) : code, (uint32_t)i);
		serialize();
		stale += call_code(code) != (uint32_t)i;
		stale += call_code(physical(ALIAS)) != (uint32_t)i;
	}
	EXPECT("stale calls", stale, 0);
}

/* Every kind of store, and stores by the page walker's side are in the atomics guest. */
static void test_kinds_of_store(void)
{
	uint64_t stale = 0;

	topic("every kind of store");
	write_function(code, 0);
	for (uint64_t i = 1; i <= rounds; i++) {
		uint32_t value = (uint32_t)i;
		uint8_t *immediate = code + 1;

		*(volatile uint8_t *)immediate = (uint8_t)~value;
		stale += (uint8_t)call_code(code) != (uint8_t)~value;
		memcpy(immediate, &value, sizeof value);
		stale += call_code(code) != value;
		value = ~value;
		__asm__ volatile("xchgl %0, (%1)" : "+r"(value) : "r"(immediate) : "memory");
		stale += call_code(code) != ~(uint32_t)i;
		__asm__ volatile("lock incl (%0)" : : "r"(immediate) : "cc", "memory");
		stale += call_code(code) != ~(uint32_t)i + 1;
		/* Succeeds: EDX:EAX is what is there, ECX:EBX the same with a new immediate. */
		__asm__ volatile("movl (%0), %%eax; movl 4(%0), %%edx; movl %%edx, %%ecx; movl %1, %%ebx;"
				 "lock cmpxchg8b (%0)"
				 :
				 : "D"(immediate), "S"((uint32_t)i * 3)
				 : "rax", "rbx", "rcx", "rdx", "cc", "memory");
		stale += call_code(code) != (uint32_t)i * 3;
	}
	EXPECT("stale calls", stale, 0);
}

static void test_remap(void)
{
	uint64_t stale = 0;

	topic("another frame under the same address");
	for (uint32_t i = 0; i < 2; i++)
		write_function(frames[i], 100 + i);
	for (uint64_t i = 1; i <= rounds; i++) {
		map_page(REMAPPED, frames[i & 1], PTE_P | PTE_W);
		stale += call_code(physical(REMAPPED)) != 100 + (uint32_t)(i & 1);
	}
	EXPECT("stale calls", stale, 0);
}

/* -- several CPUs ------------------------------------------------------------------------------ */

static struct {
	uint64_t sequence __attribute__((aligned(64)));
	uint64_t acknowledged __attribute__((aligned(64)));
	const void *entry;
	uint32_t value;
	int readers;
	uint64_t stale;
} hand_over;

static void publish(uint64_t sequence, const void *entry, uint32_t value)
{
	hand_over.entry = entry;
	hand_over.value = value;
	__atomic_store_n(&hand_over.sequence, sequence, __ATOMIC_RELEASE);
	while (__atomic_load_n(&hand_over.acknowledged, __ATOMIC_ACQUIRE) != sequence * (uint64_t)hand_over.readers)
		pause();
}

static void read_code(uint64_t last, bool by_alias)
{
	for (uint64_t sequence = 1; sequence <= last; sequence++) {
		const uint8_t *entry;

		while (__atomic_load_n(&hand_over.sequence, __ATOMIC_ACQUIRE) < sequence)
			pause();
		entry = hand_over.entry;
		if (by_alias)
			entry = physical(ALIAS + (uint64_t)(entry - code));
		serialize();
		if (call_code(entry) != hand_over.value)
			__atomic_add_fetch(&hand_over.stale, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&hand_over.acknowledged, 1, __ATOMIC_RELEASE);
	}
}

static void begin_hand_over(int readers)
{
	hand_over.sequence = 0;
	hand_over.acknowledged = 0;
	hand_over.stale = 0;
	hand_over.readers = readers;
}

/* The others are halted meanwhile. */
static void change_for_one_reader(struct cpu *cpu)
{
	if (cpu->index == 1)
		read_code(rounds, false);
	if (cpu->index != 0)
		return;
	for (uint64_t i = 1; i <= rounds; i++) {
		write_immediate(i & 1 ? code : physical(ALIAS), (uint32_t)i);
		publish(i, code, (uint32_t)i);
	}
}

/* Each round the page is filled anew, and the function stands where another stood before. */
static void refill_for_all(struct cpu *cpu)
{
	uint64_t places = PAGE_BYTES / FUNCTION_STRIDE;

	if (cpu->index != 0) {
		read_code(all_rounds, cpu->index & 1);
		return;
	}
	for (uint64_t i = 1; i <= all_rounds; i++) {
		uint8_t *place = code + (i % 5) * (places / 5) * FUNCTION_STRIDE;

		memset(code, HLT, PAGE_BYTES);
		write_function(place, (uint32_t)i);
		publish(i, place, (uint32_t)i);
	}
}

/* CPU 1 spins in a loop until CPU 0 changes one byte of it: in odd rounds when CPU 1 is known to run it,
 * in even ones perhaps while it first fetches it. One byte is written at once, so it needs no agreement. */
static uint64_t loops_left, iterations;

static void run_loop(void)
{
	__asm__ volatile("call *%0" : : "r"(alone), "D"(&iterations) : "cc", "memory");
}

static void leave_loops(struct cpu *cpu)
{
	/* INCQ (RDI); JMP -5; RET. With the displacement 0 it falls through. */
	static const uint8_t loop[] = { 0x48, 0xff, 0x07, 0xeb, 0xfb, 0xc3 };

	if (cpu->index > 1)
		return;
	for (uint64_t i = 1; i <= all_rounds; i++) {
		if (cpu->index == 1) {
			while (__atomic_load_n(&hand_over.sequence, __ATOMIC_ACQUIRE) < i)
				pause();
			serialize();
			run_loop();
			__atomic_store_n(&loops_left, i, __ATOMIC_RELEASE);
			continue;
		}
		iterations = 0;
		memcpy(alone, loop, sizeof loop);
		__atomic_store_n(&hand_over.sequence, i, __ATOMIC_RELEASE);
		while (i % 2 && __atomic_load_n(&iterations, __ATOMIC_ACQUIRE) < i)
			pause();
		*(volatile uint8_t *)(alone + 4) = 0;
		while (__atomic_load_n(&loops_left, __ATOMIC_ACQUIRE) < i)
			pause();
	}
}

/* -- breakpoint patching, as an operating system patches its own text -------------------------- */

static uint64_t synced;
static uint32_t published_value, next_value;
static bool patching_done;

static void sync(struct interrupt_frame *frame)
{
	(void)frame;
	__atomic_add_fetch(&synced, 1, __ATOMIC_ACQ_REL);
	apic_eoi(); /* and IRET serializes */
}

/* Returns from the function in its caller's stead. */
static void return_trapped(struct interrupt_frame *frame)
{
	frame->rax = (uint32_t)TRAPPED;
	frame->rip = *(const uint64_t *)physical(frame->rsp);
	frame->rsp += 8;
}

static void sync_all(void)
{
	uint64_t before = __atomic_load_n(&synced, __ATOMIC_ACQUIRE);

	apic_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_FIXED | VECTOR_SYNC);
	while (__atomic_load_n(&synced, __ATOMIC_ACQUIRE) != before + (uint64_t)cpu_count - 1)
		pause();
}

static void patch(uint32_t value)
{
	__atomic_store_n(&next_value, value, __ATOMIC_RELEASE);
	*(volatile uint8_t *)code = INT3;
	sync_all();
	write_immediate(code, value);
	sync_all();
	*(volatile uint8_t *)code = MOV_EAX;
	sync_all();
	__atomic_store_n(&published_value, value, __ATOMIC_RELEASE);
}

static void call_while_patched(void)
{
	uint64_t wrong = 0;

	while (!__atomic_load_n(&patching_done, __ATOMIC_ACQUIRE)) {
		uint32_t oldest = __atomic_load_n(&published_value, __ATOMIC_ACQUIRE);
		uint32_t result = call_code(code);
		uint32_t newest = __atomic_load_n(&next_value, __ATOMIC_ACQUIRE);

		wrong += result != (uint32_t)TRAPPED && (result < oldest || result > newest);
	}
	EXPECT("calls that ran neither old nor new code", wrong, 0);
}

static void patch_under_way(struct cpu *cpu)
{
	if (cpu->index != 0) {
		call_while_patched();
		return;
	}
	for (uint32_t value = 1; value <= all_rounds; value++)
		patch(value);
	__atomic_store_n(&patching_done, true, __ATOMIC_RELEASE);
}

static void test_several_cpus(void)
{
	if (cpu_count == 1) {
		not_present("a second CPU for cross-modifying code");
		return;
	}
	topic("a CPU changes another's code");
	write_function(code, 0);
	begin_hand_over(1);
	smp_run(change_for_one_reader);
	EXPECT("stale calls", hand_over.stale, 0);

	topic("a page is used again for other code");
	begin_hand_over(cpu_count - 1);
	smp_run(refill_for_all);
	EXPECT("stale calls", hand_over.stale, 0);

	if (!race)
		return;
	topic("a CPU is inside the code");
	begin_hand_over(1);
	smp_run(leave_loops);
	EXPECT("loops left", loops_left, all_rounds);

	topic("breakpoint patching");
	set_handler(VECTOR_SYNC, sync);
	set_handler(VECTOR_BP, return_trapped);
	write_function(code, 0);
	smp_run(patch_under_way);
	EXPECT("the last patch", call_code(code), all_rounds);
}

_Noreturn void guest_main(void)
{
	rounds = option("rounds", 2000);
	all_rounds = option("all_rounds", 100);
	race = option("race", 0);
	smp_start();
	test_own_code();
	test_code_ahead();
	test_page_crossing();
	test_alias();
	test_kinds_of_store();
	test_remap();
	test_several_cpus();
	finish();
}
