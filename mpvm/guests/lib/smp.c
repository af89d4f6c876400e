#include "smp.h"

#include "acpi.h"
#include "apic.h"
#include "interrupts.h"
#include "machine.h"
#include "power.h"
#include "string.h"
#include "timer.h"

#define IST_STACK_BYTES 4096

enum { INIT_DELAY_MS = 10, SIPI_DELAY_US = 200, START_LIMIT_MS = 20000 };

/* SDM vol. 3, figure 8-11. */
struct task_state {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map_base;
} __attribute__((packed));

_Static_assert(sizeof(struct task_state) == 104, "SDM vol. 3, figure 8-11");

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

struct descriptors {
	uint8_t gdt[GDT_BYTES] __attribute__((aligned(16)));
	struct task_state task_state __attribute__((aligned(16)));
};

_Static_assert(__builtin_offsetof(struct cpu, stack_top) == CPU_STACK_TOP, "start.S reads it");

extern const uint8_t boot_gdt[], trampoline_start[], trampoline_end[];

int cpu_count = 1;
struct cpu *cpu_by_apic_id[256];

static struct cpu cpus[MAX_CPUS];
static struct descriptors descriptors[MAX_CPUS];
static uint8_t stacks[MAX_CPUS][STACK_BYTES] __attribute__((aligned(16)));
static uint8_t double_fault_stacks[MAX_CPUS][IST_STACK_BYTES] __attribute__((aligned(16)));
static uint8_t nmi_stacks[MAX_CPUS][IST_STACK_BYTES] __attribute__((aligned(16)));
/* Where ring 3 comes back in: not the stack of the code that entered ring 3. */
static uint8_t ring0_stacks[MAX_CPUS][IST_STACK_BYTES] __attribute__((aligned(16)));

static int online;
static int barrier_arrived;
static uint32_t barrier_generation;
static void (*current_work)(struct cpu *cpu);

struct cpu *cpu_at(int index)
{
	return &cpus[index];
}

uint64_t share(uint64_t total, int index)
{
	uint64_t count = (uint64_t)cpu_count;

	return total / count + ((uint64_t)index < total % count);
}

uint64_t kernel_stack(void)
{
	return descriptors[this_cpu()->index].task_state.rsp[0];
}

static void load_descriptors(struct cpu *cpu)
{
	struct descriptors *own = &descriptors[cpu->index];
	uint64_t base = (uintptr_t)&own->task_state;
	uint64_t limit = sizeof own->task_state - 1;
	/* An available 64-bit TSS, present: SDM vol. 3, figure 8-4. */
	uint64_t descriptor[2] = {
		limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56,
		base >> 32,
	};
	struct table_pointer pointer = { sizeof own->gdt - 1, (uintptr_t)own->gdt };

	own->task_state.rsp[0] = (uintptr_t)ring0_stacks[cpu->index + 1];
	own->task_state.ist[IST_DOUBLE_FAULT - 1] = (uintptr_t)double_fault_stacks[cpu->index + 1];
	own->task_state.ist[IST_NMI - 1] = (uintptr_t)nmi_stacks[cpu->index + 1];
	own->task_state.io_map_base = sizeof own->task_state;
	memcpy(own->gdt, boot_gdt, GDT_BYTES);
	memcpy(own->gdt + TASK_STATE, descriptor, sizeof descriptor);

	/* CS, SS and the others stay as they are: the boot GDT has the same entries. */
	__asm__ volatile("lgdt %0" : : "m"(pointer) : "memory");
	__asm__ volatile("ltr %w0" : : "r"(TASK_STATE) : "memory");
	write_msr(MSR_GS_BASE, (uintptr_t)cpu);
}

static void add_cpu(int index, uint32_t id)
{
	cpus[index] = (struct cpu){
		.self = &cpus[index],
		.stack_top = stacks[index + 1],
		.index = index,
		.apic_id = id,
	};
	cpu_by_apic_id[id] = &cpus[index];
}

static void wake(struct interrupt_frame *frame)
{
	(void)frame;
	apic_eoi();
}

void barrier(void)
{
	uint32_t generation = __atomic_load_n(&barrier_generation, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&barrier_arrived, 1, __ATOMIC_ACQ_REL) == cpu_count) {
		__atomic_store_n(&barrier_arrived, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&barrier_generation, generation + 1, __ATOMIC_RELEASE);
		if (cpu_count > 1)
			apic_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_FIXED | VECTOR_WAKE);
		return;
	}
	interrupts_off();
	while (__atomic_load_n(&barrier_generation, __ATOMIC_ACQUIRE) == generation)
		wait_for_interrupt();
	interrupts_on();
}

void ap_main(struct cpu *cpu);
void ap_main(struct cpu *cpu)
{
	load_descriptors(cpu);
	interrupts_load();
	apic_enable();
	interrupts_on();
	__atomic_add_fetch(&online, 1, __ATOMIC_ACQ_REL);
	for (;;) {
		barrier();
		current_work(cpu);
		barrier();
	}
}

void smp_run(void (*work)(struct cpu *cpu))
{
	current_work = work;
	barrier();
	work(this_cpu());
	barrier();
}

void smp_init(void)
{
	add_cpu(0, cpuid(1, 0).ebx >> 24);
	load_descriptors(&cpus[0]);
	online = 1;
}

static void send_to_aps(uint32_t command)
{
	for (int i = 1; i < cpu_count; i++)
		apic_send(cpus[i].apic_id, command);
}

static int online_now(void)
{
	return __atomic_load_n(&online, __ATOMIC_ACQUIRE);
}

/* The sequence of SDM vol. 3, section 8.4.4.1, for all APs side by side: each finds its own stack. */
void smp_start(void)
{
	struct stopwatch watch;

	for (int i = 0; i < acpi.cpu_count; i++) {
		if (acpi.apic_id[i] != cpus[0].apic_id)
			add_cpu(cpu_count++, acpi.apic_id[i]);
	}
	memcpy(physical(TRAMPOLINE), trampoline_start, (size_t)(trampoline_end - trampoline_start));
	set_handler(VECTOR_WAKE, wake);
	apic_enable();
	interrupts_on();

	send_to_aps(ICR_INIT | ICR_LEVEL | ICR_ASSERT);
	delay_us(INIT_DELAY_MS * 1000);
	send_to_aps(ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);
	delay_us(SIPI_DELAY_US);
	/* An AP that is up already ignores the second. */
	if (online_now() < cpu_count)
		send_to_aps(ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);

	stopwatch_start(&watch);
	while (online_now() < cpu_count) {
		if (stopwatch_us(&watch) > START_LIMIT_MS * 1000)
			panic("%d of %d CPUs came up", online_now(), cpu_count);
		pause();
	}
}
