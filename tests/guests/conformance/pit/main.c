/* The 8254 (Intel 8254 data sheet, order 231164) and port 0x61: control words, read-back and latches, the modes' outputs,
 * gate and speaker, and counter 0's interrupt. One CPU. */
#include "acpi.h"
#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "smp.h"
#include "timer.h"

#define COUNTER(n) (0x40 + (n))
#define CONTROL 0x43
#define SPEAKER 0x61
#define GATE 0x01
#define DATA 0x02
#define REFRESH 0x10
#define OUT 0x20

#define SELECT(n) ((n) << 6)
#define LATCH 0x00
#define LSB 0x10
#define MSB 0x20
#define BOTH 0x30
#define MODE(n) ((n) << 1)
#define BCD 0x01
#define READ_BACK 0xc0
#define NO_COUNT 0x20
#define NO_STATUS 0x10
#define OF(n) (2 << (n))
#define STATUS_OUT 0x80
#define STATUS_NULL 0x40

#define PIT_HZ 1193182
#define PIN_PIT 2
#define VECTOR_PIT (VECTOR_TEST + 1)
#define REDIRECTION_MASKED 0x10000

static volatile unsigned ticks;

static void control(uint8_t value)
{
	outb(CONTROL, value);
}

static void count(unsigned n, uint16_t value)
{
	outb((uint16_t)COUNTER(n), (uint8_t)value);
	outb((uint16_t)COUNTER(n), (uint8_t)(value >> 8));
}

static uint16_t read_count(unsigned n)
{
	uint16_t low = inb((uint16_t)COUNTER(n));

	return (uint16_t)(low | inb((uint16_t)COUNTER(n)) << 8);
}

static uint8_t status(unsigned n)
{
	control((uint8_t)(READ_BACK | NO_COUNT | OF(n)));
	return inb((uint16_t)COUNTER(n));
}

static void gate(uint8_t level)
{
	outb(SPEAKER, level);
}

static int out2(void)
{
	return (inb(SPEAKER) & OUT) != 0;
}

static void take(struct interrupt_frame *frame)
{
	(void)frame;
	ticks++;
	apic_eoi();
}

static void test_control(void)
{
	static const uint8_t words[] = { BOTH | MODE(0), BOTH | MODE(1),       BOTH | MODE(2), BOTH | MODE(3),
					 BOTH | MODE(4), BOTH | MODE(5) | BCD, LSB | MODE(2),  MSB | MODE(3) };

	topic("control words");
	for (unsigned i = 0; i < sizeof(words); i++) {
		control((uint8_t)(SELECT(2) | words[i]));
		if ((words[i] & BOTH) == BOTH)
			count(2, 0x1000);
		else
			outb(COUNTER(2), 0x10);
		if ((status(2) & 0x3f) != words[i])
			panic("control word %x is read back as %x", words[i], status(2));
	}
	CHECK("each is read back as it was written", sizeof(words), 8);
	gate(0);
	control(SELECT(2) | BOTH | MODE(0));
	CHECK("OUT of mode 0 is low at first", status(2) & STATUS_OUT, 0);
	CHECK_NOT_QEMU("the count is null until it is loaded", status(2) & STATUS_NULL, STATUS_NULL,
		       "always says that it is loaded (data sheet, Read-Back Command)");
	control(SELECT(2) | BOTH | MODE(2));
	CHECK_NOT_QEMU("OUT of mode 2 is high at first", status(2) & STATUS_OUT, STATUS_OUT,
		       "has it low (data sheet, Mode 2)");
	gate(GATE);
	count(2, 0x8000);
	delay_us(10);
	CHECK("it is not null when it has been loaded", status(2) & STATUS_NULL, 0);
}

static void test_latches(void)
{
	uint16_t first, second;

	topic("latches");
	gate(GATE);
	control(SELECT(2) | BOTH | MODE(0));
	count(2, 0xffff);
	delay_us(100);
	control(SELECT(2) | LATCH);
	delay_us(500);
	control(SELECT(2) | LATCH);
	first = read_count(2);
	second = read_count(2);
	CHECK("a second latch does not disturb the first", first > second, 1);
	control(READ_BACK | OF(2));
	CHECK("read-back gives the status first", inb(COUNTER(2)) & 0x3f, BOTH | MODE(0));
	first = read_count(2);
	second = read_count(2);
	CHECK("then the count that it latched", first > second, 1);
	control(READ_BACK | NO_STATUS | OF(2) | OF(0));
	delay_us(200);
	second = read_count(2);
	control(SELECT(2) | LATCH);
	CHECK("it latches several counters", second > read_count(2), 1);
	read_count(0);

	control(SELECT(2) | LSB | MODE(2));
	outb(COUNTER(2), 0x80);
	delay_us(50);
	CHECK("by its low byte alone", inb(COUNTER(2)) <= 0x80, 1);
	control(SELECT(2) | MSB | MODE(2));
	outb(COUNTER(2), 0x80);
	delay_us(10);
	CHECK("by its high byte alone", inb(COUNTER(2)) >= 0x70 && inb(COUNTER(2)) <= 0x80, 1);

	control(SELECT(2) | BOTH | MODE(2) | BCD);
	count(2, 0x9999);
	delay_us(100);
	first = read_count(2);
	CHECK("a BCD count has decimal digits",
	      (first & 0xf) < 10 && (first >> 4 & 0xf) < 10 && (first >> 8 & 0xf) < 10 && first >> 12 < 10, 1);
}

static void test_terminal_count(void)
{
	struct stopwatch watch;
	uint64_t us;

	topic("mode 0, interrupt on terminal count");
	gate(GATE);
	control(SELECT(2) | BOTH | MODE(0));
	stopwatch_start(&watch);
	count(2, PIT_HZ / 50);
	CHECK("OUT is low", out2(), 0);
	while (!out2())
		;
	us = stopwatch_us(&watch);
	CHECK("and goes high after its count", us >= 19900, 1);
	CHECK("in time", us < 500000, 1);
	delay_us(100);
	CHECK("it stays high", out2(), 1);
	count(2, 0xffff);
	CHECK("a new count lowers it", out2(), 0);
	gate(0);
	control(SELECT(2) | BOTH | MODE(0));
	count(2, PIT_HZ / 1000);
	delay_us(5000);
	CHECK_NOT_QEMU("a low gate stops the count", out2(), 0, "goes on counting (data sheet, Mode 0)");
	gate(GATE);
	delay_us(20000);
	CHECK("and a high one lets it go on", out2(), 1);
}

static void test_one_shot(void)
{
	topic("mode 1, one-shot by the gate");
	gate(0);
	control(SELECT(2) | BOTH | MODE(1));
	count(2, PIT_HZ / 100);
	delay_us(100);
	CHECK_NOT_QEMU("OUT is high before the trigger", out2(), 1, "has it low from the count on (data sheet, Mode 1)");
	gate(GATE);
	delay_us(10);
	CHECK_NOT_QEMU("it is low after it", out2(), 0, "has it upside down (data sheet, Mode 1)");
	delay_us(100000);
	CHECK_NOT_QEMU("and high after its count", out2(), 1, "has it upside down (data sheet, Mode 1)");
	gate(0);
	gate(GATE);
	delay_us(10);
	CHECK_NOT_QEMU("it can be triggered again", out2(), 0, "has it upside down (data sheet, Mode 1)");
}

static void test_periodic(void)
{
	unsigned low = 0, high = 0;

	topic("modes 2 and 3");
	gate(GATE);
	control(SELECT(2) | BOTH | MODE(2));
	count(2, 0xffff);
	CHECK_NOT_QEMU("OUT of mode 2 is high but for a pulse", out2(), 1, "has it upside down (data sheet, Mode 2)");
	control(SELECT(2) | BOTH | MODE(3));
	count(2, 2000);
	for (int i = 0; i < 400; i++) {
		delay_us(37);
		if (out2())
			high++;
		else
			low++;
	}
	CHECK("OUT of mode 3 is high half the time", high > 60, 1);
	CHECK("and low the other half", low > 60, 1);
	gate(0);
	CHECK_NOT_QEMU("a low gate sets it high", out2(), 1, "goes on as it was (data sheet, Mode 3)");
}

static void test_speaker(void)
{
	uint8_t refresh = inb(SPEAKER) & REFRESH;
	int changed = 0;

	topic("port 0x61");
	outb(SPEAKER, GATE | DATA);
	CHECK("gate and speaker data are read back", inb(SPEAKER) & 3, 3);
	outb(SPEAKER, DATA);
	CHECK("each by itself", inb(SPEAKER) & 3, DATA);
	outb(SPEAKER, 0);
	CHECK("and low", inb(SPEAKER) & 3, 0);
	for (int i = 0; i < 100000 && !changed; i++)
		changed = (inb(SPEAKER) & REFRESH) != refresh;
	CHECK("the refresh bit toggles", changed, 1);
}

/* At 100 Hz. A machine whose host has let it wait makes up for lost time, so that the time is taken from the beginning; an
 * interrupt or two of what was before may still come. */
static bool twelve_take_theirs(unsigned mode)
{
	struct stopwatch watch;
	uint64_t us;

	stopwatch_start(&watch);
	control(SELECT(0) | BOTH | mode);
	count(0, PIT_HZ / 100);
	ticks = 0;
	while (ticks < 12)
		pause();
	us = stopwatch_us(&watch);
	return us >= 95000 && us < 10000000;
}

static void test_interrupt(void)
{
	volatile uint32_t *select = physical(acpi.io_apic), *window = physical(acpi.io_apic + 0x10);

	topic("counter 0's interrupt");
	set_handler(VECTOR_PIT, take);
	control(SELECT(0) | BOTH | MODE(0));
	*select = 0x11 + 2 * PIN_PIT;
	*window = this_cpu()->apic_id << 24;
	/* Firmware may have left it running: one count, and it is over. */
	count(0, 1);
	delay_us(1000);
	*select = 0x10 + 2 * PIN_PIT;
	*window = VECTOR_PIT;
	interrupts_on();
	ticks = 0;
	count(0, PIT_HZ / 200);
	for (int i = 0; i < 1000 && ticks == 0; i++)
		delay_us(1000);
	delay_us(20000);
	CHECK("one in mode 0", ticks, 1);
	CHECK("twelve in mode 2 take theirs", twelve_take_theirs(MODE(2)), 1);
	CHECK_NOT_QEMU("twelve in mode 3 take theirs", twelve_take_theirs(MODE(3)), 1,
		       "it interrupts twice a period; OUT rises once (8254 data sheet, mode 3)");
	control(SELECT(0) | BOTH | MODE(0));
	interrupts_off();
	*select = 0x10 + 2 * PIN_PIT;
	*window = REDIRECTION_MASKED;
}

_Noreturn void guest_main(void)
{
	smp_init();
	apic_enable();
	interrupts_off();
	test_control();
	test_latches();
	test_terminal_count();
	test_one_shot();
	test_periodic();
	test_speaker();
	test_interrupt();
	finish();
}
