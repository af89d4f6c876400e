/* SYSCALL and SYSENTER, which the engine only skips, and the ways back, which check less than the SDM says (SDM vol. 2,
 * their pages; APM vol. 3, SYSCALL and SYSENTER). */
#include "segments.h"

/* CF PF AF ZF SF OF: kept by the engine apart from the rest */
#define CC_FLAGS 0x8d5u
#define CPUID_1_EDX_SEP (1u << 11)
#define SYSRET_FLAGS 0x3c7fd7u
#define FLAT_CODE (DESC_G_MASK | DESC_P_MASK | DESC_S_MASK | DESC_CS_MASK | DESC_R_MASK | DESC_A_MASK)
#define FLAT_DATA (DESC_G_MASK | DESC_B_MASK | DESC_P_MASK | DESC_S_MASK | DESC_W_MASK | DESC_A_MASK)

/* As the engine's own inline: flags in EFLAGS proper, arithmetic ones and DF apart. */
void eflags_load(CPUX86State *env, uint64_t value, uint64_t mask)
{
    ENV_CC_SRC(env) = value & CC_FLAGS;
    ENV_CC_OP(env) = CC_OP_EFLAGS;
    ENV_DF(env) = value & EFLAGS_DF ? -1 : 1;
    mask &= ~(uint64_t)(CC_FLAGS | EFLAGS_DF);
    ENV_EFLAGS(env) = (ENV_EFLAGS(env) & ~mask) | (value & mask) | 2;
}

uint64_t eflags_compute(CPUX86State *env)
{
    return (ENV_EFLAGS(env) & ~(uint64_t)(CC_FLAGS | EFLAGS_DF)) |
           uc.cpu_cc_compute_all(env, (int)ENV_CC_OP(env)) | ((uint32_t)ENV_DF(env) & EFLAGS_DF);
}

void segment_load(CPUX86State *env, int reg, uint32_t selector, uint64_t base, uint32_t limit, uint32_t flags)
{
    ENV_SEGS(env)[reg] = (struct SegmentCache){.selector = selector, .base = base, .limit = limit, .flags = flags};
    hflags_update(env);
}

/* Intel's SYSCALL and SYSRET are for 64-bit code only, AMD's SYSENTER and SYSEXIT for legacy mode only. */
static void vendor_check(struct vcpu *vcpu, bool allowed, uintptr_t retaddr)
{
    if (!allowed) {
        uc.raise_exception_err_ra(vcpu->env, EXCP_UD, 0, retaddr);
    }
}

static void syscall_check(struct vcpu *vcpu, uintptr_t retaddr)
{
    bool code64 = (ENV_HFLAGS(vcpu->env) & HF_CS64_MASK) != 0;

    vendor_check(vcpu, (ENV_EFER(vcpu->env) & EFER_SCE) && (code64 || cpuid_is_amd(vcpu)), retaddr);
}

static void sysenter_check(struct vcpu *vcpu, uintptr_t retaddr)
{
    bool has_sep = (ENV_FEATURES(vcpu->env)[MPVM_FEATURE_WORD_CPUID_1_EDX] & CPUID_1_EDX_SEP) != 0;

    vendor_check(vcpu, has_sep && (!long_mode(vcpu->env) || !cpuid_is_amd(vcpu)), retaddr);
    if (is_null(ENV_SYSENTER_CS(vcpu->env) & 0xffff)) {
        uc.raise_exception_err_ra(vcpu->env, EXCP_GP, 0, retaddr);
    }
}

static void ring0_check(struct vcpu *vcpu, uintptr_t retaddr)
{
    if (!(ENV_HFLAGS(vcpu->env) & HF_PE_MASK) || current_cpl(vcpu->env) != 0) {
        uc.raise_exception_err_ra(vcpu->env, EXCP_GP, 0, retaddr);
    }
}

static void address_check(struct vcpu *vcpu, uint64_t address, uintptr_t retaddr)
{
    if (!is_canonical(vcpu->env, address)) {
        uc.raise_exception_err_ra(vcpu->env, EXCP_GP, 0, retaddr);
    }
}

/* Flat code and the flat stack behind it. `mode` is DESC_L_MASK or DESC_B_MASK. */
static void flat_segments_load(CPUX86State *env, uint32_t code, uint32_t stack, uint32_t mode)
{
    uint32_t dpl = (code & SELECTOR_RPL) << DESC_DPL_SHIFT;

    segment_load(env, R_CS, code, 0, UINT32_MAX, FLAT_CODE | mode | dpl);
    segment_load(env, R_SS, stack, 0, UINT32_MAX, FLAT_DATA | dpl);
}

void syscall_enter(struct vcpu *vcpu, int length, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint64_t *regs = ENV_REGS(env), next = ENV_EIP(env) + (uint64_t)length;
    uint32_t selector = ENV_STAR(env) >> 32 & 0xffff, code = selector & SELECTOR_ERROR;
    bool code64 = (ENV_HFLAGS(env) & HF_CS64_MASK) != 0;

    syscall_check(vcpu, retaddr);
    if (long_mode(env)) {
        regs[R_ECX] = next;
        regs[11] = eflags_compute(env) & ~(uint64_t)EFLAGS_RF;
        eflags_load(env, regs[11] & ~ENV_FMASK(env), ENV_FMASK(env) | EFLAGS_RF);
        flat_segments_load(env, code, code + 8, DESC_L_MASK);
        ENV_EIP(env) = code64 ? ENV_LSTAR(env) : ENV_CSTAR(env);
    } else {
        regs[R_ECX] = (uint32_t)next;
        ENV_EFLAGS(env) &= ~(uint64_t)(EFLAGS_IF | EFLAGS_RF | EFLAGS_VM);
        flat_segments_load(env, code, code + 8, DESC_B_MASK);
        ENV_EIP(env) = (uint32_t)ENV_STAR(env);
    }
}

void syscall_return(struct vcpu *vcpu, bool to64, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint64_t target = ENV_REGS(env)[R_ECX];
    uint32_t selector = ENV_STAR(env) >> 48;

    syscall_check(vcpu, retaddr);
    ring0_check(vcpu, retaddr);
    /* AMD's goes to ring 3 first, and faults there. */
    if (to64 && !is_canonical(env, target) && !cpuid_is_amd(vcpu)) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
    }
    if (long_mode(env)) {
        eflags_load(env, ENV_REGS(env)[11] & SYSRET_FLAGS, UINT32_MAX);
    } else {
        ENV_EFLAGS(env) |= EFLAGS_IF;
    }
    flat_segments_load(env, (selector + (to64 ? 16 : 0)) | SELECTOR_RPL, (selector + 8) | SELECTOR_RPL,
                       to64 ? DESC_L_MASK : DESC_B_MASK);
    ENV_EIP(env) = to64 ? target : (uint32_t)target;
}

void sysenter_enter(struct vcpu *vcpu, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint32_t selector = ENV_SYSENTER_CS(env) & SELECTOR_ERROR;
    uint64_t mask = long_mode(env) ? UINT64_MAX : UINT32_MAX;

    sysenter_check(vcpu, retaddr);
    ENV_EFLAGS(env) &= ~(uint64_t)(EFLAGS_VM | EFLAGS_IF | EFLAGS_RF);
    flat_segments_load(env, selector, selector + 8, long_mode(env) ? DESC_L_MASK : DESC_B_MASK);
    ENV_REGS(env)[R_ESP] = ENV_SYSENTER_ESP(env) & mask;
    ENV_EIP(env) = ENV_SYSENTER_EIP(env) & mask;
}

void sysenter_return(struct vcpu *vcpu, bool to64, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint64_t *regs = ENV_REGS(env), mask = to64 ? UINT64_MAX : UINT32_MAX;
    uint32_t selector = (ENV_SYSENTER_CS(env) & SELECTOR_ERROR) + (to64 ? 32 : 16);

    sysenter_check(vcpu, retaddr);
    ring0_check(vcpu, retaddr);
    if (to64) {
        address_check(vcpu, regs[R_ECX], retaddr);
        address_check(vcpu, regs[R_EDX], retaddr);
    }
    flat_segments_load(env, selector | SELECTOR_RPL, (selector + 8) | SELECTOR_RPL,
                       to64 ? DESC_L_MASK : DESC_B_MASK);
    regs[R_ESP] = regs[R_ECX] & mask;
    ENV_EIP(env) = regs[R_EDX] & mask;
}
