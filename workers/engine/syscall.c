/* SYSCALL and SYSENTER, which the engine only skips (SDM vol. 2, their pages). */
#include "engine.h"

/* CF PF AF ZF SF OF: kept by the engine apart from the rest */
#define CC_FLAGS 0x8d5u
#define CC_OP_EFLAGS 1
#define RPL_MASK 3u
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

void syscall_enter(struct vcpu *vcpu, int length, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint64_t *regs = ENV_REGS(env);
    uint32_t selector = ENV_STAR(env) >> 32 & 0xffff;
    bool long_mode = (ENV_HFLAGS(env) & HF_LMA_MASK) != 0;
    bool code64 = (ENV_HFLAGS(env) & HF_CS64_MASK) != 0;

    if (!(ENV_EFER(env) & EFER_SCE)) {
        uc.raise_exception_err_ra(env, EXCP_UD, 0, retaddr);
    }
    if (long_mode) {
        regs[R_ECX] = ENV_EIP(env) + (uint64_t)length;
        regs[11] = eflags_compute(env) & ~(uint64_t)EFLAGS_RF;
        eflags_load(env, regs[11] & ~ENV_FMASK(env), ENV_FMASK(env) | EFLAGS_RF);
        segment_load(env, R_CS, selector & 0xfffc, 0, UINT32_MAX, FLAT_CODE | DESC_L_MASK);
        segment_load(env, R_SS, (selector + 8) & 0xfffc, 0, UINT32_MAX, FLAT_DATA);
        ENV_EIP(env) = code64 ? ENV_LSTAR(env) : ENV_CSTAR(env);
    } else {
        regs[R_ECX] = (uint32_t)(ENV_EIP(env) + (uint64_t)length);
        ENV_EFLAGS(env) &= ~(uint64_t)(EFLAGS_IF | EFLAGS_RF | EFLAGS_VM);
        segment_load(env, R_CS, selector & 0xfffc, 0, UINT32_MAX, FLAT_CODE | DESC_B_MASK);
        segment_load(env, R_SS, (selector + 8) & 0xfffc, 0, UINT32_MAX, FLAT_DATA);
        ENV_EIP(env) = (uint32_t)ENV_STAR(env);
    }
}

/* To 64-bit or to compatibility mode; out of long mode as AMD's CPUs have it. */
void sysret_leave(struct vcpu *vcpu, bool to_64bit, uintptr_t retaddr)
{
    const uint32_t kept = EFLAGS_TF | EFLAGS_IF | EFLAGS_IOPL | EFLAGS_NT | EFLAGS_AC | EFLAGS_VIF | EFLAGS_VIP | EFLAGS_ID;
    CPUX86State *env = vcpu->env;
    const uint32_t user = 3u << DESC_DPL_SHIFT;
    uint32_t selector = ENV_STAR(env) >> 48;
    uint64_t rip = ENV_REGS(env)[R_ECX];

    if (!(ENV_EFER(env) & EFER_SCE)) {
        uc.raise_exception_err_ra(env, EXCP_UD, 0, retaddr);
    }
    if (!(ENV_CR(env)[0] & CR0_PE) || (ENV_HFLAGS(env) & HF_CPL_MASK) != 0) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
    }
    if (!(ENV_HFLAGS(env) & HF_LMA_MASK)) {
        ENV_EFLAGS(env) |= EFLAGS_IF;
        to_64bit = false;
    } else {
        /* AMD's CPUs find out in ring 3. */
        if (to_64bit && !is_canonical(env, rip) && !cpuid_is_amd(vcpu)) {
            uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
        }
        eflags_load(env, ENV_REGS(env)[11] & ~(uint64_t)(EFLAGS_RF | EFLAGS_VM), kept | EFLAGS_RF | EFLAGS_VM);
    }
    segment_load(env, R_CS, (to_64bit ? selector + 16 : selector) | RPL_MASK, 0, UINT32_MAX,
                 FLAT_CODE | user | (to_64bit ? DESC_L_MASK : DESC_B_MASK));
    segment_load(env, R_SS, (selector + 8) | RPL_MASK, 0, UINT32_MAX, FLAT_DATA | user);
    ENV_EIP(env) = to_64bit ? rip : (uint32_t)rip;
}

void sysenter_enter(struct vcpu *vcpu, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint32_t selector = ENV_SYSENTER_CS(env) & 0xffff & ~RPL_MASK;
    bool long_mode = (ENV_HFLAGS(env) & HF_LMA_MASK) != 0;

    if (selector == 0 || !(ENV_HFLAGS(env) & HF_PE_MASK)) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
    }
    ENV_EFLAGS(env) &= ~(uint64_t)(EFLAGS_VM | EFLAGS_IF | EFLAGS_RF);
    segment_load(env, R_CS, selector, 0, UINT32_MAX, FLAT_CODE | (long_mode ? DESC_L_MASK : DESC_B_MASK));
    segment_load(env, R_SS, selector + 8, 0, UINT32_MAX, FLAT_DATA);
    ENV_REGS(env)[R_ESP] = long_mode ? ENV_SYSENTER_ESP(env) : (uint32_t)ENV_SYSENTER_ESP(env);
    ENV_EIP(env) = long_mode ? ENV_SYSENTER_EIP(env) : (uint32_t)ENV_SYSENTER_EIP(env);
}
