/* Accesses that cross a page of which one part is not there: nothing of them is done (SDM vol. 3, 6.5: faults leave the
 * state as it was), and CR2 is the first byte that could not be reached. */
#include "layout.h"
#include "ring3.h"
#include "string.h"
#include "tests.h"

#define LAST (AREA_NEXT - 4)

static void fill(void)
{
	memset(frames[0], 0x55, PAGE_BYTES);
	memset(frames[1], 0x55, PAGE_BYTES);
}

/* The bytes on both sides are as they were. */
static bool untouched(void)
{
	for (unsigned i = 0; i < 16; i++)
		if (frames[0][PAGE_BYTES - 1 - i] != 0x55 || frames[1][i] != 0x55)
			return false;
	return true;
}

#define CROSS(name, error_code, address, instruction, ...)            \
	do {                                                          \
		fill();                                               \
		PROVOKE(instruction, [at] "r"(LAST), ##__VA_ARGS__);  \
		CHECK_PAGE_FAULT(name, error_code, address);          \
		CHECK(name " does nothing", untouched(), true);       \
	} while (0)

static void test_second_absent(void)
{
	map_first(PTE_P | PTE_W);
	map_second(0);
	CROSS("load, second page absent", 0, AREA_NEXT, "movq (%[at]), %%rax");
	CROSS("store, second page absent", PF_W, AREA_NEXT, "movq %%rax, (%[at])");
	/* Whether what reads first says W is the CPU's. */
	CROSS("addition, second page absent", seen.error_code & PF_W, AREA_NEXT, "xaddq %%rax, (%[at])");
	CROSS("locked addition, second page absent", seen.error_code & PF_W, AREA_NEXT, "lock addq $1, (%[at])");
	CROSS("movs, second page absent", PF_W, AREA_NEXT, "movsq", "S"(frames[2]), "D"(LAST));
	CROSS("stos of 16 bits, second page absent", PF_W, AREA_NEXT, "stosw", "D"(AREA_NEXT - 1));
}

static void test_second_read_only(void)
{
	map_first(PTE_P | PTE_W);
	map_second(PTE_P);
	fill();
	PROVOKE("movq (%[at]), %%rax", [at] "r"(LAST));
	CHECK_NO_FAULT("load, second page read-only");
	CROSS("store, second page read-only", PF_P | PF_W, AREA_NEXT, "movq %%rax, (%[at])");
	CROSS("xchg, second page read-only", PF_P | PF_W, AREA_NEXT, "xchgq %%rax, (%[at])");
	CROSS("cmpxchg, second page read-only", PF_P | PF_W, AREA_NEXT, "lock cmpxchgq %%rcx, (%[at])");
	CROSS("addition, second page read-only", PF_P | PF_W, AREA_NEXT, "addq $1, (%[at])");
}

static void test_first_absent(void)
{
	map_first(0);
	map_second(PTE_P | PTE_W);
	CROSS("load, first page absent", 0, LAST, "movq (%[at]), %%rax");
	CROSS("store, first page absent", PF_W, LAST, "movq %%rax, (%[at])");
	map_second(0);
	CROSS("load, both pages absent", 0, LAST, "movq (%[at]), %%rax");
	CROSS("store, both pages absent", PF_W, LAST, "movq %%rax, (%[at])");
}

#define CODE (AREA + 2 * PAGE_BYTES)

static void leave(struct interrupt_frame *frame)
{
	record(frame);
	ring3_leave(0);
}

/* In ring 3, where the fault itself finds another stack; the stack pointer stays where it was. */
#define CHECK_PUSH(name, cr2_, ...)                                             \
	do {                                                                    \
		static const uint8_t code[] = { __VA_ARGS__ };                  \
                                                                                \
		fill();                                                         \
		memcpy(frames[2], code, sizeof code);                           \
		seen = (struct seen){ 0 };                                      \
		ring3_enter(CODE, AREA_NEXT + 4, 2, USER_CODE | 3);             \
		CHECK(name " vector", seen.vector, VECTOR_PF);                  \
		CHECK(name " error code", seen.error_code, PF_W | PF_U);        \
		CHECK(name " cr2", seen.cr2, cr2_);                             \
		CHECK(name " rip", seen.rip, CODE);                             \
		CHECK(name " leaves rsp", seen.rsp, AREA_NEXT + 4);             \
		CHECK(name " stores nothing", untouched(), true);               \
	} while (0)

static void test_stack(void)
{
	set_handler(VECTOR_PF, leave);
	map_page(CODE, frames[2], PTE_P | PTE_U);
	map_first(PTE_P | PTE_W | PTE_U);
	map_second(0);
	CHECK_PUSH("push, second page absent", AREA_NEXT, 0x50);
	CHECK_PUSH("call, second page absent", AREA_NEXT, 0xe8, 0, 0, 0, 0);
	map_first(0);
	map_second(PTE_P | PTE_W | PTE_U);
	CHECK_PUSH("push, first page absent", LAST, 0x50);
	CHECK_PUSH("call, first page absent", LAST, 0xe8, 0, 0, 0, 0);
	CHECK_PUSH("pushf, first page absent", LAST, 0x9c);
	CHECK_PUSH("enter, first page absent", LAST, 0xc8, 0, 0, 0);
	set_handler(VECTOR_PF, skip_fault);
}

static void test_fetch(void)
{
	/* mov $imm32, %eax; ret: the immediate lies in the second page. */
	static const uint8_t code[] = { 0xb8, 1, 0, 0, 0, 0xc3 };

	map_area(PTE_P | PTE_W);
	for (unsigned i = 0; i < sizeof code; i++)
		*(volatile uint8_t *)physical(AREA_NEXT - 2 + i) = code[i];
	PROVOKE("call *%[at]", [at] "r"(AREA_NEXT - 2));
	CHECK_NO_FAULT("fetch across pages");
	map_second(0);
	seen = (struct seen){ 0 };
	__asm__ volatile("leaq 772f(%%rip), %%r11; movq %%r11, %0; pushq %%r11; jmp *%1; 772: popq %%r11"
			 : "=m"(resume_rip)
			 : "r"(AREA_NEXT - 2)
			 : "rax", "r11", "cc", "memory");
	CHECK("fetch, second page absent", seen.count, 1);
	CHECK("fetch, second page absent, error code", seen.error_code, PF_I);
	CHECK("fetch, second page absent, cr2", seen.cr2, AREA_NEXT);
	CHECK("fetch, second page absent, rip", seen.rip, AREA_NEXT - 2);
	map_second(PTE_P | PTE_NX);
	seen = (struct seen){ 0 };
	__asm__ volatile("leaq 772f(%%rip), %%r11; movq %%r11, %0; pushq %%r11; jmp *%1; 772: popq %%r11"
			 : "=m"(resume_rip)
			 : "r"(AREA_NEXT - 2)
			 : "rax", "r11", "cc", "memory");
	CHECK("fetch, second page nx, error code", seen.error_code, PF_P | PF_I);
	CHECK("fetch, second page nx, cr2", seen.cr2, AREA_NEXT);
	CHECK("fetch, second page nx, rip", seen.rip, AREA_NEXT - 2);
	map_area(PTE_P | PTE_W);
}

void test_crossing(void)
{
	topic("crossing");
	test_second_absent();
	test_second_read_only();
	test_first_absent();
	test_stack();
	test_fetch();
}
