/* The functions that replace the engine's helpers of instructions, each thin (interpose.c says how).
 *
 * Those of control registers, XCHG and segments are where these are; of floating point and SIMD fpu_translate.c knows.
 */
#include "engine.h"

#include <sys/random.h>

/* Prototypes for names that only the engine calls. */
uint64_t helper_get_dr_x86_64(CPUX86State *env, int reg);
void helper_set_dr_x86_64(CPUX86State *env, int reg, uint64_t value);
void helper_bpt_io_x86_64(CPUX86State *env, uint32_t port, uint32_t size, uint64_t next_eip);
void helper_single_step_x86_64(CPUX86State *env);
void helper_hlt_x86_64(CPUX86State *env, int length);
void helper_rdpmc_x86_64(CPUX86State *env);
void helper_sysret_x86_64(CPUX86State *env, int operand);
void helper_syscall_x86_64(CPUX86State *env, int length);
void helper_sysenter_x86_64(CPUX86State *env, int length);
void helper_sysexit_x86_64(CPUX86State *env, int size);
void helper_cpuid_x86_64(CPUX86State *env);
void helper_rdtsc_x86_64(CPUX86State *env);
void helper_rdtscp_x86_64(CPUX86State *env);
void helper_rdmsr_x86_64(CPUX86State *env);
void helper_wrmsr_x86_64(CPUX86State *env);
void helper_wrpkru_x86_64(CPUX86State *env, uint32_t ecx, uint64_t value);
uint64_t helper_rdrand_x86_64(CPUX86State *env);
void helper_sti_x86_64(CPUX86State *env);
void helper_pause_x86_64(CPUX86State *env, int length);
uint64_t helper_inb_x86_64(CPUX86State *env, uint32_t port);
uint64_t helper_inw_x86_64(CPUX86State *env, uint32_t port);
uint64_t helper_inl_x86_64(CPUX86State *env, uint32_t port);
void helper_outb_x86_64(CPUX86State *env, uint32_t port, uint32_t data);
void helper_outw_x86_64(CPUX86State *env, uint32_t port, uint32_t data);
void helper_outl_x86_64(CPUX86State *env, uint32_t port, uint32_t data);

uint64_t REPLACES(helper_get_dr)(CPUX86State *env, int reg)
{
    (void)env;
    return debug_register_read(self, reg, RETADDR);
}

void REPLACES(helper_set_dr)(CPUX86State *env, int reg, uint64_t value)
{
    (void)env;
    debug_register_write(self, reg, value, RETADDR);
}

void REPLACES(helper_bpt_io)(CPUX86State *env, uint32_t port, uint32_t size, uint64_t next_eip)
{
    (void)env;
    io_breakpoints_check(self, port, size, next_eip, RETADDR);
}

void REPLACES(helper_single_step)(CPUX86State *env)
{
    (void)env;
    debug_single_step(self, RETADDR);
}

/* The registers are up to date. */
void REPLACES(helper_hlt)(CPUX86State *env, int length)
{
    if (ENV_EFLAGS(env) & EFLAGS_TF) {
        ENV_EIP(env) += (uint64_t)length;
        debug_step_over_halt(self);
    }
    uc.helper_hlt(env, length);
}

/* No CPU model has performance counters. */
void REPLACES(helper_rdpmc)(CPUX86State *env)
{
    uc.raise_exception_err_ra(env, EXCP_GP, 0, RETADDR);
}

void REPLACES(helper_sysret)(CPUX86State *env, int operand)
{
    enum { OPERAND_64 = 2 };

    (void)env;
    syscall_return(self, operand == OPERAND_64, RETADDR);
}

void REPLACES(helper_syscall)(CPUX86State *env, int length)
{
    (void)env;
    syscall_enter(self, length, RETADDR);
}

void REPLACES(helper_sysenter)(CPUX86State *env, int length)
{
    (void)env;
    (void)length;
    sysenter_enter(self, RETADDR);
}

void REPLACES(helper_sysexit)(CPUX86State *env, int size)
{
    (void)env;
    sysenter_return(self, size == 2, RETADDR);
}

void REPLACES(helper_cpuid)(CPUX86State *env)
{
    uint64_t *regs = ENV_REGS(env);
    uint32_t out[4];

    self->selftest |= SELFTEST_CPUID;
    /* CPUID serializes: earlier stores are seen by all before the next instruction (SDM vol. 3, 8.3). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    cpuid_lookup(self, (uint32_t)regs[R_EAX], (uint32_t)regs[R_ECX], out);
    regs[R_EAX] = out[0];
    regs[R_EBX] = out[1];
    regs[R_ECX] = out[2];
    regs[R_EDX] = out[3];
}

static void tsc_read(CPUX86State *env, uintptr_t retaddr)
{
    uint64_t tsc;

    if ((ENV_CR(env)[4] & CR4_TSD) && (ENV_HFLAGS(env) & HF_CPL_MASK) != 0) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
    }
    tsc = guest_tsc(self);
    ENV_REGS(env)[R_EAX] = (uint32_t)tsc;
    ENV_REGS(env)[R_EDX] = tsc >> 32;
}

void REPLACES(helper_rdtsc)(CPUX86State *env)
{
    tsc_read(env, RETADDR);
}

void REPLACES(helper_rdtscp)(CPUX86State *env)
{
    tsc_read(env, RETADDR);
    ENV_REGS(env)[R_ECX] = (uint32_t)ENV_TSC_AUX(env);
}

void REPLACES(helper_rdmsr)(CPUX86State *env)
{
    uint64_t *regs = ENV_REGS(env);
    uint64_t value;

    if (!msr_read(self, (uint32_t)regs[R_ECX], &value)) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, RETADDR);
    }
    regs[R_EAX] = (uint32_t)value;
    regs[R_EDX] = value >> 32;
}

void REPLACES(helper_wrmsr)(CPUX86State *env)
{
    uint64_t *regs = ENV_REGS(env);

    if (!msr_write(self, (uint32_t)regs[R_ECX], (uint32_t)regs[R_EAX] | regs[R_EDX] << 32)) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, RETADDR);
    }
}

/* Linux writes the value that is there at each signal; the engine would flush its TLB each time. */
void REPLACES(helper_wrpkru)(CPUX86State *env, uint32_t ecx, uint64_t value)
{
    if (!(ENV_CR(env)[4] & CR4_PKE)) {
        uc.raise_exception_err_ra(env, EXCP_UD, 0, RETADDR);
    }
    if (ecx != 0 || value >> 32 != 0) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, RETADDR);
    }
    if (ENV_PKRU(env) != (uint32_t)value) {
        ENV_PKRU(env) = (uint32_t)value;
        if (tlb_flush_needed(self)) {
            tlb_flush_all(self);
        }
    }
}

/* The engine's source is a Mersenne Twister with a fixed seed. */
uint64_t REPLACES(helper_rdrand)(CPUX86State *env)
{
    enum { CC_CARRY = 1 };
    uint64_t value = 0;

    /* CF says whether there is a value; the other flags are cleared. */
    ENV_CC_SRC(env) = getrandom(&value, sizeof(value), 0) == sizeof(value) ? CC_CARRY : 0;
    return value;
}

/* The engine knows that an instruction is in a shadow, but not in which one: whose it is can be told by this. */
void REPLACES(helper_sti)(CPUX86State *env)
{
    ENV_EFLAGS(env) |= EFLAGS_IF;
    self->sti_retaddr = RETADDR;
}

/* A guest that spins may be waiting for a vCPU that waits for our core. */
void REPLACES(helper_pause)(CPUX86State *env, int length)
{
    struct vcpu *vcpu = self;

    ENV_EIP(env) += (uint64_t)length;
    yield_at_pause(vcpu);
    if (ENV_EFLAGS(env) & EFLAGS_TF) {
        debug_single_step(vcpu, RETADDR);
    }
    uc.cpu_loop_exit_noexc(vcpu->cpu);
}

uint64_t REPLACES(helper_inb)(CPUX86State *env, uint32_t port)
{
    (void)env;
    return port_read(self, port & 0xffff, 1, RETADDR);
}

uint64_t REPLACES(helper_inw)(CPUX86State *env, uint32_t port)
{
    (void)env;
    return port_read(self, port & 0xffff, 2, RETADDR);
}

uint64_t REPLACES(helper_inl)(CPUX86State *env, uint32_t port)
{
    (void)env;
    return port_read(self, port & 0xffff, 4, RETADDR);
}

void REPLACES(helper_outb)(CPUX86State *env, uint32_t port, uint32_t data)
{
    (void)env;
    port_write(self, port & 0xffff, 1, data & 0xff, RETADDR);
}

void REPLACES(helper_outw)(CPUX86State *env, uint32_t port, uint32_t data)
{
    (void)env;
    port_write(self, port & 0xffff, 2, data & 0xffff, RETADDR);
}

void REPLACES(helper_outl)(CPUX86State *env, uint32_t port, uint32_t data)
{
    (void)env;
    port_write(self, port & 0xffff, 4, data, RETADDR);
}

/* WRMSR and OUT may make an interrupt pending, which the CPU takes before the next instruction: a block starts
 * there, for only there it is looked at. */
bool helper_may_interrupt(const void *function)
{
    return function == (void *)REPLACEMENT(helper_wrmsr) || function == (void *)REPLACEMENT(helper_outb) ||
           function == (void *)REPLACEMENT(helper_outw) || function == (void *)REPLACEMENT(helper_outl);
}
