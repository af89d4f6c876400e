#include "timer.h"

#include "acpi.h"
#include "machine.h"

#define PM_TIMER_HZ 3579545
#define US_PER_SECOND 1000000

static uint32_t pm_timer(void)
{
	return inl(acpi.pm_timer) & acpi.pm_timer_mask;
}

void stopwatch_start(struct stopwatch *watch)
{
	watch->last = pm_timer();
	watch->ticks = 0;
}

uint64_t stopwatch_us(struct stopwatch *watch)
{
	uint32_t now = pm_timer();

	watch->ticks += (now - watch->last) & acpi.pm_timer_mask;
	watch->last = now;
	return watch->ticks * US_PER_SECOND / PM_TIMER_HZ;
}

void delay_us(uint32_t us)
{
	struct stopwatch watch;

	stopwatch_start(&watch);
	while (stopwatch_us(&watch) < us)
		pause();
}
