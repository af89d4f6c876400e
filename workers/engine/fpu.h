/* x87, MMX and SSE by the host's own units (docs/engine.md, "Floating point and SIMD").
 *
 * The engine has a C helper for nearly every such instruction. When a block is translated, the call of
 * a helper that a table here names becomes a call of our function (or TCG's own vector operations).
 */
#ifndef MPVM_FPU_H
#define MPVM_FPU_H

#include "engine.h"

#include <immintrin.h>

/* What the host must have for a function of ours to stand in; else the engine's own helper stays. */
enum host_feature { HOST_SSE2, HOST_SSSE3, HOST_SSE41, HOST_SSE42, HOST_AES, HOST_PCLMUL, HOST_BMI2, HOST_AVX };
bool host_has(enum host_feature feature);

/* What a call does with guest registers that TCG keeps in host registers: general registers and flags. */
enum call_effect {
    CALL_TOUCHES_REGISTERS = CALL_TOUCHES_ALL,
    CALL_MAY_RAISE = TCG_CALL_NO_WRITE_GLOBALS, /* they must be in memory if it raises an exception */
    CALL_TOUCHES_NONE = TCG_CALL_NO_READ_GLOBALS,
};

/* What the engine's helper before it has fetched, or done: the two are one call. */
enum x87_part { X87_ALONE, X87_REGISTER, X87_M32, X87_M64, X87_INTEGER, X87_ZERO, X87_PUSH, X87_PARTS };

struct helper_call {
    const char *name; /* the engine's helper_NAME */
    void *function;
    enum host_feature feature;
    enum call_effect effect;
    bool before; /* runs before the engine's own, not in its place */
    enum x87_part after;
    const struct helper_call *narrow; /* in its place where the operands have 4 bytes */
};

/* Each ends with a name of NULL. */
extern const struct helper_call fpu_state_calls[], sse_float_calls[], sse_integer_calls[], sse_immediate_calls[];
extern const struct helper_call x87_arithmetic_calls[], x87_compare_calls[], x87_control_calls[];
extern const struct helper_call x87_functions_calls[], x87_memory_calls[], x87_stack_calls[];

/* MXCSR (SDM vol. 1, 10.2.3) */
#define MXCSR_FLAGS 0x3fu
#define MXCSR_MASKS 0x1f80u
#define MXCSR_VALID 0xffffu

/* What the host's MXCSR is while the guest's stack is the current one. */
enum mxcsr_state { MXCSR_NOT_LOADED, MXCSR_ALL_MASKED, MXCSR_SOME_UNMASKED };

/* fpu_state.c */
void mxcsr_load(CPUX86State *env, uintptr_t retaddr);

/* Whether the host's x87 is as the guest's while all exceptions are masked. */
enum x87_state { X87_NOT_LOADED, X87_ALL_MASKED };

/* x87.c */
void x87_settle(CPUX86State *env);

/* x87_control.c */
void x87_use_mmx(CPUX86State *env);

/* A register of the guest is two 8-byte halves: the translator moves it so, and a 16-byte load of what two stores
 * have just written waits for the cache. (Inline assembly, or the compiler would join the halves again.) */
typedef __m128i vector;
typedef uint64_t __attribute__((may_alias)) half;
typedef uint32_t __attribute__((may_alias)) quarter;

static inline vector load_128(const void *from)
{
    const half *halves = from;
    vector value;

    __asm__("movq %1, %0\n\tmovhps %2, %0" : "=&x"(value) : "m"(halves[0]), "m"(halves[1]));
    return value;
}

static inline void store_128(void *to, vector value)
{
    half *halves = to;

    __asm__("movq %2, %0\n\tmovhps %2, %1" : "=m"(halves[0]), "=m"(halves[1]) : "x"(value));
}

static inline vector load_64(const void *from)
{
    return _mm_cvtsi64_si128((int64_t) * (const half *)from);
}

static inline void store_64(void *to, vector value)
{
    *(half *)to = (uint64_t)_mm_cvtsi128_si64(value);
}

static inline vector load_32(const void *from)
{
    return _mm_cvtsi32_si128((int32_t) * (const quarter *)from);
}

static inline void store_32(void *to, vector value)
{
    *(quarter *)to = (uint32_t)_mm_cvtsi128_si32(value);
}

#endif
