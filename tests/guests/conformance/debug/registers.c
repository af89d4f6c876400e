/* MOV DR (SDM vol. 2, its page; vol. 3, 17.2). */
#include "tests.h"

#include "conformance.h"
#include "machine.h"
#include "provoke.h"

#define QEMU_KEEPS "keeps reserved bits; vol. 3, 17.2.3 and 17.2.4"

static void test_fixed_bits(void)
{
	topic("DR6 and DR7");
	set_dr(6, 0);
	CHECK("DR6 of 0", get_dr(6), DR6_ONES);
	set_dr(6, 0xffffffff);
	CHECK_NOT_QEMU("DR6 of all ones", get_dr(6), 0xffffefff, QEMU_KEEPS);
	set_dr(6, DR6_ONES);
	set_dr(7, 0);
	CHECK("DR7 of 0", get_dr(7), DR7_ONES);
	set_dr(7, 0xd800);
	CHECK_NOT_QEMU("DR7 of its reserved bits", get_dr(7), DR7_ONES, QEMU_KEEPS);
	set_dr(7, 0x300);
	CHECK("DR7.LE and GE", get_dr(7), DR7_ONES | 0x300);
	set_dr(7, DR7_ONES);
	set_dr(3, 0xffff800000001234);
	CHECK("DR3", get_dr(3), 0xffff800000001234);
	PROVOKE("movq %%rbx, %%dr6", "b"(1ull << 32));
	CHECK("DR6 of 33 bits exceptions", seen.count, 1);
	CHECK("DR6 of 33 bits vector", seen.vector, VECTOR_GP);
	PROVOKE("movq %%rbx, %%dr7", "b"(1ull << 32));
	CHECK("DR7 of 33 bits exceptions", seen.count, 1);
	CHECK("DR7 of 33 bits vector", seen.vector, VECTOR_GP);
}

static void test_aliases(void)
{
	uint64_t value;

	topic("DR4 and DR5");
	write_cr4(read_cr4() & ~(uint64_t)CR4_DE);
	__asm__ volatile("movq %0, %%dr4" : : "r"(DR6_ONES | 2ull));
	CHECK("DR4 is DR6", get_dr(6), DR6_ONES | 2);
	__asm__ volatile("movq %%dr5, %0" : "=r"(value));
	CHECK("DR5 is DR7", value, DR7_ONES);
	write_cr4(read_cr4() | CR4_DE);
	PROVOKE("movq %%dr4, %%rbx", "b"(0));
	CHECK_FAULT("DR4 with CR4.DE", VECTOR_UD, 0);
	PROVOKE("movq %%rbx, %%dr5", "b"(0));
	CHECK_FAULT("DR5 with CR4.DE", VECTOR_UD, 0);
	write_cr4(read_cr4() & ~(uint64_t)CR4_DE);
}

static void test_general_detect(void)
{
#define QEMU_HAS_NONE "has no general detect; vol. 3, 17.2.4"
	topic("general detect");
	trace_begin(DR7_GD);
	RUN("1: movq %%dr0, %%rcx", "m"(trace));
	CHECK_NOT_QEMU("general detect, events", trace.count, 1, QEMU_HAS_NONE);
	CHECK_EVENT_NOT_QEMU("general detect", 1, 0, DR6_BD, QEMU_HAS_NONE);
	CHECK_NOT_QEMU("general detect, DR7 after", get_dr(7), DR7_ONES, QEMU_HAS_NONE);
}

void test_registers(void)
{
	set_handler(VECTOR_UD, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	test_fixed_bits();
	test_aliases();
	test_general_detect();
	set_dr(7, DR7_ONES);
}
