/* The selector and the data port, in every width and beyond an item's end. */
#include "tests.h"

#include "conformance.h"

#define SIGNATURE 0x554d4551 /* "QEMU" */

static void select(uint16_t key)
{
	outw(SELECTOR, key);
}

void test_ports(void)
{
	topic("ports");
	CHECK("the signature", fw_cfg_number(KEY_SIGNATURE, 4), SIGNATURE);
	CHECK("nothing follows it", inb(DATA) | inb(DATA) << 8, 0);
	select(KEY_SIGNATURE);
	CHECK("selecting begins anew", inb(DATA), 'Q');
	CHECK("the selector reads the data, too", inb(SELECTOR), 'E');
	CHECK("a word of data reads 0", inw(DATA), 0);
	CHECK("a word at the selector reads 0", inw(SELECTOR), 0);
	CHECK("a dword at the selector reads 0", inl(SELECTOR), 0);
	CHECK("none of them has moved on", inb(DATA), 'M');
	outb(DATA, 'x');
	CHECK("a byte that is written is ignored", inb(DATA), 'U');
	select(KEY_SIGNATURE);
	outb(SELECTOR, KEY_ID);
	CHECK("a byte selects nothing", inb(DATA), 'Q');
	outl(SELECTOR, KEY_ID);
	CHECK("nor does a dword", inb(DATA), 'E');
	outw(DATA, KEY_ID);
	CHECK("nor a word at the data port", inb(DATA), 'M');
	CHECK("nothing is behind the ports", inb(DATA + 1), 0xff);

	topic("keys");
	select(0x1f);
	CHECK("a key without an item", inb(DATA), 0);
	select(0x3fff);
	CHECK("a key beyond all", inb(DATA), 0);
	CHECK("the key's write bit does not count", fw_cfg_number(KEY_SIGNATURE | KEY_WRITE, 4), SIGNATURE);
	select(0x8000 | KEY_ID);
	CHECK("the architecture's keys are others", inb(DATA), 0);
}
