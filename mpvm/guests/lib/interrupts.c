#include "interrupts.h"

#include "console.h"
#include "machine.h"
#include "power.h"

#define VECTORS 256
#define VECTOR_ENTRY_BYTES 16
#define GATE_INTERRUPT_64 0x8e
#define GATE_DPL3 0x60
#define GATE_PRESENT 0x80

/* SDM vol. 3, figure 6-8. */
struct gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t reserved;
} __attribute__((packed));

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

extern const uint8_t vector_entries[];

static struct gate idt[VECTORS] __attribute__((aligned(16)));
static interrupt_handler *handlers[VECTORS];

static void set_gate(int vector)
{
	uint64_t entry = (uintptr_t)vector_entries + (uintptr_t)vector * VECTOR_ENTRY_BYTES;

	idt[vector] = (struct gate){
		.offset_low = (uint16_t)entry,
		.selector = KERNEL_CODE,
		.type = GATE_INTERRUPT_64,
		.offset_middle = (uint16_t)(entry >> 16),
		.offset_high = (uint32_t)(entry >> 32),
	};
}

static _Noreturn void report(const struct interrupt_frame *frame)
{
	if (!claim_last_words())
		halt_forever();
	/* By CPUID, since the per-CPU pointer may be what is wrong. */
	print("exception: vector %lu error %lx rip %lx cs %lx rflags %lx rsp %lx cr2 %lx on APIC id %u\n", frame->vector,
	      frame->error_code, frame->rip, frame->cs, frame->rflags, frame->rsp, read_cr2(), cpuid(1, 0).ebx >> 24);
	debug_exit(EXIT_EXCEPTION);
}

/* The local APIC gives this vector when an interrupt went away before it was taken. No EOI is due
 * (SDM vol. 3, section 10.9). */
static void ignore_spurious(struct interrupt_frame *frame)
{
	(void)frame;
}

void interrupt_dispatch(struct interrupt_frame *frame);
void interrupt_dispatch(struct interrupt_frame *frame)
{
	interrupt_handler *handler = handlers[frame->vector];

	if (!handler)
		report(frame);
	handler(frame);
}

void interrupts_init(void)
{
	for (int vector = 0; vector < VECTORS; vector++)
		set_gate(vector);
	idt[VECTOR_DF].ist = IST_DOUBLE_FAULT;
	idt[VECTOR_NMI].ist = IST_NMI;
	set_handler(VECTOR_SPURIOUS, ignore_spurious);
}

void interrupts_load(void)
{
	struct table_pointer pointer = { sizeof idt - 1, (uintptr_t)idt };

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

void set_handler(int vector, interrupt_handler *handler)
{
	__atomic_store_n(&handlers[vector], handler, __ATOMIC_RELEASE);
}

void allow_from_ring3(int vector)
{
	idt[vector].type |= GATE_DPL3;
}

void set_gate_present(int vector, bool present)
{
	if (present)
		idt[vector].type |= GATE_PRESENT;
	else
		idt[vector].type &= (uint8_t)~GATE_PRESENT;
}
