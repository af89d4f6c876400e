/* WRFSBASE and WRGSBASE take canonical addresses only (SDM vol. 2, their page), which the engine does not ask.
 *
 * The call that asks for CR4.FSGSBASE begins the code of all four instructions. Behind it goes a call for the two
 * that write 64 bits, one for each register that they may take the base from.
 */
#include "instruction.h"

enum { REX_B = 1, REX_W = 8, WRITES = 0x10 };

static void base_check(CPUX86State *env, unsigned reg, uintptr_t retaddr)
{
    if (!canonical_for_cpu(self, ENV_REGS(env)[reg])) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
    }
}

#define REGISTERS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define DEFINE_CHECK(reg)                            \
    static void base_check_##reg(CPUX86State *env)   \
    {                                                \
        base_check(env, reg, RETADDR);               \
    }
REGISTERS(DEFINE_CHECK)

#define ENTRY(reg) base_check_##reg,
static void (*const checks[])(CPUX86State *) = {REGISTERS(ENTRY)};

/* The instruction at `linear` is one of the four. */
void fsgsbase_emit(struct vcpu *vcpu, TCGContext *tcg, uint64_t linear)
{
    void *env = (void *)TCG_TEMP(tcg, TCG_CPU_ENV(tcg));
    uint8_t byte, rex = 0;

    while ((byte = (uint8_t)REPLACEMENT(cpu_ldub_code)(vcpu->env, linear++)) != OPCODE_ESCAPE) {
        rex = (byte & 0xf0) == 0x40 ? byte : 0;
    }
    byte = (uint8_t)REPLACEMENT(cpu_ldub_code)(vcpu->env, linear + 1);
    if ((rex & REX_W) && (byte & WRITES)) {
        translate_call(tcg, (void *)checks[MODRM_RM(byte) | (rex & REX_B) << 3], TCG_CALL_NO_WRITE_GLOBALS, NULL, 1,
                       &env);
    }
}
