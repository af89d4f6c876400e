/* The remapping unit's commands and its queue. */
#include "tests.h"

static uint64_t queue[512] __attribute__((aligned(4096)));
static volatile uint32_t flushed;

void vtd_command(uint32_t set, uint32_t clear)
{
	/* The one-shot commands are not given again. */
	uint32_t kept = vtd_read(VTD_GSTS) & (GCMD_TE | GCMD_QIE | GCMD_IRE);

	vtd_write(VTD_GCMD, (kept & ~clear) | set);
	while ((vtd_read(VTD_GSTS) & (set | clear)) != set)
		pause();
}

static uint64_t put(uint64_t tail, uint64_t low, uint64_t high)
{
	queue[tail / 8] = low;
	queue[tail / 8 + 1] = high;
	return (tail + 16) % sizeof queue;
}

void vtd_flush(void)
{
	uint64_t tail = vtd_read_wide(VTD_IQT);

	if (!(vtd_read(VTD_GSTS) & GCMD_QIE)) {
		vtd_write_wide(VTD_IQA, (uintptr_t)queue);
		vtd_write_wide(VTD_IQT, tail = 0);
		vtd_command(GCMD_QIE, 0);
	}
	flushed = 0;
	tail = put(tail, 0x11, 0); /* all contexts */
	tail = put(tail, 0x12, 0); /* the whole IOTLB */
	tail = put(tail, 0x04, 0); /* all interrupt entries */
	tail = put(tail, 0x1234ull << 32 | 0x25, (uintptr_t)&flushed); /* wait, and store */
	vtd_write_wide(VTD_IQT, tail);
	while (flushed != 0x1234)
		pause();
}
