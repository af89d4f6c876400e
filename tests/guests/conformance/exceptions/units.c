/* What CR0.TS, EM and MP do to the x87, MMX and SSE (SDM vol. 3, 2.5 and table 13-1), and CR4.OSFXSR. */
#include "conformance.h"
#include "interrupts.h"
#include "machine.h"
#include "provoke.h"
#include "tests.h"

#define MP (1u << 1)
#define EM (1u << 2)
#define TS (1u << 3)

/* With these bits of CR0; nothing else may use the units meanwhile. */
#define WITH(bits, instruction)                                                    \
	do {                                                                       \
		uint64_t cr0_ = read_cr0();                                        \
		write_cr0((cr0_ & ~(uint64_t)(MP | EM | TS)) | (bits));            \
		PROVOKE(instruction, "b"(area));                                   \
		write_cr0(cr0_);                                                   \
	} while (0)

#define RAISES(name, bits, instruction, vector_)                                   \
	do {                                                                       \
		WITH(bits, instruction);                                           \
		CHECK_FAULT(name, vector_, 0);                                     \
	} while (0)

#define RAISES_NOT_QEMU(name, bits, instruction, vector_, why)                     \
	do {                                                                       \
		WITH(bits, instruction);                                           \
		CHECK_NOT_QEMU(name " vector", seen.vector, vector_, why);         \
	} while (0)

#define RUNS(name, bits, instruction)                                              \
	do {                                                                       \
		WITH(bits, instruction);                                           \
		CHECK_NO_FAULT(name);                                              \
	} while (0)

void test_units(void)
{
	topic("CR0.TS, EM and MP");
	RAISES("x87 with TS", TS, "fld1", VECTOR_NM);
	RAISES("x87 with EM", EM, "fld1", VECTOR_NM);
	RAISES("FNINIT with TS", TS, "fninit", VECTOR_NM);
	RAISES("FXSAVE with TS", TS, "fxsave (%%rbx)", VECTOR_NM);
	RAISES("FXSAVE with EM", EM, "fxsave (%%rbx)", VECTOR_NM);
	RAISES("FWAIT with TS and MP", TS | MP, "fwait", VECTOR_NM);
	RUNS("FWAIT with TS alone", TS, "fwait");
	RUNS("FWAIT with MP alone", MP, "fwait");
	RUNS("FWAIT with EM", EM, "fwait");
	RAISES("MMX with TS", TS, "paddb %%mm0, %%mm1", VECTOR_NM);
	RAISES("MMX with EM", EM, "paddb %%mm0, %%mm1", VECTOR_UD);
	RAISES_NOT_QEMU("EMMS with EM", EM, "emms", VECTOR_UD, "runs; vol. 2, EMMS");
	RAISES("SSE with TS", TS, "addps %%xmm0, %%xmm1", VECTOR_NM);
	RAISES("SSE with EM", EM, "addps %%xmm0, %%xmm1", VECTOR_UD);
	RAISES_NOT_QEMU("SSE with EM and TS", EM | TS, "addps %%xmm0, %%xmm1", VECTOR_UD,
			"looks at TS first; vol. 3, table 13-1");
	RAISES("LDMXCSR with TS", TS, "ldmxcsr (%%rbx)", VECTOR_NM);
	RAISES("LDMXCSR with EM", EM, "ldmxcsr (%%rbx)", VECTOR_UD);
	RUNS("MOVNTI with TS", TS, "movnti %%eax, (%%rbx)");
	RUNS("SFENCE with TS", TS, "sfence");
	RUNS("x87 with none", 0, "fld1; fstp %%st");
}
