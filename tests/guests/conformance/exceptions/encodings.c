/* Encodings that are #UD (SDM vol. 2, appendix A), and LOCK (vol. 2, its page). */
#include "conformance.h"
#include "interrupts.h"
#include "provoke.h"
#include "tests.h"

#define UNDEFINED(name, bytes)                       \
	do {                                         \
		PROVOKE(".byte " bytes, "m"(area));  \
		CHECK_FAULT(name, VECTOR_UD, 0);     \
	} while (0)

#define REFUSED(name, instruction)                                                                 \
	do {                                                                                       \
		PROVOKE_AFTER("xorl %%eax, %%eax", ".byte 0xf0; " instruction, "b"(area));         \
		CHECK_FAULT("LOCK " name, VECTOR_UD, 0);                                           \
	} while (0)

#define REFUSED_NOT_QEMU(name, instruction)                                                        \
	do {                                                                                       \
		PROVOKE_AFTER("xorl %%eax, %%eax", ".byte 0xf0; " instruction, "b"(area));         \
		CHECK_NOT_QEMU("LOCK " name " vector", seen.vector, VECTOR_UD, "LOCK is ignored; vol. 2, LOCK"); \
	} while (0)

#define TAKEN(name, instruction)                                                                   \
	do {                                                                                       \
		PROVOKE("lock " instruction, [m] "m"(*(uint64_t(*)[2])area), "b"(0));              \
		CHECK_NO_FAULT("LOCK " name);                                                      \
	} while (0)

void test_encodings(void)
{
	topic("undefined encodings");
	UNDEFINED("UD0", "0x0f, 0xff, 0xc0");
	UNDEFINED("UD1", "0x0f, 0xb9, 0xc0");
	UNDEFINED("LEA of a register", "0x8d, 0xc0");
	UNDEFINED("MOV to CS", "0x8e, 0xc8");
	UNDEFINED("MOV to a sixth segment", "0x8e, 0xf0");
	UNDEFINED("MOV from CR1", "0x0f, 0x20, 0xc8");
	UNDEFINED("MOV from CR9", "0x44, 0x0f, 0x20, 0xc8");
	UNDEFINED("MOV from DR8", "0x44, 0x0f, 0x21, 0xc0");
	UNDEFINED("PUSHA", "0x60");
	UNDEFINED("INTO", "0xce");
	UNDEFINED("DAA", "0x27");
	UNDEFINED("PUSH ES", "0x06");
	UNDEFINED("far JMP to a pointer", "0xea, 0, 0, 0, 0, 8, 0");
	UNDEFINED("82", "0x82, 0xc0, 0");
	UNDEFINED("FE /2", "0xfe, 0xd0");
	UNDEFINED("FF /7", "0xff, 0xf8");
	UNDEFINED("far CALL of a register", "0xff, 0xd8");
	UNDEFINED("MOVNTI to a register", "0x0f, 0xc3, 0xc0");
	UNDEFINED("BT group /0", "0x0f, 0xba, 0xc0, 1");
	UNDEFINED("0F 0A", "0x0f, 0x0a");
}

void test_lock(void)
{
	topic("LOCK");
	REFUSED("ADD to a register", "addl %%eax, %%ecx");
	REFUSED("CMP", "cmpl %%eax, (%%rbx)");
	REFUSED("NOT of a register", "notl %%eax");
	REFUSED("CMPXCHG of a register", "cmpxchgl %%ecx, %%eax");
	REFUSED("NOP", "nop");
	REFUSED_NOT_QEMU("MOV", "movl %%eax, (%%rbx)");
	REFUSED_NOT_QEMU("TEST", "testl %%eax, (%%rbx)");
	REFUSED_NOT_QEMU("BT", "btl %%eax, (%%rbx)");
	REFUSED_NOT_QEMU("MOVAPS", "movaps %%xmm0, (%%rbx)");
	TAKEN("ADC", "adcl $1, %[m]");
	TAKEN("NOT", "notb %[m]");
	TAKEN("INC", "incq %[m]");
	TAKEN("XADD", "xaddl %%eax, %[m]");
	TAKEN("BTC", "btcl $1, %[m]");
	TAKEN("CMPXCHG", "cmpxchgl %%ecx, %[m]");
	TAKEN("CMPXCHG8B", "cmpxchg8b %[m]");
	TAKEN("CMPXCHG16B", "cmpxchg16b %[m]");
	TAKEN("XCHG", "xchgl %%eax, %[m]");
}
