/* What an access to a port costs, one by one.
 *
 * The mask of the first 8259 (0x21) has no side effects; on mpvm both directions are answered by the coordinator.
 * The index of the RTC (0x70) is a write that nobody waits for, the PM timer a read that is answered without leaving
 * the vCPU's process. Command line: accesses= of each kind (20000). */
#include "acpi.h"
#include "bench.h"
#include "guest.h"

#define PIC_MASK 0x21
#define RTC_INDEX 0x70
#define RTC_REGISTER_D 0x0d

enum { WARM_UP = 200 };

/* The median of pairs of RDTSC alone is not taken off: it is the same on both sides, tens of nanoseconds. */
#define MEASURE(name, access)                                                     \
	do {                                                                      \
		for (uint64_t i = 0; i < WARM_UP; i++)                            \
			access;                                                   \
		for (uint64_t i = 0; i < accesses; i++) {                         \
			uint64_t started = read_tsc();                            \
                                                                                  \
			access;                                                   \
			bench_sample(read_tsc() - started);                       \
		}                                                                 \
		bench_samples(name);                                              \
	} while (0)

void guest_main(void)
{
	uint64_t accesses = option("accesses", SAMPLES_MAX);

	bench_calibrate();
	MEASURE("port-read", inb(PIC_MASK));
	MEASURE("port-write", outb(PIC_MASK, 0xff));
	MEASURE("port-posted", outb(RTC_INDEX, RTC_REGISTER_D));
	MEASURE("pm-timer", inl(acpi.pm_timer));
	power_off();
}
