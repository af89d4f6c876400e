/* Interrupts from outside: the 8259s through LINT0 as ExtINT, the I/O APIC's edge and level pins. */
#include "tests.h"

#include "acpi.h"
#include "apic.h"
#include "check.h"
#include "timer.h"

#define PIC1_COMMAND 0x20
#define PIC1_DATA 0x21
#define OCW2_EOI 0x20
#define OCW3_READ_ISR 0x0b
#define IRQ0 0x01

#define PIT_CHANNEL0 0x40
#define PIT_CONTROL 0x43
/* Channel 0, low byte then high byte, mode 2 and mode 0, binary. */
#define PIT_RATE_GENERATOR 0x34
#define PIT_INTERRUPT_ON_TERMINAL_COUNT 0x30
#define PIT_HZ 1193182
#define PIT_RATE_HZ 500

#define IOAPIC_SELECT 0x00
#define IOAPIC_WINDOW 0x10
#define IOAPIC_REDIRECTION 0x10
#define REDIRECTION_MASKED 0x10000
#define REDIRECTION_LEVEL 0x8000
#define REDIRECTION_REMOTE_IRR 0x4000
/* Where the PC wires the PIT's IRQ 0 to, and COM1's IRQ 4. */
#define PIN_PIT 2
#define PIN_COM1 4

#define UART_IER 0x3f9
#define UART_MCR 0x3fc
#define IER_THRE 0x02
#define MCR_DTR_RTS 0x03
#define MCR_OUT2 0x08 /* the PC's gate from the UART to its IRQ */

#define VECTOR_PIT 0x67
#define VECTOR_COM1 0x68

enum { TICKS = 5, LEVEL_REPEATS = 3 };

static uint64_t pic_ticks, level_interrupts;
static uint8_t pic_in_service;
static bool pic_acknowledged;

static void start_pit(void)
{
	uint16_t divisor = PIT_HZ / PIT_RATE_HZ;

	outb(PIT_CONTROL, PIT_RATE_GENERATOR);
	outb(PIT_CHANNEL0, (uint8_t)divisor);
	outb(PIT_CHANNEL0, (uint8_t)(divisor >> 8));
}

/* A mode is set, but no count: the output stays low. */
static void stop_pit(void)
{
	outb(PIT_CONTROL, PIT_INTERRUPT_ON_TERMINAL_COUNT);
}

static void take_pic_tick(struct interrupt_frame *frame)
{
	(void)frame;
	outb(PIC1_COMMAND, OCW3_READ_ISR);
	pic_in_service = inb(PIC1_COMMAND);
	pic_ticks++;
	if (pic_acknowledged)
		outb(PIC1_COMMAND, OCW2_EOI);
	/* No EOI to the local APIC: it was not its interrupt. */
}

static void test_extint(void)
{
	topic("8259 through LINT0");
	set_handler(VECTOR_PIC, take_pic_tick);
	pic_acknowledged = true;
	start_pit();
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	delay_us(3 * 1000000 / PIT_RATE_HZ);
	EXPECT("masked in the 8259", pic_ticks, 0);
	outb(PIC1_DATA, (uint8_t)~IRQ0);
	wait_until(&pic_ticks, TICKS);
	EXPECT("the 8259's ISR in the handler", pic_in_service, IRQ0);

	/* Without an EOI the 8259 keeps this and all lower lines back. */
	interrupts_off();
	pic_acknowledged = false;
	pic_ticks = 0;
	wait_until(&pic_ticks, 1);
	delay_us(3 * 1000000 / PIT_RATE_HZ);
	EXPECT("ticks without an EOI", pic_ticks, 1);
	pic_acknowledged = true;
	outb(PIC1_COMMAND, OCW2_EOI);
	wait_until(&pic_ticks, 2);

	outb(PIC1_DATA, 0xff);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	stop_pit();
}

static void write_redirection(uint32_t pin, uint32_t low, uint32_t destination)
{
	volatile uint32_t *select = physical(acpi.io_apic + IOAPIC_SELECT);
	volatile uint32_t *window = physical(acpi.io_apic + IOAPIC_WINDOW);

	*select = IOAPIC_REDIRECTION + 2 * pin + 1;
	*window = destination << 24;
	*select = IOAPIC_REDIRECTION + 2 * pin;
	*window = low;
}

static uint32_t read_redirection(uint32_t pin)
{
	volatile uint32_t *select = physical(acpi.io_apic + IOAPIC_SELECT);
	volatile uint32_t *window = physical(acpi.io_apic + IOAPIC_WINDOW);

	*select = IOAPIC_REDIRECTION + 2 * pin;
	return *window;
}

static void test_edge(void)
{
	topic("I/O APIC, edge");
	forget_arrivals();
	start_pit();
	write_redirection(PIN_PIT, REDIRECTION_MASKED | VECTOR_PIT, this_cpu()->apic_id);
	delay_us(3 * 1000000 / PIT_RATE_HZ);
	EXPECT("masked pin", arrived(0, VECTOR_PIT), 0);
	for (int i = 0; i < cpu_count; i += cpu_count > 1 ? cpu_count - 1 : 1) {
		uint64_t *ticks = &arrivals[i].of[VECTOR_PIT - VECTOR_TEST];

		write_redirection(PIN_PIT, VECTOR_PIT, cpu_at(i)->apic_id);
		/* They come to another CPU, so HLT would not end here. */
		while (__atomic_load_n(ticks, __ATOMIC_ACQUIRE) < TICKS)
			pause();
	}
	write_redirection(PIN_PIT, REDIRECTION_MASKED, 0);
	stop_pit();
}

static void take_level(struct interrupt_frame *frame)
{
	(void)frame;
	level_interrupts++;
	EXPECT("Remote IRR in the handler", read_redirection(PIN_COM1) & REDIRECTION_REMOTE_IRR, REDIRECTION_REMOTE_IRR);
	/* The line stays up until the UART's cause is gone, so it must come again after each EOI. */
	if (level_interrupts == LEVEL_REPEATS)
		outb(UART_IER, 0);
	apic_eoi();
}

static void test_level(void)
{
	topic("I/O APIC, level");
	set_handler(VECTOR_COM1, take_level);
	write_redirection(PIN_COM1, REDIRECTION_LEVEL | VECTOR_COM1, this_cpu()->apic_id);
	outb(UART_MCR, MCR_DTR_RTS | MCR_OUT2);
	/* The transmitter is empty: enabling its interrupt raises the line. */
	outb(UART_IER, IER_THRE);
	wait_until(&level_interrupts, LEVEL_REPEATS);
	delay_us(1000);
	EXPECT("interrupts of a line that fell", level_interrupts, LEVEL_REPEATS);
	EXPECT("Remote IRR afterwards", read_redirection(PIN_COM1) & REDIRECTION_REMOTE_IRR, 0);
	outb(UART_MCR, MCR_DTR_RTS);
	write_redirection(PIN_COM1, REDIRECTION_MASKED, 0);
	count_arrivals();
}

void test_external(void)
{
	test_extint();
	if (!acpi.io_apic) {
		not_present("I/O APIC");
		return;
	}
	test_edge();
	test_level();
}
