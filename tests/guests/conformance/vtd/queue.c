/* Queued invalidation (VT-d 3.3, 6.5.2). */
#include "arrivals.h"
#include "vtd.h"

#define ENTRIES 256
#define VECTOR 0x91
#define KIND_CONTEXT 1
#define KIND_PAGES 2
#define KIND_ENTRIES 4
#define KIND_WAIT 5
#define ALL (1 << 4)
#define WAIT_INTERRUPT (1 << 4)
#define WAIT_WRITE (1 << 5)

static volatile uint64_t queue[ENTRIES * 2] __attribute__((aligned(VTD_PAGE)));
static volatile uint32_t status;

void queue_put(uint64_t low, uint64_t high)
{
	uint32_t tail = vtd_read(VTD_IQT) / 16, next = (tail + 1) % ENTRIES;

	queue[2 * tail] = low;
	queue[2 * tail + 1] = high;
	vtd_write(VTD_IQT, next * 16);
}

static uint32_t wait_status(uint32_t value)
{
	status = 0;
	queue_put((uint64_t)value << 32 | WAIT_WRITE | KIND_WAIT, (uint64_t)&status);
	for (int i = 0; i < 1000 && status != value; i++)
		delay_us(10);
	return status;
}

void queue_invalidate_all(void)
{
	queue_put(ALL | KIND_CONTEXT, 0);
	queue_put(ALL | KIND_PAGES, 0);
	queue_put(KIND_ENTRIES, 0);
	wait_status(1);
}

/* What a descriptor leads to: 0 when it is carried out. The queue goes on behind it. */
static uint32_t put_wrong(uint64_t low, uint64_t high)
{
	uint32_t head = vtd_read(VTD_IQH), stands, was;

	queue_put(low, high);
	was = vtd_read(VTD_FSTS);
	stands = vtd_read(VTD_IQH) == head;
	if (was) {
		queue[head / 8] = ALL | KIND_PAGES;
		queue[head / 8 + 1] = 0;
		vtd_write(VTD_FSTS, was);
		vtd_write(VTD_IQT, vtd_read(VTD_IQT));
	}
	return was << 4 | stands;
}

void test_queue(void)
{
	topic("queued invalidation");
	vtd_write_wide(VTD_IQA, (uint64_t)queue);
	vtd_command(GCMD_QIE, 0);
	CHECK("it is on", vtd_read(VTD_GSTS), GCMD_QIE);
	CHECK("its address", vtd_read_wide(VTD_IQA), (uint64_t)queue);
	CHECK("it is empty", vtd_read(VTD_IQH), 0);
	CHECK("a status is written", wait_status(0x12345678), 0x12345678);
	CHECK("the head follows", vtd_read(VTD_IQH), 16);
	for (int i = 0; i < ENTRIES; i++)
		queue_put(ALL | KIND_PAGES, 0);
	CHECK("it goes round", vtd_read(VTD_IQH), 16);

	topic("its interrupt");
	forget_arrivals();
	queue_put(WAIT_INTERRUPT | KIND_WAIT, 0);
	CHECK("complete", vtd_read(VTD_ICS), 1);
	CHECK("the event waits", vtd_read(VTD_IECTL), EVENT_MASKED | EVENT_PENDING);
	vtd_write(VTD_IEADDR, 0xfee00000);
	vtd_write(VTD_IEDATA, VECTOR);
	vtd_write(VTD_IECTL, 0);
	CHECK("unmasked it comes", await_arrivals(0, VECTOR, 1), 1);
	CHECK("and waits no more", vtd_read(VTD_IECTL), 0);
	queue_put(WAIT_INTERRUPT | KIND_WAIT, 0);
	CHECK("once until it is taken", arrived(0, VECTOR), 1);
	vtd_write(VTD_ICS, 1);
	CHECK("taken", vtd_read(VTD_ICS), 0);
	queue_put(WAIT_INTERRUPT | KIND_WAIT, 0);
	CHECK("then again", await_arrivals(0, VECTOR, 2), 2);
	vtd_write(VTD_ICS, 1);
	vtd_write(VTD_IECTL, EVENT_MASKED);
	queue_put(WAIT_INTERRUPT | KIND_WAIT, 0);
	vtd_write(VTD_ICS, 1);
	CHECK("an event without its reason is none", vtd_read(VTD_IECTL), EVENT_MASKED);

	topic("wrong descriptors");
	CHECK("of no kind", put_wrong(0, 0), FSTS_IQE << 4 | 1);
	CHECK("of an unknown kind", put_wrong(0xe, 0), FSTS_IQE << 4 | 1);
	CHECK("contexts of no granularity", put_wrong(KIND_CONTEXT, 0), FSTS_IQE << 4 | 1);
	CHECK("contexts with a reserved bit", put_wrong(ALL | KIND_CONTEXT, 1), FSTS_IQE << 4 | 1);
	CHECK("pages of no granularity", put_wrong(KIND_PAGES, 0), FSTS_IQE << 4 | 1);
	CHECK("pages with a reserved bit", put_wrong(1ull << 32 | ALL | KIND_PAGES, 0), FSTS_IQE << 4 | 1);
	CHECK("too many pages", put_wrong(3 << 4 | KIND_PAGES, 19), FSTS_IQE << 4 | 1);
	CHECK("a wait for nothing", put_wrong(KIND_WAIT, 0), FSTS_IQE << 4 | 1);
	CHECK("a wait with a reserved bit", put_wrong(1 << 8 | WAIT_WRITE | KIND_WAIT, (uint64_t)&status),
	      FSTS_IQE << 4 | 1);
	CHECK("as many pages as there may be", put_wrong(3 << 4 | KIND_PAGES, 18), 0);
	CHECK("entries", put_wrong(ALL | KIND_ENTRIES, 0), 0);
	CHECK("it works again", wait_status(0x55), 0x55);
	vtd_command(0, GCMD_QIE);
	CHECK("it is off", vtd_read(VTD_GSTS), 0);
	CHECK("its head begins again", vtd_read(VTD_IQH), 0);
	vtd_write(VTD_IQT, 0);
	vtd_command(GCMD_QIE, 0);
	CHECK("on again", wait_status(0x66), 0x66);
}
