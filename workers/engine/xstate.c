/* The x87, SSE and PKRU to and from the control block's XSAVE area, in standard format (SDM vol. 1, 13.4).
 *
 * The x87's last opcode and its operand pointers are zero: the engine does not keep them, and neither do
 * CPUs of AMD while no exception is pending.
 */
#include "fpu.h"

#include <string.h>

/* SDM vol. 1, table 10-2 */
#define FXSAVE_FCW 0
#define FXSAVE_FSW 2
#define FXSAVE_FTW 4
#define FXSAVE_MXCSR 24
#define FXSAVE_MXCSR_MASK 28
#define FXSAVE_ST 32
#define FXSAVE_XMM 160
#define ST_BYTES 10
#define FSW_TOP_SHIFT 11
#define FSW_TOP (7u << FSW_TOP_SHIFT)
#define FCW_INITIAL 0x37fu
#define XSTATE_BV_AT 512
/* Where CPUID leaf 0xd says that PKRU is. */
#define PKRU_AT 2688

#define XSTATE_X87 (1ull << 0)
#define XSTATE_SSE (1ull << 1)
#define XSTATE_PKRU (1ull << 9)
#define CPUID_7_ECX_PKU (1u << 3)

static void x87_save(CPUX86State *env, uint8_t *image)
{
    uint16_t status;
    uint8_t tags = 0;

    x87_settle(env);
    status = (uint16_t)((ENV_FPUS(env) & ~FSW_TOP) | (ENV_FPSTT(env) & 7) << FSW_TOP_SHIFT);
    for (unsigned i = 0; i < 8; i++) {
        tags |= (uint8_t)((ENV_FPTAGS(env)[i] == 0) << i);
        memcpy(image + FXSAVE_ST + 16 * i, ENV_FPREG(env, (ENV_FPSTT(env) + i) & 7), ST_BYTES);
    }
    memcpy(image + FXSAVE_FCW, &ENV_FPUC(env), 2);
    memcpy(image + FXSAVE_FSW, &status, 2);
    image[FXSAVE_FTW] = tags;
}

static void x87_load(CPUX86State *env, const uint8_t *image)
{
    uint16_t status;

    memcpy(&ENV_FPUC(env), image + FXSAVE_FCW, 2);
    memcpy(&status, image + FXSAVE_FSW, 2);
    ENV_FPSTT(env) = (status & FSW_TOP) >> FSW_TOP_SHIFT;
    ENV_FPUS(env) = (uint16_t)(status & ~FSW_TOP);
    for (unsigned i = 0; i < 8; i++) {
        ENV_FPTAGS(env)[i] = !(image[FXSAVE_FTW] >> i & 1);
        memcpy(ENV_FPREG(env, (ENV_FPSTT(env) + i) & 7), image + FXSAVE_ST + 16 * i, ST_BYTES);
    }
    x87_changed(env);
}

static void sse_save(CPUX86State *env, uint8_t *image)
{
    const uint32_t mask = MXCSR_VALID;

    memcpy(image + FXSAVE_MXCSR, &ENV_MXCSR(env), 4);
    memcpy(image + FXSAVE_MXCSR_MASK, &mask, 4);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(image + FXSAVE_XMM + 16 * i, ENV_XMM(env, i), 16);
    }
}

static void sse_load(CPUX86State *env, const uint8_t *image)
{
    for (unsigned i = 0; i < 16; i++) {
        memcpy(ENV_XMM(env, i), image + FXSAVE_XMM + 16 * i, 16);
    }
}

void xstate_save(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;
    struct mpvm_guest_state *guest = &vcpu->area->control.guest;
    uint64_t components = XSTATE_X87 | XSTATE_SSE;

    memset(guest->xsave, 0, sizeof(guest->xsave));
    x87_save(env, guest->xsave);
    sse_save(env, guest->xsave);
    guest->mxcsr = ENV_MXCSR(env);
    guest->pkru = ENV_PKRU(env);
    if (ENV_FEATURES(env)[MPVM_FEATURE_WORD_CPUID_7_0_ECX] & CPUID_7_ECX_PKU) {
        components |= XSTATE_PKRU;
        memcpy(guest->xsave + PKRU_AT, &ENV_PKRU(env), 4);
    }
    memcpy(guest->xsave + XSTATE_BV_AT, &components, 8);
}

void xstate_load(struct vcpu *vcpu)
{
    static const uint8_t initial[FXSAVE_XMM + 16 * 16] = {FCW_INITIAL & 0xff, FCW_INITIAL >> 8};
    CPUX86State *env = vcpu->env;
    const struct mpvm_guest_state *guest = &vcpu->area->control.guest;
    uint64_t components;

    memcpy(&components, guest->xsave + XSTATE_BV_AT, 8);
    x87_load(env, components & XSTATE_X87 ? guest->xsave : initial);
    sse_load(env, components & XSTATE_SSE ? guest->xsave : initial);
    mxcsr_set(env, guest->mxcsr);
    ENV_PKRU(env) = vcpu->pkru = (uint32_t)guest->pkru;
}
