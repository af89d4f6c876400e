/* Code that stores to code, on one CPU: the next instruction, the same line, another mapping, across pages, and by string
 * instructions (SDM vol. 3, 8.1.3 and 11.6). tests/guests/code-modification has what several CPUs do to each other. */
#include "code.h"
#include "conformance.h"
#include "guest.h"
#include "paging.h"

#define ALIAS WINDOW

enum { IMMEDIATE_AT = 1, ROUNDS = 200 };

static uint8_t code[2 * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
extern uint8_t next_one[], same_line[], far_one[];

static void test_next_instruction(void)
{
	uint32_t result, wrong = 0;

	topic("the next instruction");
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		__asm__ volatile("movl %1, next_one + 1(%%rip)\n"
				 ".globl next_one\n"
				 "next_one: movl $0, %%eax"
				 : "=a"(result)
				 : "r"(i)
				 : "memory");
		wrong += result != i;
	}
	CHECK("the very next instruction is new", wrong, 0);
	wrong = 0;
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		__asm__ volatile("movl %1, same_line + 1(%%rip)\n"
				 "nop; nop; nop\n"
				 ".globl same_line\n"
				 "same_line: movl $0, %%eax"
				 : "=a"(result)
				 : "r"(i)
				 : "memory");
		wrong += result != i;
	}
	CHECK("an instruction of the same line is new", wrong, 0);
	__asm__ volatile("movb $0x90, far_one(%%rip); movb $0x90, far_one + 1(%%rip)\n"
			 "xorl %%eax, %%eax; jmp 1f\n"
			 "1:\n"
			 ".globl far_one\n"
			 "far_one: incl %%eax"
			 : "=a"(result)
			 :
			 : "memory", "cc");
	CHECK("an instruction behind a jump is new", result, 0);
}

static void test_pages(void)
{
	uint8_t *across = code + PAGE_BYTES - 3;
	volatile uint32_t *alias;
	uint32_t value = 77;
	uint64_t to, from, count;

	topic("pages");
	write_function(across, 1);
	CHECK("across two pages", call_code(across), 1);
	across[4] = 2;
	CHECK("its bytes in the second page", call_code(across), 1 | 2u << 24);
	across[IMMEDIATE_AT] = 3;
	CHECK("its bytes in the first page", call_code(across), 3 | 2u << 24);

	write_function(code, 5);
	CHECK("before the store", call_code(code), 5);
	map_page(ALIAS, code, PTE_P | PTE_W);
	alias = (volatile uint32_t *)(ALIAS + IMMEDIATE_AT);
	*alias = 6;
	CHECK("by another mapping", call_code(code), 6);
	to = (uint64_t)code + IMMEDIATE_AT, from = (uint64_t)&value, count = sizeof value;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
	CHECK("by rep movs", call_code(code), 77);
	__asm__ volatile("lock incl %0" : "+m"(*(uint32_t *)(code + IMMEDIATE_AT)) : : "cc", "memory");
	CHECK("by lock inc", call_code(code), 78);
	__asm__ volatile("pushq %%rbp; movq %%rsp, %%rbp; leaq (%[at]), %%rsp; pushq %[value]; movq %%rbp, %%rsp; popq %%rbp"
			 :
			 : [at] "r"(code + IMMEDIATE_AT + sizeof to), [value] "r"((uint64_t)RET << 32 | 79)
			 : "memory");
	CHECK("by push", call_code(code), 79);
}

_Noreturn void guest_main(void)
{
	test_next_instruction();
	test_pages();
	finish();
}
