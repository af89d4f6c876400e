/* Delivery of events through the IDT in long mode (SDM vol. 3, chapter 6): faults on the way, double faults, stacks, what
 * comes first. One CPU. */
#include "tests.h"

#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "paging.h"
#include "provoke.h"
#include "string.h"

struct __attribute__((packed)) table_register {
	uint16_t limit;
	uint64_t base;
};

#define FRAGILE (WINDOW + 0x10000)
enum { GATE_BYTES = 16, GATE_IST = 4, TSS_IST = 0x24 };

static uint8_t safe_stack[PAGE_BYTES] __attribute__((aligned(16)));
static void *fragile_page;

void gate_set_stack(int vector, unsigned ist)
{
	struct table_register idt;

	__asm__ volatile("sidt %0" : "=m"(idt));
	*((uint8_t *)physical(idt.base) + vector * GATE_BYTES + GATE_IST) = (uint8_t)ist;
}

uint64_t fragile_stack_top(void)
{
	return FRAGILE + PAGE_BYTES;
}

void fragile_stack_map(bool present)
{
	map_page(FRAGILE, fragile_page, present ? PTE_P | PTE_W : 0);
}

static void stacks_init(void)
{
	struct table_register gdt;
	uint64_t tss, top = fragile_stack_top();
	uint16_t selector;
	uint8_t *descriptor;

	__asm__ volatile("sgdt %0; str %1" : "=m"(gdt), "=m"(selector));
	descriptor = (uint8_t *)physical(gdt.base) + selector;
	tss = 0;
	memcpy(&tss, descriptor + 2, 3);
	memcpy((uint8_t *)&tss + 3, descriptor + 7, 1);
	memcpy((uint8_t *)&tss + 4, descriptor + 8, 4);
	memcpy((uint8_t *)physical(tss) + TSS_IST + 8 * (IST_FRAGILE - 1), &top, sizeof top);
	top = (uint64_t)(uintptr_t)(safe_stack + sizeof safe_stack);
	memcpy((uint8_t *)physical(tss) + TSS_IST + 8 * (IST_SAFE - 1), &top, sizeof top);
	fragile_page = page_alloc();
	fragile_stack_map(true);
}

_Noreturn void guest_main(void)
{
	stacks_init();
	apic_enable();
	test_gates();
	test_double_faults();
	test_restart();
	test_stacks();
	test_order();
	test_nmi();
	finish();
}
