/* #DB and the debug registers (SDM vol. 3, 17.2 and 17.3). One CPU, ring 0, 64-bit mode. */
#include "tests.h"

#include "conformance.h"
#include "guest.h"
#include "machine.h"

struct trace trace;
uint64_t area[8];

void set_dr(unsigned number, uint64_t value)
{
	switch (number) {
	case 0: __asm__ volatile("movq %0, %%dr0" : : "r"(value)); break;
	case 1: __asm__ volatile("movq %0, %%dr1" : : "r"(value)); break;
	case 2: __asm__ volatile("movq %0, %%dr2" : : "r"(value)); break;
	case 3: __asm__ volatile("movq %0, %%dr3" : : "r"(value)); break;
	case 6: __asm__ volatile("movq %0, %%dr6" : : "r"(value)); break;
	default: __asm__ volatile("movq %0, %%dr7" : : "r"(value)); break;
	}
}

uint64_t get_dr(unsigned number)
{
	uint64_t value;

	switch (number) {
	case 0: __asm__ volatile("movq %%dr0, %0" : "=r"(value)); break;
	case 1: __asm__ volatile("movq %%dr1, %0" : "=r"(value)); break;
	case 2: __asm__ volatile("movq %%dr2, %0" : "=r"(value)); break;
	case 3: __asm__ volatile("movq %%dr3, %0" : "=r"(value)); break;
	case 6: __asm__ volatile("movq %%dr6, %0" : "=r"(value)); break;
	default: __asm__ volatile("movq %%dr7, %0" : "=r"(value)); break;
	}
	return value;
}

static void on_debug(struct interrupt_frame *frame)
{
	if (trace.count < EVENTS_MAX) {
		trace.event[trace.count].at = (int64_t)(frame->rip - trace.start);
		trace.event[trace.count].dr6 = get_dr(6) & ~(uint64_t)DR6_ONES;
		trace.event[trace.count].rf = frame->rflags >> 16 & 1;
	}
	trace.count++;
	set_dr(6, DR6_ONES);
	frame->rflags |= trace.returned;
	if (trace.count >= trace.last)
		frame->rflags &= ~(uint64_t)RFLAGS_TF;
}

void trace_begin(uint64_t dr7)
{
	trace = (struct trace){ .last = EVENTS_MAX };
	set_dr(7, DR7_ONES);
	set_dr(6, DR6_ONES);
	set_dr(7, DR7_ONES | dr7);
}

_Noreturn void guest_main(void)
{
	set_handler(VECTOR_DB, on_debug);
	test_registers();
	test_steps();
	test_breakpoints();
	test_shadow();
	finish();
}
