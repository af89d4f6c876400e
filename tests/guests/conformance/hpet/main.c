/* The high precision event timers (IA-PC HPET specification 1.0a): counter, one-shot and periodic timers, edge, level
 * and legacy replacement. One CPU. */
#include "acpi.h"
#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "smp.h"
#include "timer.h"

#define HPET 0xfed00000
#define CAPABILITIES 0x00
#define CONFIGURATION 0x10
#define STATUS 0x20
#define COUNTER 0xf0
#define TIMER(n) (0x100 + 0x20 * (n))
#define COMPARATOR(n) (TIMER(n) + 8)

#define ENABLE 1
#define LEGACY 2
#define LEVEL 0x002
#define INTERRUPT 0x004
#define PERIODIC 0x008
#define VALUE_SET 0x040
#define MODE_32 0x100
#define ROUTE_2 (2 << 9)
#define ROUTE_MASK 0x3e00

#define TICKS_PER_MS 100000
#define PIN_PIT 2
#define PIN_RTC 8
#define VECTOR_HPET (VECTOR_TEST + 1)
#define VECTOR_HPET_1 (VECTOR_TEST + 2)
#define IOAPIC_REDIRECTION 0x10
#define REDIRECTION_LEVEL 0x8000
#define REDIRECTION_MASKED 0x10000

static volatile uint64_t taken, taken_1;
static volatile uint32_t status_in_handler;

static uint32_t get(unsigned offset)
{
	return *(volatile uint32_t *)physical(HPET + offset);
}

static void put(unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)physical(HPET + offset) = value;
}

static uint64_t get_64(unsigned offset)
{
	return *(volatile uint64_t *)physical(HPET + offset);
}

static void redirect(unsigned pin, uint32_t low)
{
	volatile uint32_t *select = physical(acpi.io_apic), *window = physical(acpi.io_apic + 0x10);

	*select = IOAPIC_REDIRECTION + 2 * pin + 1;
	*window = this_cpu()->apic_id << 24;
	*select = IOAPIC_REDIRECTION + 2 * pin;
	*window = low;
}

/* One last count, after which its output stays high. */
static void stop_pit(void)
{
	outb(0x43, 0x30);
	outb(0x40, 1);
	outb(0x40, 0);
	delay_us(1000);
}

static void take(struct interrupt_frame *frame)
{
	(void)frame;
	taken++;
	status_in_handler = get(STATUS);
	put(STATUS, status_in_handler);
	apic_eoi();
}

static void take_1(struct interrupt_frame *frame)
{
	(void)frame;
	taken_1++;
	apic_eoi();
}

static void stop(void)
{
	put(CONFIGURATION, 0);
	for (unsigned n = 0; n < 3; n++)
		put(TIMER(n), 0);
	taken = taken_1 = 0;
	status_in_handler = 0;
}

static void start(uint32_t mode)
{
	put(COUNTER, 0);
	put(COUNTER + 4, 0);
	put(CONFIGURATION, ENABLE | mode);
}

static void wait_for(volatile uint64_t *count, uint64_t enough)
{
	interrupts_on();
	for (int i = 0; i < 2000 && *count < enough; i++)
		delay_us(1000);
	interrupts_off();
}

static void test_registers(void)
{
	topic("registers");
	CHECK("vendor, capabilities, timers and revision", get(CAPABILITIES), 0x8086a201);
	CHECK("period in femtoseconds", get(CAPABILITIES + 4), 10000000);
	CHECK("configuration", get(CONFIGURATION), 0);
	CHECK("the counter stands", get(COUNTER) == get(COUNTER), 1);
	CHECK("timer 0's capabilities", get(TIMER(0)) & 0x30, 0x30);
	CHECK("timer 0's routes", get(TIMER(0) + 4), 1 << PIN_PIT);
	put(COMPARATOR(1), 0x11223344);
	put(COMPARATOR(1) + 4, 0x55667788);
	CHECK("a comparator's low half", get(COMPARATOR(1)), 0x11223344);
	CHECK("a comparator's high half", get(COMPARATOR(1) + 4), 0x55667788);
	put(TIMER(1), MODE_32);
	CHECK("of a 32-bit timer the low half alone", get(COMPARATOR(1) + 4), 0);
	put(TIMER(1), 0);
	put(COUNTER, 0x89abcdef);
	put(COUNTER + 4, 0x1234567);
	CHECK("the counter's low half", get(COUNTER), 0x89abcdef);
	CHECK("the counter's high half", get(COUNTER + 4), 0x1234567);
	CHECK("all 64 bits at once", get_64(COUNTER), 0x123456789abcdef);
	put(TIMER(2), 5 << 9);
	CHECK_NOT_QEMU("a route that it has not got", get(TIMER(2)) & ROUTE_MASK, 0,
		       "takes any route; section 2.3.8 has it read back as another");
	put(TIMER(2), 0);
	CHECK("registers of a fourth timer", get(TIMER(4)), 0);
}

static void test_counter(void)
{
	uint32_t before, after;
	struct stopwatch watch;

	topic("the main counter");
	start(0);
	stopwatch_start(&watch);
	before = get(COUNTER);
	delay_us(20000);
	after = get(COUNTER);
	CHECK("it counts", after > before, 1);
	CHECK("100 MHz, by the PM timer",
	      after - before > 19 * TICKS_PER_MS && after - before < 60 * TICKS_PER_MS, 1);
	put(CONFIGURATION, 0);
	before = get(COUNTER);
	delay_us(1000);
	CHECK("it stands when it is disabled", get(COUNTER) == before && before >= after, 1);
	put(CONFIGURATION, ENABLE);
	CHECK("and goes on from there", get(COUNTER) - before < 1000 * TICKS_PER_MS, 1);
	stop();
}

static void test_one_shot(void)
{
	topic("a one-shot timer");
	redirect(PIN_PIT, VECTOR_HPET);
	put(TIMER(0), INTERRUPT | ROUTE_2);
	put(COMPARATOR(0), 2 * TICKS_PER_MS);
	put(COMPARATOR(0) + 4, 0);
	start(0);
	wait_for(&taken, 1);
	CHECK("it interrupts", taken, 1);
	CHECK("not before its time", get(COUNTER) >= 2 * TICKS_PER_MS, 1);
	delay_us(10000);
	wait_for(&taken_1, 0);
	CHECK("and once", taken, 1);
	CHECK("an edge has no status", status_in_handler, 0);
	stop();

	put(TIMER(0), ROUTE_2);
	put(COMPARATOR(0), TICKS_PER_MS);
	start(0);
	interrupts_on();
	delay_us(5000);
	interrupts_off();
	CHECK("a disabled one does not", taken, 0);
	stop();

	put(TIMER(0), INTERRUPT | MODE_32 | ROUTE_2);
	put(COMPARATOR(0), 200 * TICKS_PER_MS); /* so that nobody is too late for both at once */
	put(COUNTER, 0xffffffff - TICKS_PER_MS);
	put(COUNTER + 4, 7);
	put(CONFIGURATION, ENABLE);
	wait_for(&taken, 2);
	CHECK("a 32-bit one interrupts at the wrap and at its match", taken, 2);
	stop();
}

static void test_periodic(void)
{
	uint32_t period = TICKS_PER_MS;

	topic("a periodic timer");
	put(TIMER(0), INTERRUPT | PERIODIC | VALUE_SET | MODE_32 | ROUTE_2);
	put(COMPARATOR(0), 3 * TICKS_PER_MS);
	CHECK("the value was set", get(TIMER(0)) & VALUE_SET, 0);
	put(COMPARATOR(0), period);
	CHECK("the comparator keeps its start", get(COMPARATOR(0)), 3 * TICKS_PER_MS);
	start(0);
	wait_for(&taken, 5);
	CHECK("it interrupts again and again", taken >= 5, 1);
	CHECK("its comparator stays on its beat", get(COMPARATOR(0)) % period, 0);
	CHECK("and is ahead of the counter", (int32_t)(get(COMPARATOR(0)) - get(COUNTER)) > -1000 * TICKS_PER_MS, 1);
	put(CONFIGURATION, 0);
	taken = 0;
	interrupts_on();
	delay_us(5000);
	interrupts_off();
	CHECK("none while the counter stands", taken <= 1, 1);
	stop();
}

static void test_level(void)
{
	topic("a level-triggered timer");
	redirect(PIN_PIT, REDIRECTION_LEVEL | VECTOR_HPET);
	put(TIMER(2), INTERRUPT | LEVEL | ROUTE_2);
	put(COMPARATOR(2), TICKS_PER_MS);
	put(COMPARATOR(2) + 4, 0);
	start(0);
	wait_for(&taken, 1);
	CHECK("it interrupts, level", taken, 1);
	CHECK("its status in the handler", status_in_handler, 4);
	CHECK("cleared by writing a one", get(STATUS), 0);
	interrupts_on();
	delay_us(3000);
	interrupts_off();
	CHECK("and it comes no more", taken, 1);
	stop();
	redirect(PIN_PIT, REDIRECTION_MASKED);
}

static void test_legacy(void)
{
	topic("legacy replacement");
	redirect(PIN_PIT, VECTOR_HPET);
	redirect(PIN_RTC, VECTOR_HPET_1);
	for (unsigned n = 0; n < 2; n++) {
		put(TIMER(n), INTERRUPT);
		put(COMPARATOR(n), 10 * (n + 1) * TICKS_PER_MS);
		put(COMPARATOR(n) + 4, 0);
	}
	start(LEGACY);
	/* The PIT, 1 kHz, which is off its interrupt now. */
	outb(0x43, 0x34);
	outb(0x40, 0xa9);
	outb(0x40, 0x04);
	wait_for(&taken_1, 1);
	CHECK("timer 0 is the PIT's interrupt", taken, 1);
	CHECK("timer 1 is the RTC's interrupt", taken_1, 1);
	interrupts_on();
	delay_us(10000);
	interrupts_off();
	CHECK("the PIT itself is silent", taken, 1);
	taken = 0;
	put(CONFIGURATION, ENABLE);
	wait_for(&taken, 3);
	CHECK("and speaks without the replacement", taken >= 3, 1);
	stop_pit();
	redirect(PIN_PIT, REDIRECTION_MASKED);
	redirect(PIN_RTC, REDIRECTION_MASKED);
	stop();
}

_Noreturn void guest_main(void)
{
	smp_init();
	apic_enable();
	interrupts_off();
	stop_pit();
	set_handler(VECTOR_HPET, take);
	set_handler(VECTOR_HPET_1, take_1);
	put(CONFIGURATION, 0);
	test_registers();
	test_counter();
	test_one_shot();
	test_periodic();
	test_level();
	test_legacy();
	finish();
}
