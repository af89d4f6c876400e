/* When an interrupt is taken that this CPU has sent itself. Guests look for it an instruction or two later. */
#include "arrivals.h"
#include "conformance.h"
#include "tests.h"

#define VECTOR 0x81

enum { ROUNDS = 200 };

static __attribute__((noinline)) void send_self(void)
{
	apic_write(APIC_ICR, ICR_SELF | ICR_ASSERT | VECTOR);
}

static __attribute__((noinline)) void set_task_priority(uint32_t value)
{
	apic_write(APIC_TPR, value);
}

#define EVERY_ROUND(name, ...)                                    \
	do {                                                      \
		uint64_t late = 0;                                \
                                                                  \
		for (uint64_t i = 0; i < ROUNDS; i++) {           \
			uint64_t before = arrived(0, VECTOR);     \
                                                                  \
			__VA_ARGS__;                              \
			late += arrived(0, VECTOR) != before + 1; \
		}                                                 \
		CHECK(name, late, 0);                             \
	} while (0)

void test_precision(void)
{
	topic("the moment of a self-IPI");
	forget_arrivals();
	interrupts_on();
	EVERY_ROUND("after a function that sends it and a NOP", send_self(); __asm__ volatile("nop" : : : "memory"));
	EVERY_ROUND("after STI and a NOP", interrupts_off(); send_self();
		    __asm__ volatile("sti; nop; nop" : : : "memory"));
	EVERY_ROUND("after STI and HLT", interrupts_off(); send_self(); __asm__ volatile("sti; hlt" : : : "memory"));
	EVERY_ROUND("after the task priority falls", set_task_priority(0xf0); send_self(); set_task_priority(0);
		    __asm__ volatile("nop" : : : "memory"));
	EVERY_ROUND("after CR8 falls", write_cr8(15); send_self(); write_cr8(0);
		    __asm__ volatile("nop" : : : "memory"));
	EVERY_ROUND("after IRET that sets IF", interrupts_off(); send_self();
		    __asm__ volatile("movq %%rsp, %%rax; pushq $%c0; pushq %%rax; pushfq; orq $%c2, (%%rsp); pushq $%c1;"
				     "leaq 1f(%%rip), %%rax; pushq %%rax; iretq; 1: nop"
				     :
				     : "i"(KERNEL_DATA), "i"(KERNEL_CODE), "i"(RFLAGS_IF)
				     : "rax", "memory", "cc"));
	EVERY_ROUND("after POPF that sets IF", interrupts_off(); send_self();
		    __asm__ volatile("pushfq; orq $%c0, (%%rsp); popfq; nop" : : "i"(RFLAGS_IF) : "memory", "cc"));
}
