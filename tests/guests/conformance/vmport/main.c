/* VMware's port, as QEMU has it: a command in EAX and CX, its answer in registers. The last CPU asks. */
#include "conformance.h"
#include "guest.h"
#include "smp.h"

#define PORT 0x5658
#define MAGIC 0x564d5868

struct answer {
	uint64_t rax, rbx, rcx, rdx;
};

static struct answer command(uint64_t rax, uint64_t rcx)
{
	struct answer r;

	__asm__ volatile("inl %%dx, %%eax"
			 : "=a"(r.rax), "=b"(r.rbx), "=c"(r.rcx), "=d"(r.rdx)
			 : "a"(rax), "b"(0xbbbbbbbbul), "c"(rcx), "d"(0xdddd000000000000ul | PORT)
			 : "memory");
	return r;
}

static void test(void)
{
	struct answer r = command(MAGIC, 10);

	topic("commands");
	CHECK("version", r.rax, 6);
	CHECK("version, EBX", r.rbx, MAGIC);
	CHECK("version, ECX", r.rcx, 2);
	CHECK("version leaves RDX", r.rdx, 0xdddd000000000000ul | PORT);
	r = command(MAGIC, 20);
	CHECK("size of RAM", r.rax, 128 << 20);
	CHECK("size of RAM, EBX", r.rbx, 0x1177);
	r = command(MAGIC, 19);
	CHECK("UUID", r.rax | r.rbx | r.rcx | r.rdx, 0);
	r = command(MAGIC, 68);
	CHECK("CPU, x2APIC", r.rax >> 3 & 1, cpuid(1, 0).ecx >> 21 & 1);
	r = command(MAGIC, 99);
	CHECK("an unknown command", r.rax, 0xffffffff);
	CHECK("an unknown command leaves EBX", r.rbx, 0xbbbbbbbb);
	r = command(MAGIC + 1, 10);
	CHECK("another number in EAX", r.rax, 0xffffffff);
	r = command(MAGIC, 0x77777700 | 10);
	CHECK("CX's upper bits do not count", r.rax, 6);

	topic("accesses");
	__asm__ volatile("inw %%dx, %%ax" : "=a"(r.rax), "=b"(r.rbx), "=c"(r.rcx) : "a"(MAGIC), "b"(0), "c"(10), "d"(PORT));
	CHECK("a word", r.rax, 6);
	CHECK("a word, EBX", r.rbx, MAGIC);
	__asm__ volatile("inb %%dx, %%al" : "=a"(r.rax), "=b"(r.rbx), "=c"(r.rcx) : "a"(MAGIC), "b"(0), "c"(10), "d"(PORT));
	CHECK("a byte", r.rax, 6);
	__asm__ volatile("outl %%eax, %%dx" : "=a"(r.rax), "=b"(r.rbx), "=c"(r.rcx) : "a"(MAGIC), "b"(0), "c"(10), "d"(PORT));
	CHECK("a write", r.rax, 6);
	CHECK("a write, EBX", r.rbx, MAGIC);
}

static void work(struct cpu *cpu)
{
	if (cpu->index == cpu_count - 1)
		test();
}

_Noreturn void guest_main(void)
{
	smp_init();
	smp_start();
	smp_run(work);
	finish();
}
