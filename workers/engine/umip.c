/* User-mode instruction prevention (SDM vol. 3, 2.5; vol. 2, SGDT, SIDT, SLDT, STR, SMSW), which the engine lacks.
 *
 * Only these instructions have the translator load the registers' own values, so that load is where the check goes.
 * Ring 0's code has none.
 */
#include "engine.h"

static const struct {
    int opcode;
    size_t place;
} protected_loads[] = {
    {INDEX_OP_LD32U_I64, ENV_GDT_OFFSET + offsetof(struct SegmentCache, limit)},
    {INDEX_OP_LD32U_I64, ENV_IDT_OFFSET + offsetof(struct SegmentCache, limit)},
    {INDEX_OP_LD32U_I64, ENV_LDT_OFFSET + offsetof(struct SegmentCache, selector)},
    {INDEX_OP_LD32U_I64, ENV_TR_OFFSET + offsetof(struct SegmentCache, selector)},
    {INDEX_OP_LD_I64, ENV_CR_OFFSET},
};

static void umip_check(CPUX86State *env)
{
    if (ENV_CR(env)[4] & CR4_UMIP) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, RETADDR);
    }
}

/* The translator is about to load `offset` of the CPU's state. */
void umip_translate_load(const struct vcpu *vcpu, TCGContext *tcg, int opcode, uint64_t offset)
{
    void *env = (void *)TCG_TEMP(tcg, TCG_CPU_ENV(tcg));

    if ((vcpu->translating_flags & HF_CPL_MASK) == 0) {
        return;
    }
    for (unsigned i = 0; i < sizeof(protected_loads) / sizeof(protected_loads[0]); i++) {
        if (opcode == protected_loads[i].opcode && offset == protected_loads[i].place) {
            translate_call(tcg, (void *)umip_check, 0, NULL, 1, &env);
        }
    }
}
