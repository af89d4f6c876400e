/* What is written is read back: ports in every width, and memory. */
#include "tests.h"

#include "conformance.h"

#define ECHO 0xe0
#define FLUSH 0xe4
#define BYTE_ECHO 0xe8
#define MEMORY 0xff000000
#define MEMORY_BYTES 0x10000

/* mov eax, imm32; ret */
#define OPCODE_MOV_EAX 0xb8
#define OPCODE_RET 0xc3

static uint8_t page[4096] __attribute__((aligned(4096)));

static void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

void test_ports(void)
{
	topic("ports");
	outl(ECHO, 0x44332211);
	CHECK("a dword is read back", inl(ECHO), 0x44332211);
	CHECK("its first word", inw(ECHO), 0x2211);
	CHECK("its second word", inw(ECHO + 2), 0x4433);
	CHECK("its third byte", inb(ECHO + 2), 0x33);
	outw(ECHO + 2, 0xbbaa);
	outb(ECHO + 1, 0x99);
	CHECK("a word and a byte change what they cover", inl(ECHO), 0xbbaa9911);
	CHECK("the byte ports are the same", inl(BYTE_ECHO), 0xbbaa9911);
	outb(BYTE_ECHO + 3, 0xee);
	CHECK("and write the same", inb(ECHO + 3), 0xee);
	CHECK("a word that is not aligned reads 0", inw(ECHO + 1), 0);
	outw(ECHO + 1, 0xffff);
	CHECK("and writes nothing", inl(ECHO), 0xeeaa9911);

	topic("the flush port");
	page[0] = 1;
	page[4095] = 2;
	outl(FLUSH, (uint32_t)(uint64_t)page);
	CHECK("the page keeps what it has", page[0] | page[4095] << 8, 0x201);
	CHECK("it reads 0", inl(FLUSH), 0);
}

void test_memory(void)
{
	volatile uint64_t *quad = physical(MEMORY);
	volatile uint32_t *dword = physical(MEMORY + 16);
	volatile uint16_t *word = physical(MEMORY + MEMORY_BYTES - 2);
	volatile uint8_t *byte = physical(MEMORY);
	uint64_t wide;

	topic("memory");
	*quad = 0x8877665544332211;
	CHECK("8 bytes", *quad, 0x8877665544332211);
	*dword = 0xcafebabe;
	CHECK("4 bytes", *dword, 0xcafebabe);
	*word = 0x1234;
	CHECK("the last 2 bytes", *word, 0x1234);
	byte[3] = 0xff;
	CHECK("a byte among 8", *quad, 0x88776655ff332211);
	CHECK("8 bytes off their own multiple", *(volatile uint64_t *)(byte + 1), 0x0088776655ff3322);
	CHECK("a locked exchange", __atomic_exchange_n(dword, 5, __ATOMIC_SEQ_CST), 0xcafebabe);
	__asm__ volatile("lock addl %1, %0" : "+m"(*dword) : "r"(3) : "memory");
	CHECK("a locked addition", *dword, 8);
	wide = 0x1122334455667788;
	__asm__ volatile("cld; rep movsb" : : "S"(&wide), "D"(byte + 0x100), "c"(8) : "memory");
	CHECK("rep movsb into it", *(volatile uint64_t *)(byte + 0x100), wide);
	wide = 0;
	__asm__ volatile("cld; rep movsb" : : "S"(byte + 0x100), "D"(&wide), "c"(8) : "memory");
	CHECK("rep movsb out of it", wide, 0x1122334455667788);
	byte[0] = OPCODE_MOV_EAX;
	*(volatile uint32_t *)(byte + 1) = 0x1234;
	byte[5] = OPCODE_RET;
	CHECK("code in it runs", ((uint32_t(*)(void))(uintptr_t)byte)(), 0x1234);
	*(volatile uint32_t *)(byte + 1) = 0x4321;
	CHECK("and runs as it is changed", ((uint32_t(*)(void))(uintptr_t)byte)(), 0x4321);
}
