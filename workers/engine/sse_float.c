/* SSE floating point: arithmetic, comparison and conversion by the host's own instructions.
 *
 * The host's MXCSR is the guest's while they run: rounding, denormals and masks go by it, and flags gather in it
 * until somebody reads them (mxcsr_take_flags()). What the guest has not masked comes as SIGFPE, before the
 * destination is written (fpu_state.c).
 */
#include "fpu.h"

static inline void begin(CPUX86State *env, uintptr_t retaddr)
{
    if (__builtin_expect(ENV_MXCSR_STATE(env) != MXCSR_ALL_MASKED, 0)) {
        mxcsr_load(env, retaddr);
    }
}

/* Operands by their suffix: how much of a register an instruction reads or writes. */
#define LOAD_ps load_128
#define LOAD_pd load_128
#define LOAD_ss load_32
#define LOAD_sd load_64
#define STORE_ps store_128
#define STORE_pd store_128
#define STORE_ss store_32
#define STORE_sd store_64

/* The "memory" clobber keeps the instruction after begin(). */
#define RUN(mnemonic, destination, source) \
    __asm__ volatile(mnemonic " %1, %0" : "+x"(destination) : "x"(source) : "memory")

#define BINARY(name, width)                                                    \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        vector result = LOAD_##width(d), source = LOAD_##width(s);             \
                                                                               \
        begin(env, RETADDR);                                                            \
        RUN(#name, result, source);                                            \
        STORE_##width(d, result);                                              \
    }
/* d becomes a function of s alone, by `mnemonic`. */
#define UNARY(name, mnemonic, to, from)                                        \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        vector source = LOAD_##from(s), result = source;                       \
                                                                               \
        begin(env, RETADDR);                                                            \
        RUN(mnemonic, result, source);                                         \
        STORE_##to(d, result);                                                 \
    }
#define FROM_INTEGER(name, mnemonic, type, width)                              \
    static void name(CPUX86State *env, void *d, type s)                        \
    {                                                                          \
        vector result = _mm_setzero_si128();                                   \
                                                                               \
        begin(env, RETADDR);                                                            \
        __asm__ volatile(mnemonic " %1, %0" : "+x"(result) : "r"(s) : "memory"); \
        STORE_##width(d, result);                                              \
    }
#define TO_INTEGER(name, mnemonic, type, width)                                \
    static type name(CPUX86State *env, const void *s)                          \
    {                                                                          \
        vector source = LOAD_##width(s);                                       \
        type result;                                                           \
                                                                               \
        begin(env, RETADDR);                                                            \
        __asm__ volatile(mnemonic " %1, %0" : "=r"(result) : "x"(source) : "memory"); \
        return result;                                                         \
    }
/* ZF, PF and CF tell the outcome, the other flags are cleared. */
#define COMPARE(name, width)                                                   \
    static void name(CPUX86State *env, const void *d, const void *s)           \
    {                                                                          \
        vector left = LOAD_##width(d), right = LOAD_##width(s);                \
        bool zero, parity, carry;                                              \
                                                                               \
        begin(env, RETADDR);                                                            \
        __asm__ volatile(#name " %4, %3"                                       \
                         : "=@ccz"(zero), "=@ccp"(parity), "=@ccc"(carry)      \
                         : "x"(left), "x"(right)                               \
                         : "memory");                                          \
        ENV_CC_SRC(env) = (uint64_t)(carry | parity << 2 | zero << 6);         \
    }
#define APPROXIMATION(name, width)                                             \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        vector source = LOAD_##width(s), result = source;                      \
                                                                               \
        (void)env;                                                             \
        RUN(#name, result, source);                                            \
        STORE_##width(d, result);                                              \
    }

#define FOUR_WIDTHS(X, name) X(name##ps, ps) X(name##pd, pd) X(name##ss, ss) X(name##sd, sd)

/* X(name, width) */
#define BINARIES(X)                                                            \
    FOUR_WIDTHS(X, add) FOUR_WIDTHS(X, sub) FOUR_WIDTHS(X, mul) FOUR_WIDTHS(X, div) \
    X(haddps, ps) X(haddpd, pd) X(hsubps, ps) X(hsubpd, pd) X(addsubps, ps) X(addsubpd, pd) \
    FOUR_WIDTHS(X, min) FOUR_WIDTHS(X, max) \
    FOUR_WIDTHS(X, cmpeq) FOUR_WIDTHS(X, cmplt) FOUR_WIDTHS(X, cmple) FOUR_WIDTHS(X, cmpunord) \
    FOUR_WIDTHS(X, cmpneq) FOUR_WIDTHS(X, cmpnlt) FOUR_WIDTHS(X, cmpnle) FOUR_WIDTHS(X, cmpord)
/* X(name, mnemonic, width of the result, width of the source). What MMX registers take part in has the
 * same outcome with the low half of an XMM register. */
#define UNARIES(X)                                                             \
    X(sqrtps, "sqrtps", ps, ps)                                                \
    X(sqrtpd, "sqrtpd", pd, pd)                                                \
    X(sqrtss, "sqrtss", ss, ss)                                                \
    X(sqrtsd, "sqrtsd", sd, sd)                                                \
    X(cvtps2pd, "cvtps2pd", pd, sd)                                            \
    X(cvtpd2ps, "cvtpd2ps", ps, pd)                                            \
    X(cvtss2sd, "cvtss2sd", sd, ss)                                            \
    X(cvtsd2ss, "cvtsd2ss", ss, sd)                                            \
    X(cvtdq2ps, "cvtdq2ps", ps, ps)                                            \
    X(cvtdq2pd, "cvtdq2pd", pd, sd)                                            \
    X(cvtpi2ps, "cvtdq2ps", sd, sd)                                            \
    X(cvtpi2pd, "cvtdq2pd", pd, sd)                                            \
    X(cvtps2dq, "cvtps2dq", ps, ps)                                            \
    X(cvtpd2dq, "cvtpd2dq", pd, pd)                                            \
    X(cvttps2dq, "cvttps2dq", ps, ps)                                          \
    X(cvttpd2dq, "cvttpd2dq", pd, pd)                                          \
    X(cvtps2pi, "cvtps2dq", sd, sd)                                            \
    X(cvtpd2pi, "cvtpd2dq", sd, pd)                                            \
    X(cvttps2pi, "cvttps2dq", sd, sd)                                          \
    X(cvttpd2pi, "cvttpd2dq", sd, pd)
#define FROM_INTEGERS(X)                                                       \
    X(cvtsi2ss, "cvtsi2ssl", int32_t, ss)                                      \
    X(cvtsi2sd, "cvtsi2sdl", int32_t, sd)                                      \
    X(cvtsq2ss, "cvtsi2ssq", int64_t, ss)                                      \
    X(cvtsq2sd, "cvtsi2sdq", int64_t, sd)
#define TO_INTEGERS(X)                                                         \
    X(cvtss2si, "cvtss2si", int32_t, ss)                                       \
    X(cvtsd2si, "cvtsd2si", int32_t, sd)                                       \
    X(cvtss2sq, "cvtss2si", int64_t, ss)                                       \
    X(cvtsd2sq, "cvtsd2si", int64_t, sd)                                       \
    X(cvttss2si, "cvttss2si", int32_t, ss)                                     \
    X(cvttsd2si, "cvttsd2si", int32_t, sd)                                     \
    X(cvttss2sq, "cvttss2si", int64_t, ss)                                     \
    X(cvttsd2sq, "cvttsd2si", int64_t, sd)
#define COMPARISONS(X) X(ucomiss, ss) X(comiss, ss) X(ucomisd, sd) X(comisd, sd)
/* Their results are the host's: 12 bits are right, and vendors differ in the rest. */
#define APPROXIMATIONS(X) X(rcpps, ps) X(rcpss, ss) X(rsqrtps, ps) X(rsqrtss, ss)

BINARIES(BINARY)
UNARIES(UNARY)
FROM_INTEGERS(FROM_INTEGER)
TO_INTEGERS(TO_INTEGER)
COMPARISONS(COMPARE)
APPROXIMATIONS(APPROXIMATION)

/* DPPS and DPPD with all elements of the product and of the result: the immediate's masks are applied around it. */
static inline vector element_mask(uint32_t bits, bool wide)
{
    __m128i select = wide ? _mm_set_epi32(2, 2, 1, 1) : _mm_set_epi32(8, 4, 2, 1);

    return _mm_cmpeq_epi32(_mm_and_si128(_mm_set1_epi32((int)bits), select), select);
}

#define DOT_PRODUCT(name, mnemonic, wide)                           \
    static void name(CPUX86State *env, void *d, const void *s, uint32_t immediate) \
    {                                                                          \
        vector chosen = element_mask(immediate >> 4, wide);                    \
        vector result = _mm_and_si128(load_128(d), chosen);                    \
        vector source = _mm_and_si128(load_128(s), chosen);                    \
                                                                               \
        begin(env, RETADDR);                                                            \
        RUN(mnemonic " $0xff,", result, source);                               \
        result = _mm_and_si128(result, element_mask(immediate, wide));         \
        store_128(d, result);                                                  \
    }
DOT_PRODUCT(dpps_xmm, "dpps", false)
DOT_PRODUCT(dppd_xmm, "dppd", true)

/* The immediate is a part of the instruction; its bits above these four are ignored. */
#define ROUND_CASE(mnemonic, immediate)                                        \
    case immediate:                                                            \
        RUN(mnemonic " $" #immediate ",", result, source);                     \
        break;
#define ROUND(name, mnemonic, width)                                           \
    static void name(CPUX86State *env, void *d, const void *s, uint32_t immediate) \
    {                                                                          \
        vector source = LOAD_##width(s), result = source;                      \
                                                                               \
        begin(env, RETADDR);                                                            \
        switch (immediate & (immediate & 4 ? 12 : 11)) {                       \
            ROUND_CASE(mnemonic, 0)                                            \
            ROUND_CASE(mnemonic, 1)                                            \
            ROUND_CASE(mnemonic, 2)                                            \
            ROUND_CASE(mnemonic, 3)                                            \
            ROUND_CASE(mnemonic, 4)                                            \
            ROUND_CASE(mnemonic, 8)                                            \
            ROUND_CASE(mnemonic, 9)                                            \
            ROUND_CASE(mnemonic, 10)                                           \
            ROUND_CASE(mnemonic, 11)                                           \
            ROUND_CASE(mnemonic, 12)                                           \
        }                                                                      \
        STORE_##width(d, result);                                              \
    }
ROUND(roundps_xmm, "roundps", ps)
ROUND(roundpd_xmm, "roundpd", pd)
ROUND(roundss_xmm, "roundss", ss)
ROUND(roundsd_xmm, "roundsd", sd)

#define ENTRY(name, ...) {#name, (void *)name, HOST_SSE2, CALL_MAY_RAISE, false, X87_ALONE, NULL},
#define ENTRY_FLAGS(name, ...) {#name, (void *)name, HOST_SSE2, CALL_TOUCHES_REGISTERS, false, X87_ALONE, NULL},
#define ENTRY_QUIET(name, ...) {#name, (void *)name, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
#define ENTRY_SSE41(name) {#name, (void *)name, HOST_SSE41, CALL_MAY_RAISE, false, X87_ALONE, NULL},

const struct helper_call sse_float_calls[] = {
    BINARIES(ENTRY) UNARIES(ENTRY) FROM_INTEGERS(ENTRY) TO_INTEGERS(ENTRY)
    COMPARISONS(ENTRY_FLAGS) APPROXIMATIONS(ENTRY_QUIET)
    ENTRY_SSE41(dpps_xmm) ENTRY_SSE41(dppd_xmm)
    ENTRY_SSE41(roundps_xmm) ENTRY_SSE41(roundpd_xmm) ENTRY_SSE41(roundss_xmm) ENTRY_SSE41(roundsd_xmm)
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
