/* What the call of a floating-point or SIMD helper becomes when a block is translated.
 *
 * Integer operations that TCG has for vectors are emitted as such, without a call. Else our function is called
 * in the place of the engine's, and TCG is told what it leaves alone, so that guest registers stay in host
 * registers.
 */
#include "fpu.h"

#include <dlfcn.h>
#include <stdio.h>

/* An operation of TCG on 8 bytes: a half of an XMM register, or an MMX register. */
struct vector_operation {
    const char *name;              /* the engine's helpers are helper_NAME_xmm and helper_NAME_mmx, if there is one */
    void(**binary) TCG_BINARY_VECTOR; /* in `uc`; NULL: a comparison, or the absolute value */
    int condition;                 /* of a comparison; 0: the absolute value of the source */
    unsigned element;              /* log2 of an element's bytes */
    bool reversed;                 /* source op destination */
};

enum { BYTES, WORDS, DWORDS, QWORDS };

#define BINARY(name, operation, element) {#name, &uc.tcg_gen_##operation##_vec, 0, element, false}
#define COMPARE(name, condition, element) {#name, NULL, TCG_COND_##condition, element, false}
#define ABSOLUTE(name, element) {#name, NULL, 0, element, false}

static const struct vector_operation vector_operations[] = {
    BINARY(pand, and, QWORDS),      BINARY(por, or, QWORDS),        BINARY(pxor, xor, QWORDS),
    BINARY(paddb, add, BYTES),      BINARY(paddw, add, WORDS),      BINARY(paddl, add, DWORDS),
    BINARY(paddq, add, QWORDS),     BINARY(psubb, sub, BYTES),      BINARY(psubw, sub, WORDS),
    BINARY(psubl, sub, DWORDS),     BINARY(psubq, sub, QWORDS),     BINARY(paddsb, ssadd, BYTES),
    BINARY(paddsw, ssadd, WORDS),   BINARY(paddusb, usadd, BYTES),  BINARY(paddusw, usadd, WORDS),
    BINARY(psubsb, sssub, BYTES),   BINARY(psubsw, sssub, WORDS),   BINARY(psubusb, ussub, BYTES),
    BINARY(psubusw, ussub, WORDS),  BINARY(pmullw, mul, WORDS),     BINARY(pmulld, mul, DWORDS),
    BINARY(pminub, umin, BYTES),    BINARY(pminuw, umin, WORDS),    BINARY(pminud, umin, DWORDS),
    BINARY(pminsb, smin, BYTES),    BINARY(pminsw, smin, WORDS),    BINARY(pminsd, smin, DWORDS),
    BINARY(pmaxub, umax, BYTES),    BINARY(pmaxuw, umax, WORDS),    BINARY(pmaxud, umax, DWORDS),
    BINARY(pmaxsb, smax, BYTES),    BINARY(pmaxsw, smax, WORDS),    BINARY(pmaxsd, smax, DWORDS),
    COMPARE(pcmpeqb, EQ, BYTES),    COMPARE(pcmpeqw, EQ, WORDS),    COMPARE(pcmpeql, EQ, DWORDS),
    COMPARE(pcmpeqq, EQ, QWORDS),   COMPARE(pcmpgtb, GT, BYTES),    COMPARE(pcmpgtw, GT, WORDS),
    COMPARE(pcmpgtl, GT, DWORDS),   COMPARE(pcmpgtq, GT, QWORDS),   ABSOLUTE(pabsb, BYTES),
    ABSOLUTE(pabsw, WORDS),         ABSOLUTE(pabsd, DWORDS),        {"pandn", &uc.tcg_gen_andc_vec, 0, QWORDS, true},
};

/* What is known of the engine's helpers, by address: open addressing, never full. */
#define SLOTS 1024u
static struct known_helper {
    void *helper;
    const struct helper_call *call[X87_PARTS]; /* by what came before it */
    enum x87_part part;                        /* what it is to the next */
    const struct vector_operation *vector;
    unsigned bytes; /* of the operands of a vector operation */
} known[SLOTS];

static struct known_helper *slot_of(const void *helper)
{
    unsigned at = (unsigned)((uintptr_t)helper >> 4) * 2654435761u >> 22;

    while (known[at].helper != NULL && known[at].helper != helper) {
        at = (at + 1) % SLOTS;
    }
    return &known[at];
}

bool host_has(enum host_feature feature)
{
    switch (feature) {
    case HOST_SSE2:
        return true;
    case HOST_SSSE3:
        return __builtin_cpu_supports("ssse3");
    case HOST_SSE41:
        return __builtin_cpu_supports("sse4.1");
    case HOST_SSE42:
        return __builtin_cpu_supports("sse4.2");
    case HOST_AES:
        return __builtin_cpu_supports("aes");
    case HOST_PCLMUL:
        return __builtin_cpu_supports("pclmul");
    case HOST_BMI2:
        return __builtin_cpu_supports("bmi2");
    case HOST_AVX:
        return __builtin_cpu_supports("avx");
    }
    return false;
}

/* The slot of helper_`name``suffix`, if the engine has such a one. */
static struct known_helper *find(void *library, const char *name, const char *suffix)
{
    char symbol[64];
    void *helper;
    struct known_helper *slot;

    snprintf(symbol, sizeof(symbol), "helper_%s%s_x86_64", name, suffix);
    helper = dlsym(library, symbol);
    if (helper == NULL) {
        return NULL;
    }
    slot = slot_of(helper);
    slot->helper = helper;
    return slot;
}

/* The name of a helper that the engine lacks, or NULL. */
const char *fpu_translate_init(void *library)
{
    const struct helper_call *const tables[] = {
        fpu_state_calls,   sse_float_calls,   sse_integer_calls,   sse_immediate_calls, x87_arithmetic_calls,
        x87_compare_calls, x87_control_calls, x87_functions_calls, x87_memory_calls,    x87_stack_calls,
    };
    const enum { XMM = 16, MMX = 8 } sizes[] = {XMM, MMX};

    static const char *const parts[X87_PARTS] = {
        [X87_REGISTER] = "fmov_FT0_STN", [X87_M32] = "flds_FT0", [X87_M64] = "fldl_FT0",
        [X87_INTEGER] = "fildl_FT0",     [X87_ZERO] = "fldz_FT0", [X87_PUSH] = "fpush",
    };

    __builtin_cpu_init();
    for (enum x87_part part = X87_REGISTER; part < X87_PARTS; part++) {
        struct known_helper *slot = find(library, parts[part], "");

        if (slot == NULL) {
            return parts[part];
        }
        slot->part = part;
    }
    for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (const struct helper_call *call = tables[i]; call->name != NULL; call++) {
            struct known_helper *slot = find(library, call->name, "");

            if (slot == NULL) {
                return call->name;
            }
            if (host_has(call->feature)) {
                slot->call[call->after] = call;
            }
        }
    }
    /* TCG has vectors on a host with AVX only. */
    for (unsigned i = 0; i < sizeof(vector_operations) / sizeof(vector_operations[0]) && host_has(HOST_AVX); i++) {
        for (unsigned j = 0; j < 2; j++) {
            struct known_helper *slot =
                find(library, vector_operations[i].name, sizes[j] == XMM ? "_xmm" : "_mmx");

            if (slot != NULL) {
                slot->vector = &vector_operations[i];
                slot->bytes = sizes[j];
            } else if (sizes[j] == XMM) {
                return vector_operations[i].name;
            }
        }
    }
    return NULL;
}

static void emit_vector(TCGContext *tcg, const struct known_helper *helper, void **arguments)
{
    const struct vector_operation *operation = helper->vector;
    uintptr_t to = TCG_TEMP_OF(tcg, arguments[1]), from = TCG_TEMP_OF(tcg, arguments[2]);
    uintptr_t left = uc.tcg_temp_new_vec(tcg, TCG_TYPE_V64), right = uc.tcg_temp_new_vec(tcg, TCG_TYPE_V64);

    for (unsigned at = 0; at < helper->bytes; at += 8) {
        uc.tcg_gen_ld_vec(tcg, right, from, at);
        if (operation->binary == NULL && operation->condition == 0) {
            uc.tcg_gen_abs_vec(tcg, operation->element, left, right);
        } else {
            uc.tcg_gen_ld_vec(tcg, left, to, at);
            if (operation->binary == NULL) {
                uc.tcg_gen_cmp_vec(tcg, operation->condition, operation->element, left, left, right);
            } else {
                (*operation->binary)(tcg, operation->element, left, operation->reversed ? right : left,
                                     operation->reversed ? left : right);
            }
        }
        uc.tcg_gen_st_vec(tcg, left, to, at);
    }
    uc.tcg_temp_free_internal(tcg, (void *)TCG_TEMP(tcg, left));
    uc.tcg_temp_free_internal(tcg, (void *)TCG_TEMP(tcg, right));
}

/* A call as TCG has it: results, arguments, the function, what it does with registers. */
void translate_call(TCGContext *tcg, void *function, uint64_t effect, void *result, int count, void **arguments)
{
    void *op = uc.tcg_emit_op(tcg, INDEX_OP_CALL);
    uint64_t *next = TCG_OP_ARGS(op);

    TCG_OP_COUNTS(op) = (uint8_t)(count | (result != NULL) << 4);
    if (result != NULL) {
        *next++ = (uintptr_t)result;
    }
    for (int i = 0; i < count; i++) {
        *next++ = (uintptr_t)arguments[i];
    }
    *next++ = (uintptr_t)function;
    *next = effect;
}

static void emit_call(TCGContext *tcg, const struct helper_call *call, void *result, int count, void **arguments)
{
    translate_call(tcg, call->function, call->effect, result, count, arguments);
}

/* True when nothing is left to do for this call. */
bool fpu_translate_call(struct vcpu *vcpu, TCGContext *tcg, void *function, void *result, int count,
                        void **arguments)
{
    const struct known_helper *helper = slot_of(function);
    enum x87_part before = vcpu->x87_part;
    const struct helper_call *call = helper->call[before];

    if (helper->vector != NULL) {
        emit_vector(tcg, helper, arguments);
        return true;
    }
    if (helper->part != X87_ALONE) {
        vcpu->x87_part = helper->part;
        vcpu->x87_operand = count > 1 ? arguments[1] : NULL;
        return true;
    }
    vcpu->x87_part = X87_ALONE;
    if (call == NULL) {
        return false;
    }
    if (call->function == (void *)x87_use_mmx && vcpu->mmx_entered) {
        return true;
    }
    if (call->narrow != NULL && vcpu->deposit_bytes == 4) {
        call = call->narrow;
    }
    if (before != X87_ALONE && vcpu->x87_operand != NULL) {
        void *both[] = {arguments[0], vcpu->x87_operand};

        emit_call(tcg, call, result, 2, both);
    } else {
        emit_call(tcg, call, result, count, arguments);
    }
    return !call->before;
}

/* STMXCSR is a plain load of the register, which has to be up to date then. */
void fpu_translate_load(TCGContext *tcg, int opcode, uint64_t offset)
{
    static const struct helper_call take_flags = {
        "", (void *)mxcsr_take_flags, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL};
    void *env = (void *)TCG_TEMP(tcg, TCG_CPU_ENV(tcg));

    if (opcode == INDEX_OP_LD32U_I64 && offset == ENV_MXCSR_OFFSET) {
        emit_call(tcg, &take_flags, NULL, 1, &env);
    }
}
