/* SSE integer operations by the host's own instructions, where TCG has no vector operation for them. */
#include "fpu.h"

#define RUN(mnemonic, destination, source) __asm__(mnemonic " %1, %0" : "+x"(destination) : "x"(source))

/* d = d op s */
#define BINARY(name, mnemonic)                                                 \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        vector result = load_128(d), source = load_128(s);                     \
                                                                               \
        (void)env;                                                             \
        RUN(mnemonic, result, source);                                         \
        store_128(d, result);                                                  \
    }
/* d = op s; the low half of s is enough for some. */
#define UNARY(name, mnemonic, load)                                            \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        vector source = load(s), result = source;                              \
                                                                               \
        (void)env;                                                             \
        RUN(mnemonic, result, source);                                         \
        store_128(d, result);                                                  \
    }
/* The count is 64 bits. The translator stores an immediate one as two times 32, and so it is read, or the read would
 * wait for both to reach the cache. */
#define SHIFT(name, mnemonic)                                                  \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        const volatile quarter *count = s;                                     \
        vector result = load_128(d);                                           \
        vector by = _mm_cvtsi64_si128((int64_t)(count[0] | (uint64_t)count[1] << 32)); \
                                                                               \
        (void)env;                                                             \
        RUN(mnemonic, result, by);                                             \
        store_128(d, result);                                                  \
    }
/* What XMM0 says of each element decides whether it comes from s. */
#define BLEND(name, mnemonic)                                                  \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        vector result = load_128(d), source = load_128(s), mask = load_128(ENV_XMM(env, 0)); \
                                                                               \
        __asm__(mnemonic " %2, %1, %0" : "+x"(result) : "x"(source), "Yz"(mask)); \
        store_128(d, result);                                                  \
    }
#define MASK(name, mnemonic)                                                   \
    static uint32_t name(CPUX86State *env, const void *s)                      \
    {                                                                          \
        vector source = load_128(s);                                           \
        uint32_t result;                                                       \
                                                                               \
        (void)env;                                                             \
        __asm__(mnemonic " %1, %0" : "=r"(result) : "x"(source));              \
        return result;                                                         \
    }

/* X(the engine's name, mnemonic) */
#define SSE2_BINARIES(X)                                                       \
    X(pmulhuw_xmm, "pmulhuw") X(pmulhw_xmm, "pmulhw") X(pmuludq_xmm, "pmuludq") X(pmaddwd_xmm, "pmaddwd") \
    X(pavgb_xmm, "pavgb") X(pavgw_xmm, "pavgw") X(psadbw_xmm, "psadbw")        \
    X(packsswb_xmm, "packsswb") X(packuswb_xmm, "packuswb") X(packssdw_xmm, "packssdw") \
    X(punpcklbw_xmm, "punpcklbw") X(punpcklwd_xmm, "punpcklwd") X(punpckldq_xmm, "punpckldq") \
    X(punpckhbw_xmm, "punpckhbw") X(punpckhwd_xmm, "punpckhwd") X(punpckhdq_xmm, "punpckhdq") \
    X(punpcklqdq_xmm, "punpcklqdq") X(punpckhqdq_xmm, "punpckhqdq")
#define SSE2_SHIFTS(X)                                                         \
    X(psrlw_xmm, "psrlw") X(psraw_xmm, "psraw") X(psllw_xmm, "psllw") X(psrld_xmm, "psrld") \
    X(psrad_xmm, "psrad") X(pslld_xmm, "pslld") X(psrlq_xmm, "psrlq") X(psllq_xmm, "psllq")
#define SSE2_MASKS(X) X(pmovmskb_xmm, "pmovmskb") X(movmskps, "movmskps") X(movmskpd, "movmskpd")
#define SSSE3_BINARIES(X)                                                      \
    X(pshufb_xmm, "pshufb") X(phaddw_xmm, "phaddw") X(phaddd_xmm, "phaddd") X(phaddsw_xmm, "phaddsw") \
    X(phsubw_xmm, "phsubw") X(phsubd_xmm, "phsubd") X(phsubsw_xmm, "phsubsw")  \
    X(pmaddubsw_xmm, "pmaddubsw") X(pmulhrsw_xmm, "pmulhrsw")                  \
    X(psignb_xmm, "psignb") X(psignw_xmm, "psignw") X(psignd_xmm, "psignd")
#define SSE41_BINARIES(X) X(pmuldq_xmm, "pmuldq") X(packusdw_xmm, "packusdw")
#define SSE41_UNARIES(X)                                                       \
    X(pmovsxbw_xmm, "pmovsxbw", load_64) X(pmovsxbd_xmm, "pmovsxbd", load_64)  \
    X(pmovsxbq_xmm, "pmovsxbq", load_64) X(pmovsxwd_xmm, "pmovsxwd", load_64)  \
    X(pmovsxwq_xmm, "pmovsxwq", load_64) X(pmovsxdq_xmm, "pmovsxdq", load_64)  \
    X(pmovzxbw_xmm, "pmovzxbw", load_64) X(pmovzxbd_xmm, "pmovzxbd", load_64)  \
    X(pmovzxbq_xmm, "pmovzxbq", load_64) X(pmovzxwd_xmm, "pmovzxwd", load_64)  \
    X(pmovzxwq_xmm, "pmovzxwq", load_64) X(pmovzxdq_xmm, "pmovzxdq", load_64)  \
    X(phminposuw_xmm, "phminposuw", load_128)
#define SSE41_BLENDS(X) X(pblendvb_xmm, "pblendvb") X(blendvps_xmm, "blendvps") X(blendvpd_xmm, "blendvpd")
#define AES_BINARIES(X)                                                        \
    X(aesenc_xmm, "aesenc") X(aesenclast_xmm, "aesenclast") X(aesdec_xmm, "aesdec") X(aesdeclast_xmm, "aesdeclast")
#define AES_UNARIES(X) X(aesimc_xmm, "aesimc", load_128)

SSE2_BINARIES(BINARY)
SSE2_SHIFTS(SHIFT)
SSE2_MASKS(MASK)
SSSE3_BINARIES(BINARY)
SSE41_BINARIES(BINARY)
SSE41_UNARIES(UNARY)
SSE41_BLENDS(BLEND)
AES_BINARIES(BINARY)
AES_UNARIES(UNARY)

/* MMX's on both operands in one register; the engine's go wrong where they are the same. */
#define HORIZONTAL_MMX(name, mnemonic)                                         \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        vector both = _mm_unpacklo_epi64(load_64(d), load_64(s));              \
                                                                               \
        (void)env;                                                             \
        RUN(mnemonic, both, both);                                             \
        store_64(d, both);                                                     \
    }
#define HORIZONTALS_MMX(X)                                                     \
    X(phaddw_mmx, "phaddw") X(phaddd_mmx, "phaddd") X(phaddsw_mmx, "phaddsw")  \
    X(phsubw_mmx, "phsubw") X(phsubd_mmx, "phsubd") X(phsubsw_mmx, "phsubsw")
HORIZONTALS_MMX(HORIZONTAL_MMX)

static void ptest_xmm(CPUX86State *env, const void *d, const void *s)
{
    vector left = load_128(d), right = load_128(s);
    bool zero, carry;

    __asm__("ptest %3, %2" : "=@ccz"(zero), "=@ccc"(carry) : "x"(left), "x"(right));
    ENV_CC_SRC(env) = (uint64_t)(carry | zero << 6);
}

static void movl_mm_T0_xmm(void *d, uint32_t value)
{
    store_128(d, _mm_cvtsi32_si128((int32_t)value));
}

static void movq_mm_T0_xmm(void *d, uint64_t value)
{
    store_128(d, _mm_cvtsi64_si128((int64_t)value));
}

/* `bits` of `message`, lowest byte first */
static uint64_t crc32_sse42(uint32_t crc, uint64_t message, uint32_t bits)
{
    uint64_t wide = crc;

    switch (bits) {
    case 8:
        __asm__("crc32b %b1, %0" : "+r"(crc) : "q"((uint32_t)message));
        return crc;
    case 16:
        __asm__("crc32w %w1, %0" : "+r"(crc) : "r"((uint32_t)message));
        return crc;
    case 32:
        __asm__("crc32l %1, %0" : "+r"(crc) : "r"((uint32_t)message));
        return crc;
    default:
        __asm__("crc32q %1, %0" : "+r"(wide) : "r"(message));
        return wide;
    }
}

static uint64_t pdep_bmi2(uint64_t source, uint64_t mask)
{
    __asm__("pdepq %1, %0, %0" : "+r"(source) : "r"(mask));
    return source;
}

static uint64_t pext_bmi2(uint64_t source, uint64_t mask)
{
    __asm__("pextq %1, %0, %0" : "+r"(source) : "r"(mask));
    return source;
}

/* The translator hands over all of the mask's register. */
static uint64_t pdep_32(uint64_t source, uint64_t mask)
{
    return pdep_bmi2(source, (uint32_t)mask);
}

static uint64_t pext_32(uint64_t source, uint64_t mask)
{
    return pext_bmi2(source, (uint32_t)mask);
}

static const struct helper_call narrow_pdep = {
    "pdep", (void *)pdep_32, HOST_BMI2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL};
static const struct helper_call narrow_pext = {
    "pext", (void *)pext_32, HOST_BMI2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL};

#define ENTRY(name, feature) {#name, (void *)name, feature, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
#define ENTRY_SSE2(name, ...) ENTRY(name, HOST_SSE2)
#define ENTRY_SSSE3(name, ...) ENTRY(name, HOST_SSSE3)
#define ENTRY_SSE41(name, ...) ENTRY(name, HOST_SSE41)
#define ENTRY_AES(name, ...) ENTRY(name, HOST_AES)

const struct helper_call sse_integer_calls[] = {
    SSE2_BINARIES(ENTRY_SSE2)
    SSE2_SHIFTS(ENTRY_SSE2)
    SSE2_MASKS(ENTRY_SSE2)
    SSSE3_BINARIES(ENTRY_SSSE3)
    HORIZONTALS_MMX(ENTRY_SSSE3)
    SSE41_BINARIES(ENTRY_SSE41)
    SSE41_UNARIES(ENTRY_SSE41)
    SSE41_BLENDS(ENTRY_SSE41)
    AES_BINARIES(ENTRY_AES)
    AES_UNARIES(ENTRY_AES)
    ENTRY_SSE2(movl_mm_T0_xmm)
    ENTRY_SSE2(movq_mm_T0_xmm)
    {"ptest_xmm", (void *)ptest_xmm, HOST_SSE41, CALL_TOUCHES_REGISTERS, false, X87_ALONE, NULL},
    {"crc32", (void *)crc32_sse42, HOST_SSE42, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
    {"pdep", (void *)pdep_bmi2, HOST_BMI2, CALL_TOUCHES_NONE, false, X87_ALONE, &narrow_pdep},
    {"pext", (void *)pext_bmi2, HOST_BMI2, CALL_TOUCHES_NONE, false, X87_ALONE, &narrow_pext},
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
