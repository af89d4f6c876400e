/* INS and OUTS with REP: direction, address size, faults and interrupts in the middle (SDM vol. 2, INS, OUTS, REP).
 *
 * Needs a 16550A's scratch register; writes a line to the debug console at 0xe9 and uses 0xcf8 where it is. One CPU.
 * Status 33 when all passed. */
#include "apic.h"
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "paging.h"
#include "smp.h"
#include "string.h"

#define DEBUG_CONSOLE 0xe9
#define UART_SCRATCH 0x3ff
#define PCI_CONFIG_ADDRESS 0xcf8
#define PCI_ENABLE 0x80000000

#define CROSSING (WINDOW + 0x1000)

enum { LONG_BYTES = 20000 };

static const char text[] = "mpvm test guest: a line by REP OUTSB\n";
static uint8_t buffer[LONG_BYTES];
static uint64_t faults, fault_left, fault_address, ticks;

static void write_string(uint16_t port, const void *from, uint64_t count)
{
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(port) : "memory");
	EXPECT("RCX after REP OUTSB", count, 0);
}

static void *read_string(uint16_t port, void *to, uint64_t count)
{
	__asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(port) : "memory");
	EXPECT("RCX after REP INSB", count, 0);
	return to;
}

static uint64_t count_bytes(const uint8_t *bytes, uint64_t size, uint8_t wanted)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < size; i++)
		count += bytes[i] == wanted;
	return count;
}

static void test_forwards(void)
{
	topic("forwards");
	write_string(DEBUG_CONSOLE, text, sizeof text - 1);
	write_string(UART_SCRATCH, "abc", 3);
	EXPECT("the last byte written", inb(UART_SCRATCH), 'c');
	memset(buffer, 0, 16);
	EXPECT("RDI after INS", read_string(UART_SCRATCH, buffer + 1, 5) == buffer + 6, true);
	EXPECT("bytes read", count_bytes(buffer, 16, 'c'), 5);
	EXPECT("bytes before", buffer[0], 0);
	if (inb(DEBUG_CONSOLE) != DEBUG_CONSOLE) {
		not_present("debug console");
		return;
	}
	read_string(DEBUG_CONSOLE, buffer, 100);
	EXPECT("bytes of the debug console", count_bytes(buffer, 100, DEBUG_CONSOLE), 100);
}

static void test_count_zero(void)
{
	topic("count 0");
	outb(UART_SCRATCH, 0x11);
	write_string(UART_SCRATCH, "x", 0);
	EXPECT("nothing was written", inb(UART_SCRATCH), 0x11);
	buffer[0] = 0x22;
	read_string(UART_SCRATCH, buffer, 0);
	EXPECT("nothing was read", buffer[0], 0x22);
}

static void test_backwards(void)
{
	const char *from = &"abc"[2];
	uint8_t *to = buffer + 9;
	uint64_t count = 3;

	topic("backwards");
	__asm__ volatile("std; rep outsb; cld" : "+S"(from), "+c"(count) : "d"((uint16_t)UART_SCRATCH) : "memory", "cc");
	EXPECT("the last byte written", inb(UART_SCRATCH), 'a');
	memset(buffer, 0, 16);
	count = 4;
	__asm__ volatile("std; rep insb; cld" : "+D"(to), "+c"(count) : "d"((uint16_t)UART_SCRATCH) : "memory", "cc");
	EXPECT("RDI", to == buffer + 5, true);
	EXPECT("bytes read", count_bytes(buffer + 6, 4, 'a'), 4);
	EXPECT("bytes about them", count_bytes(buffer, 16, 'a'), 4);
}

static void test_wider(void)
{
	uint32_t out = PCI_ENABLE | 0x1234 << 8, in = 0;
	const void *from = &out;
	void *to = &in;

	topic("words and doublewords");
	__asm__ volatile("outsl" : "+S"(from) : "d"((uint16_t)PCI_CONFIG_ADDRESS) : "memory");
	EXPECT("RSI after OUTSL", from == &out + 1, true);
	if (inl(PCI_CONFIG_ADDRESS) == UINT32_MAX) {
		not_present("PCI configuration address register");
		return;
	}
	__asm__ volatile("insl" : "+D"(to) : "d"((uint16_t)PCI_CONFIG_ADDRESS) : "memory");
	EXPECT("RDI after INSL", to == &in + 1, true);
	EXPECT("INSL", in, inl(PCI_CONFIG_ADDRESS));
	EXPECT("the register holds what OUTSL wrote", in & 0x80ffff00, out & 0x80ffff00);
}

/* 32-bit addresses: the upper halves of RSI and RCX are not looked at. */
static void test_address_size(void)
{
	uint64_t from = (uintptr_t) "xyz" | 0x5500000000000000, count = 3 | 0x7700000000;

	topic("32-bit addresses");
	__asm__ volatile("addr32 rep outsb" : "+S"(from), "+c"(count) : "d"((uint16_t)UART_SCRATCH) : "memory");
	EXPECT("the last byte written", inb(UART_SCRATCH), 'z');
	EXPECT("ECX", (uint32_t)count, 0);
}

static void map_missing(struct interrupt_frame *frame)
{
	faults++;
	fault_left = frame->rcx;
	fault_address = read_cr2();
	map_page(fault_address & PTE_ADDRESS, page_alloc(), PTE_P | PTE_W);
}

/* The iterations before the fault are done, the one that faults is not, and all is continued. */
static void test_fault_in_the_middle(void)
{
	uint64_t boundary = CROSSING + PAGE_BYTES;

	topic("a page fault in the middle");
	set_handler(VECTOR_PF, map_missing);
	map_page(CROSSING, page_alloc(), PTE_P | PTE_W);
	outb(UART_SCRATCH, 0x77);
	read_string(UART_SCRATCH, physical(boundary - 5), 12);
	EXPECT("INSB: faults", faults, 1);
	EXPECT("INSB: RCX at the fault", fault_left, 7);
	EXPECT("INSB: CR2", fault_address, boundary);
	EXPECT("INSB: bytes", count_bytes(physical(boundary - 5), 12, 0x77), 12);

	boundary += PAGE_BYTES;
	*(volatile uint8_t *)physical(boundary - 1) = 0x33;
	write_string(UART_SCRATCH, physical(boundary - 1), 2);
	EXPECT("OUTSB: faults", faults, 2);
	EXPECT("OUTSB: RCX at the fault", fault_left, 1);
	EXPECT("OUTSB: CR2", fault_address, boundary);
	EXPECT("OUTSB: the byte of the new page", inb(UART_SCRATCH), 0);
}

static void take_tick(struct interrupt_frame *frame)
{
	(void)frame;
	ticks++;
	apic_eoi();
}

static void test_interrupts_in_the_middle(void)
{
	topic("interrupts in the middle");
	set_handler(VECTOR_TIMER, take_tick);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, LVT_TIMER_PERIODIC | VECTOR_TIMER);
	apic_write(APIC_TIMER_INITIAL, 20000);
	outb(UART_SCRATCH, 0x99);
	memset(buffer, 0, sizeof buffer);
	read_string(UART_SCRATCH, buffer, sizeof buffer);
	write_string(UART_SCRATCH, buffer, sizeof buffer);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	EXPECT("bytes read", count_bytes(buffer, sizeof buffer, 0x99), sizeof buffer);
	print("  %lu ticks meanwhile\n", ticks);
}

_Noreturn void guest_main(void)
{
	smp_start();
	test_forwards();
	test_count_zero();
	test_backwards();
	test_wider();
	test_address_size();
	test_fault_in_the_middle();
	test_interrupts_in_the_middle();
	finish();
}
