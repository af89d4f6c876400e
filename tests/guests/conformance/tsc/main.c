/* The time-stamp counter (SDM vol. 3, 17.17). */
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "provoke.h"
#include "ring3.h"

#define MSR_TSC 0x10
#define MSR_TSC_ADJUST 0x3b
#define MSR_TSC_AUX 0xc0000103
#define CR4_TSD (1ull << 2)

enum { ROUNDS = 10000 };
static const uint64_t LEAP = 1ull << 40;

static uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static uint64_t rdtscp(uint32_t *aux)
{
	uint32_t low, high;

	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(*aux) : : "memory");
	return (uint64_t)high << 32 | low;
}

static bool near(uint64_t value, uint64_t expected)
{
	return value - expected < LEAP / 2;
}

static void test_monotony(void)
{
	uint64_t before = rdtsc(), backwards = 0;
	uint32_t aux;

	topic("rdtsc");
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t now = i & 1 ? rdtsc() : rdtscp(&aux);

		backwards += now < before;
		before = now;
	}
	CHECK("it never goes back", backwards, 0);
	for (unsigned i = 0; i < ROUNDS; i++)
		pause();
	CHECK("it goes on", rdtsc() > before, 1);
	CHECK_NOT_QEMU("the msr is the same counter", near(read_msr(MSR_TSC), before), 1,
		       "reads another value than RDTSC, SDM vol. 3, 17.17.3");
	__asm__ volatile("movq $-1, %%rax; movq $-1, %%rdx; rdtsc; shrq $32, %%rax; shrq $32, %%rdx; orq %%rdx, %%rax"
			 : "=a"(before)
			 :
			 : "rdx", "cc");
	CHECK("the upper halves are zero", before, 0);
}

static void test_aux(void)
{
	uint32_t aux;

	topic("tsc_aux");
	if (!(cpuid(0x80000001, 0).edx >> 27 & 1)) {
		absent("rdtscp", "CPUID.80000001:EDX[27]");
		return;
	}
	write_msr(MSR_TSC_AUX, 0x12345678);
	rdtscp(&aux);
	CHECK("rdtscp reads it", aux, 0x12345678);
	CHECK("rdmsr reads it", read_msr(MSR_TSC_AUX), 0x12345678);
	write_msr(MSR_TSC_AUX, 0);
	rdtscp(&aux);
	CHECK("rdtscp reads the new one", aux, 0);
}

static void test_adjust(void)
{
	uint64_t now, adjust;

	topic("tsc_adjust");
	if (!(cpuid(7, 0).ebx >> 1 & 1)) {
		absent("tsc_adjust", "CPUID.7.0:EBX[1]");
		return;
	}
	CHECK("adjust is 0 at first", read_msr(MSR_TSC_ADJUST), 0);
	now = rdtsc();
	write_msr(MSR_TSC_ADJUST, LEAP);
	CHECK("adjust moves the counter", near(rdtsc(), now + LEAP), 1);
	CHECK("adjust is read back", read_msr(MSR_TSC_ADJUST), LEAP);
	now = rdtsc();
	adjust = read_msr(MSR_TSC_ADJUST);
	write_msr(MSR_TSC, now + LEAP);
	CHECK("a write of the counter moves adjust", near(read_msr(MSR_TSC_ADJUST), adjust + LEAP - LEAP / 4), 1);
	CHECK("a write of the counter moves it", near(rdtsc(), now + LEAP), 1);
	write_msr(MSR_TSC_ADJUST, 0);
}

static void test_disabled(void)
{
	topic("cr4.tsd");
	write_cr4(read_cr4() | CR4_TSD);
	PROVOKE("rdtsc", "m"(at_rip));
	CHECK_NO_FAULT("rdtsc in ring 0 with cr4.tsd");
	write_cr4(read_cr4() & ~CR4_TSD);
}

_Noreturn void guest_main(void)
{
	set_handler(VECTOR_GP, skip_fault);
	test_monotony();
	test_aux();
	test_adjust();
	test_disabled();
	finish();
}
