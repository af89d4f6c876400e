/* The engine's helpers for segments and far transfers, which ours replace, each thin. */
#include "segments.h"

/* Prototypes for names that only the engine calls. */
void helper_load_seg_x86_64(CPUX86State *env, int reg, int selector);
void helper_lldt_x86_64(CPUX86State *env, int selector);
void helper_ltr_x86_64(CPUX86State *env, int selector);
uint64_t helper_lar_x86_64(CPUX86State *env, uint64_t selector);
uint64_t helper_lsl_x86_64(CPUX86State *env, uint64_t selector);
void helper_verr_x86_64(CPUX86State *env, uint64_t selector);
void helper_verw_x86_64(CPUX86State *env, uint64_t selector);
void helper_ljmp_protected_x86_64(CPUX86State *env, int selector, uint64_t target, uint64_t next_rip);
void helper_lcall_protected_x86_64(CPUX86State *env, int selector, uint64_t target, int size, uint64_t next_rip);
void helper_lret_protected_x86_64(CPUX86State *env, int size, int release);
void helper_iret_protected_x86_64(CPUX86State *env, int size, int next_rip);
void helper_lcall_real_x86_64(CPUX86State *env, int selector, uint64_t target, int size, int next_ip);
void helper_iret_real_x86_64(CPUX86State *env, int size);

void REPLACES(helper_load_seg)(CPUX86State *env, int reg, int selector)
{
    (void)env;
    data_segment_load(self, reg, (uint16_t)selector, RETADDR);
}

void REPLACES(helper_lldt)(CPUX86State *env, int selector)
{
    (void)env;
    ldt_load(self, (uint16_t)selector, RETADDR);
}

void REPLACES(helper_ltr)(CPUX86State *env, int selector)
{
    (void)env;
    task_register_load(self, (uint16_t)selector, RETADDR);
}

/* The translator takes ZF from there. */
static void zero_flag_set(CPUX86State *env, bool set)
{
    enum { CC_ZERO = 0x40 };
    uint32_t flags = uc.cpu_cc_compute_all(env, (int)ENV_CC_OP(env));

    ENV_CC_SRC(env) = set ? flags | CC_ZERO : flags & ~(uint32_t)CC_ZERO;
}

uint64_t REPLACES(helper_lar)(CPUX86State *env, uint64_t selector)
{
    uint32_t rights = 0;

    zero_flag_set(env, access_rights_of(self, (uint16_t)selector, &rights, RETADDR));
    return rights;
}

uint64_t REPLACES(helper_lsl)(CPUX86State *env, uint64_t selector)
{
    uint32_t limit = 0;

    zero_flag_set(env, limit_of(self, (uint16_t)selector, &limit, RETADDR));
    return limit;
}

void REPLACES(helper_verr)(CPUX86State *env, uint64_t selector)
{
    zero_flag_set(env, verify(self, (uint16_t)selector, false, RETADDR));
}

void REPLACES(helper_verw)(CPUX86State *env, uint64_t selector)
{
    zero_flag_set(env, verify(self, (uint16_t)selector, true, RETADDR));
}

void REPLACES(helper_ljmp_protected)(CPUX86State *env, int selector, uint64_t target, uint64_t next_rip)
{
    (void)env;
    far_jump(self, (uint16_t)selector, target, next_rip, RETADDR);
}

void REPLACES(helper_lcall_protected)(CPUX86State *env, int selector, uint64_t target, int size, uint64_t next_rip)
{
    (void)env;
    far_call(self, (uint16_t)selector, target, (enum operand)size, next_rip, RETADDR);
}

void REPLACES(helper_lret_protected)(CPUX86State *env, int size, int release)
{
    (void)env;
    far_return(self, (enum operand)size, (uint32_t)release & UINT16_MAX, RETADDR);
}

void REPLACES(helper_iret_protected)(CPUX86State *env, int size, int next_rip)
{
    interrupt_return(self, (enum operand)size, (uint32_t)next_rip, RETADDR);
    resume_flag_loaded(env);
}

/* Real and virtual-8086 mode. */
void REPLACES(helper_lcall_real)(CPUX86State *env, int selector, uint64_t target, int size, int next_ip)
{
    (void)env;
    real_far_call(self, (uint16_t)selector, (uint32_t)target, (enum operand)size, (uint32_t)next_ip, RETADDR);
}

void REPLACES(helper_iret_real)(CPUX86State *env, int size)
{
    real_interrupt_return(self, (enum operand)size, RETADDR);
    resume_flag_loaded(env);
}
