/* SSE instructions with an immediate byte, which is a part of the instruction: each has a table of all its forms,
 * a few bytes of machine code each, that is called at the immediate's place.
 */
#include "fpu.h"

#define FORM_BYTES 8
#define STRING_FORM_BYTES 32

/* `count` functions (d in XMM0, s in XMM1) -> XMM0. */
#define FORMS(mnemonic, count)                                                 \
    __asm__(".pushsection .text\n"                                             \
            ".balign 64\n"                                                     \
            "forms_" #mnemonic ":\n"                                           \
            ".set immediate, 0\n"                                              \
            ".rept " #count "\n"                                               \
            ".balign 8\n" #mnemonic " $immediate, %xmm1, %xmm0\n"              \
            "ret\n"                                                            \
            ".set immediate, immediate + 1\n"                                  \
            ".endr\n"                                                          \
            ".popsection\n");                                                  \
    extern const uint8_t forms_##mnemonic[] __attribute__((visibility("hidden")))

#define FORM_OF(mnemonic, immediate) \
    ((vector(*)(vector, vector))(uintptr_t)(forms_##mnemonic + FORM_BYTES * (size_t)(immediate)))

/* The helpers of SSE2's shuffles have no env. */
#define SHUFFLE(name, mnemonic)                                                \
    FORMS(mnemonic, 256);                                                      \
    static void name(void *d, const void *s, uint32_t immediate)               \
    {                                                                          \
        store_128(d, FORM_OF(mnemonic, immediate)(load_128(d), load_128(s)));  \
    }
#define IMMEDIATE(name, mnemonic, count, place)                                \
    FORMS(mnemonic, count);                                                    \
    static void name(CPUX86State *env, void *d, const void *s, uint32_t immediate) \
    {                                                                          \
        (void)env;                                                             \
        store_128(d, FORM_OF(mnemonic, place)(load_128(d), load_128(s)));      \
    }

SHUFFLE(pshufd_xmm, pshufd)
SHUFFLE(pshuflw_xmm, pshuflw)
SHUFFLE(pshufhw_xmm, pshufhw)
SHUFFLE(shufps, shufps)
SHUFFLE(shufpd, shufpd)
IMMEDIATE(palignr_xmm, palignr, 33, immediate > 32 ? 32 : immediate)
IMMEDIATE(blendps_xmm, blendps, 16, immediate & 15)
IMMEDIATE(blendpd_xmm, blendpd, 4, immediate & 3)
IMMEDIATE(pblendw_xmm, pblendw, 256, immediate)
IMMEDIATE(mpsadbw_xmm, mpsadbw, 8, immediate & 7)
IMMEDIATE(aeskeygenassist_xmm, aeskeygenassist, 256, immediate)
IMMEDIATE(pclmulqdq_xmm, pclmulqdq, 32, immediate & 0x11)

/* Shifts by bytes: the count stands where a shift's operand does, and more than 15 leaves nothing. */
#define BYTE_SHIFT(name, mnemonic)                                             \
    __asm__(".pushsection .text\n"                                             \
            ".balign 64\n"                                                     \
            "forms_" #mnemonic ":\n"                                           \
            ".set immediate, 0\n"                                              \
            ".rept 17\n"                                                       \
            ".balign 8\n" #mnemonic " $immediate, %xmm0\n"                     \
            "ret\n"                                                            \
            ".set immediate, immediate + 1\n"                                  \
            ".endr\n"                                                          \
            ".popsection\n");                                                  \
    extern const uint8_t forms_##mnemonic[] __attribute__((visibility("hidden"))); \
    static void name(CPUX86State *env, void *d, const void *s)                 \
    {                                                                          \
        uint32_t count = *(const quarter *)s;                                  \
        vector value = load_128(d);                                            \
                                                                               \
        (void)env;                                                             \
        store_128(d, FORM_OF(mnemonic, count > 16 ? 16 : count)(value, value)); \
    }
BYTE_SHIFT(psrldq_xmm, psrldq)
BYTE_SHIFT(pslldq_xmm, pslldq)

/* PCMPxSTRx gives an index in ECX or a mask in XMM0, and flags. */
struct string_result {
    vector mask;
    uint64_t flags;
    uint32_t index;
};

/* 128 functions (d in XMM0, s in XMM1, their lengths in EDI and ESI, the result at RDX). */
#define STRING_FORMS(mnemonic)                                                 \
    __asm__(".pushsection .text\n"                                             \
            ".balign 64\n"                                                     \
            "forms_" #mnemonic ":\n"                                           \
            ".set immediate, 0\n"                                              \
            ".rept 128\n"                                                      \
            ".balign 32\n"                                                     \
            "mov %edi, %eax\n"                                                 \
            "mov %rdx, %r8\n"                                                  \
            "mov %esi, %edx\n" #mnemonic " $immediate, %xmm1, %xmm0\n"         \
            "pushfq\n"                                                         \
            "popq 16(%r8)\n"                                                   \
            "mov %ecx, 24(%r8)\n"                                              \
            "movaps %xmm0, (%r8)\n"                                            \
            "ret\n"                                                            \
            ".set immediate, immediate + 1\n"                                  \
            ".endr\n"                                                          \
            ".popsection\n");                                                  \
    extern const uint8_t forms_##mnemonic[] __attribute__((visibility("hidden")))

#define CONTROL_BITS 0x7fu
#define CONTROL_64 (1u << 8) /* from the translator: lengths are 64-bit registers */
#define STRING_FLAGS 0x8c1u  /* CF, ZF, SF, OF */

/* A length counts up to 16 whatever its sign; its register may be wider than the host instruction looks. */
static int string_length(const CPUX86State *env, int reg, uint32_t control)
{
    int64_t length = (int64_t)ENV_REGS(env)[reg];

    if (!(control & CONTROL_64)) {
        length = (int32_t)length;
    }
    return length > 16 || length < -16 ? 16 : (int)length;
}

static void compare_strings(const uint8_t *forms, CPUX86State *env, const void *d, const void *s,
                            uint32_t control, struct string_result *result)
{
    void (*form)(vector, vector, int, int, struct string_result *) =
        (void (*)(vector, vector, int, int, struct string_result *))(uintptr_t)(forms + STRING_FORM_BYTES *
                                                                                            (control & CONTROL_BITS));

    form(load_128(d), load_128(s), string_length(env, R_EAX, control), string_length(env, R_EDX, control), result);
    ENV_CC_SRC(env) = result->flags & STRING_FLAGS;
}

#define STRING_INDEX(name, mnemonic)                                           \
    STRING_FORMS(mnemonic);                                                    \
    static void name(CPUX86State *env, const void *d, const void *s, uint32_t control) \
    {                                                                          \
        struct string_result result;                                           \
                                                                               \
        compare_strings(forms_##mnemonic, env, d, s, control, &result);        \
        ENV_REGS(env)[R_ECX] = result.index;                                   \
    }
#define STRING_MASK(name, mnemonic)                                            \
    STRING_FORMS(mnemonic);                                                    \
    static void name(CPUX86State *env, const void *d, const void *s, uint32_t control) \
    {                                                                          \
        struct string_result result;                                           \
                                                                               \
        compare_strings(forms_##mnemonic, env, d, s, control, &result);        \
        store_128(ENV_XMM(env, 0), result.mask);                               \
    }
STRING_INDEX(pcmpestri_xmm, pcmpestri)
STRING_INDEX(pcmpistri_xmm, pcmpistri)
STRING_MASK(pcmpestrm_xmm, pcmpestrm)
STRING_MASK(pcmpistrm_xmm, pcmpistrm)

#define ENTRY(name, feature) {#name, (void *)name, feature, CALL_TOUCHES_NONE, false, X87_ALONE, NULL}
#define ENTRY_STRING(name) {#name, (void *)name, HOST_SSE42, CALL_TOUCHES_REGISTERS, false, X87_ALONE, NULL}

const struct helper_call sse_immediate_calls[] = {
    ENTRY(pshufd_xmm, HOST_SSE2),
    ENTRY(pshuflw_xmm, HOST_SSE2),
    ENTRY(pshufhw_xmm, HOST_SSE2),
    ENTRY(shufps, HOST_SSE2),
    ENTRY(shufpd, HOST_SSE2),
    ENTRY(psrldq_xmm, HOST_SSE2),
    ENTRY(pslldq_xmm, HOST_SSE2),
    ENTRY(palignr_xmm, HOST_SSSE3),
    ENTRY(blendps_xmm, HOST_SSE41),
    ENTRY(blendpd_xmm, HOST_SSE41),
    ENTRY(pblendw_xmm, HOST_SSE41),
    ENTRY(mpsadbw_xmm, HOST_SSE41),
    ENTRY(aeskeygenassist_xmm, HOST_AES),
    ENTRY(pclmulqdq_xmm, HOST_PCLMUL),
    ENTRY_STRING(pcmpestri_xmm),
    ENTRY_STRING(pcmpistri_xmm),
    ENTRY_STRING(pcmpestrm_xmm),
    ENTRY_STRING(pcmpistrm_xmm),
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
