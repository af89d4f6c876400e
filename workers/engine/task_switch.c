/* Hardware task switches (SDM vol. 3, chapter 7): by JMP, CALL, IRET, and through task gates of the IDT.
 *
 * A fault before the old task's state is saved belongs to the old task, one after it to the new.
 */
#include "segments.h"

#include <string.h>

#define TSS_LINK 0
#define DR7_LOCAL 0x155u /* L0 to L3, LE */
#define DR6_BT (1u << 15)

/* Where a TSS has what (SDM vol. 3, figures 7-2 and 7-10). */
struct tss_layout {
    uint32_t last_byte;
    unsigned item_bytes;
    uint32_t cr3, eip, eflags, registers, selectors, ldt, trap; /* 0: has none */
    unsigned segments;  /* ES CS SS DS, and FS GS */
    uint32_t selector_bytes;
};
static const struct tss_layout tss16 = {
    .last_byte = 0x2b,
    .item_bytes = 2,
    .eip = 0x0e,
    .eflags = 0x10,
    .registers = 0x12,
    .selectors = 0x22,
    .ldt = 0x2a,
    .segments = 4,
    .selector_bytes = 2,
};
static const struct tss_layout tss32 = {
    .last_byte = 0x67,
    .item_bytes = 4,
    .cr3 = 0x1c,
    .eip = 0x20,
    .eflags = 0x24,
    .registers = 0x28,
    .selectors = 0x48,
    .ldt = 0x60,
    .trap = 0x64,
    .segments = 6,
    .selector_bytes = 4,
};

/* What a TSS holds of a task. */
struct task_state {
    uint32_t cr3, eip, eflags;
    uint32_t registers[8];
    uint32_t selectors[6];
    uint32_t ldt;
    bool trap;
};

static const struct tss_layout *layout_of(uint32_t high)
{
    return high >> DESC_TYPE_SHIFT & TYPE_SIZE32 ? &tss32 : &tss16;
}

static uint32_t item_load(CPUX86State *env, const struct tss_layout *layout, uint64_t address, uintptr_t retaddr)
{
    int mmu_index = system_mmu_index(env);

    return layout->item_bytes == 4 ? LOAD32(env, address, mmu_index, retaddr)
                                   : LOAD16(env, address, mmu_index, retaddr);
}

static void item_store(CPUX86State *env, const struct tss_layout *layout, uint64_t address, uint32_t value,
                       uintptr_t retaddr)
{
    if (layout->item_bytes == 4) {
        STORE32(env, address, value, system_mmu_index(env), retaddr);
    } else {
        STORE16(env, address, value, system_mmu_index(env), retaddr);
    }
}

static void state_read(CPUX86State *env, const struct tss_layout *layout, uint64_t base, struct task_state *state,
                       uintptr_t retaddr)
{
    int mmu_index = system_mmu_index(env);

    memset(state, 0, sizeof(*state));
    state->eip = item_load(env, layout, base + layout->eip, retaddr);
    state->eflags = item_load(env, layout, base + layout->eflags, retaddr);
    for (unsigned i = 0; i < 8; i++) {
        state->registers[i] = item_load(env, layout, base + layout->registers + i * layout->item_bytes, retaddr);
    }
    for (unsigned i = 0; i < layout->segments; i++) {
        state->selectors[i] =
            LOAD16(env, base + layout->selectors + i * layout->selector_bytes, mmu_index, retaddr);
    }
    state->ldt = LOAD16(env, base + layout->ldt, mmu_index, retaddr);
    if (layout->cr3 != 0) {
        state->cr3 = LOAD32(env, base + layout->cr3, mmu_index, retaddr);
        state->trap = (LOAD16(env, base + layout->trap, mmu_index, retaddr) & 1) != 0;
    }
}

static void state_write(CPUX86State *env, const struct tss_layout *layout, uint64_t base, uint32_t eip,
                        uint32_t eflags, uintptr_t retaddr)
{
    item_store(env, layout, base + layout->eip, eip, retaddr);
    item_store(env, layout, base + layout->eflags, eflags, retaddr);
    for (unsigned i = 0; i < 8; i++) {
        item_store(env, layout, base + layout->registers + i * layout->item_bytes, (uint32_t)ENV_REGS(env)[i],
                   retaddr);
    }
    for (unsigned i = 0; i < layout->segments; i++) {
        STORE16(env, base + layout->selectors + i * layout->selector_bytes, ENV_SEGS(env)[i].selector,
                system_mmu_index(env), retaddr);
    }
}

/* A store there will not fault. */
static void store_probe(CPUX86State *env, uint64_t address, uintptr_t retaddr)
{
    int mmu_index = system_mmu_index(env);
    uint32_t byte = REPLACEMENT(cpu_ldub_mmuidx_ra)(env, address, mmu_index, retaddr);

    REPLACEMENT(cpu_stb_mmuidx_ra)(env, address, byte, mmu_index, retaddr);
}

static void store_probe_range(CPUX86State *env, uint64_t first, uint64_t last, uintptr_t retaddr)
{
    store_probe(env, first, retaddr);
    store_probe(env, last, retaddr);
}

/* The LDT of the new task. Its faults are #TS. */
static void task_ldt_load(struct vcpu *vcpu, uint32_t selector)
{
    struct descriptor descriptor;

    *ENV_LDT(vcpu->env) = (struct SegmentCache){.selector = selector};
    if (is_null(selector)) {
        return;
    }
    if ((selector & SELECTOR_TI) || !descriptor_read(vcpu, selector, &descriptor, 0) || !is_system(&descriptor) ||
        descriptor_type(&descriptor) != TYPE_LDT || !descriptor_present(&descriptor)) {
        segment_fault(vcpu, EXCP_TS, selector & SELECTOR_ERROR, 0);
    }
    *ENV_LDT(vcpu->env) = cache_of(selector, &descriptor);
}

/* Whether a task at `cpl` may have this segment in `reg`. */
static bool task_segment_valid(int reg, uint32_t selector, unsigned cpl, const struct descriptor *descriptor)
{
    unsigned dpl = descriptor_dpl(descriptor), rpl = selector & SELECTOR_RPL;

    if (reg == R_CS) {
        return is_code(descriptor) && (is_conforming(descriptor) ? dpl <= rpl : dpl == rpl);
    }
    if (reg == R_SS) {
        return is_writable_data(descriptor) && dpl == cpl && rpl == cpl;
    }
    if (is_system(descriptor) || (is_code(descriptor) && !(descriptor->high & DESC_R_MASK))) {
        return false;
    }
    return (is_code(descriptor) && is_conforming(descriptor)) || (dpl >= cpl && dpl >= rpl);
}

static void task_segment_load(struct vcpu *vcpu, int reg, uint32_t selector, unsigned cpl)
{
    struct descriptor descriptor;

    if (is_null(selector) && reg != R_CS && reg != R_SS) {
        return;
    }
    if (is_null(selector) || !descriptor_read(vcpu, selector, &descriptor, 0) ||
        !task_segment_valid(reg, selector, cpl, &descriptor)) {
        segment_fault(vcpu, EXCP_TS, selector & SELECTOR_ERROR, 0);
    }
    if (!descriptor_present(&descriptor)) {
        segment_fault(vcpu, reg == R_SS ? EXCP_SS : EXCP_NP, selector & SELECTOR_ERROR, 0);
    }
    descriptor_accessed(vcpu, &descriptor, 0);
    segment_enter(vcpu->env, reg, selector, &descriptor);
}

/* Selectors alone first: a fault on the way finds them, and segments that can't be used. */
static void task_segments_load(struct vcpu *vcpu, const struct task_state *state)
{
    static const int order[] = {R_CS, R_SS, R_ES, R_DS, R_FS, R_GS};
    CPUX86State *env = vcpu->env;
    unsigned cpl = state->selectors[R_CS] & SELECTOR_RPL;

    for (int reg = R_ES; reg <= R_GS; reg++) {
        if (ENV_EFLAGS(env) & EFLAGS_VM) {
            segment_enter_vm86(env, reg, state->selectors[reg]);
        } else {
            segment_load(env, reg, state->selectors[reg], 0, 0, cpl << DESC_DPL_SHIFT);
        }
    }
    task_ldt_load(vcpu, state->ldt);
    if (ENV_EFLAGS(env) & EFLAGS_VM) {
        return;
    }
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        task_segment_load(vcpu, order[i], state->selectors[order[i]], cpl);
    }
}

/* All of the new task that can't fault. */
static void state_enter(struct vcpu *vcpu, const struct tss_layout *layout, const struct task_state *state,
                        uint32_t eflags)
{
    CPUX86State *env = vcpu->env;
    uint64_t mask = EFLAGS_TF | EFLAGS_IF | EFLAGS_IOPL | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC | EFLAGS_ID;

    ENV_CR(env)[0] |= CR0_TS;
    ENV_HFLAGS(env) |= HF_TS_MASK;
    if (layout->cr3 != 0 && (ENV_CR(env)[0] & CR0_PG)) {
        REPLACEMENT(cpu_x86_update_cr3)(env, state->cr3);
    }
    if (ENV_DR(env)[7] & DR7_LOCAL) {
        uc.cpu_x86_update_dr7(env, (uint32_t)ENV_DR(env)[7] & ~DR7_LOCAL);
    }
    ENV_EIP(env) = state->eip;
    if (layout == &tss16) {
        /* The upper halves are not the TSS's to say. */
        eflags_load(env, eflags, mask & UINT16_MAX);
        ENV_EFLAGS(env) &= ~(uint64_t)EFLAGS_VM;
        for (unsigned i = 0; i < 8; i++) {
            ENV_REGS(env)[i] = (ENV_REGS(env)[i] & 0xffff0000u) | state->registers[i];
        }
    } else {
        eflags_load(env, eflags, mask);
        for (unsigned i = 0; i < 8; i++) {
            ENV_REGS(env)[i] = state->registers[i];
        }
    }
}

static void error_code_push(struct vcpu *vcpu, const struct tss_layout *layout, uint32_t error_code)
{
    struct stack stack = stack_now(vcpu, 0);

    stack_push(&stack, layout == &tss32 ? OPERAND32 : OPERAND16, error_code);
    stack_pointer_set(vcpu->env, stack.sp, stack.mask);
}

/* To the task of `tss`, which is available for a call or jump, and busy for a return. `error_code` is that of the
 * exception whose handler it is, or NO_ERROR_CODE. */
static void switch_to(struct vcpu *vcpu, uint32_t selector, struct descriptor *tss, enum task_switch_source source,
                      uint64_t next_rip, int64_t error_code, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    const struct tss_layout *new = layout_of(tss->high), *old = layout_of(ENV_TR(env)->flags);
    struct SegmentCache old_tr = *ENV_TR(env);
    struct descriptor old_tss = {.address = ENV_GDT(env)->base + (old_tr.selector & 0xfff8)};
    uint64_t base = descriptor_base(tss);
    uint32_t old_eflags, new_eflags;
    struct task_state state;

    if (retaddr != 0) {
        /* The translator knows what the arithmetic flags are to be computed from, and says so only to who asks. */
        uc.cpu_restore_state(vcpu->cpu, retaddr, true);
    }
    old_eflags = (uint32_t)eflags_compute(env);
    if (!descriptor_present(tss)) {
        segment_fault(vcpu, EXCP_NP, selector & SELECTOR_ERROR, retaddr);
    }
    if (descriptor_limit(tss) < new->last_byte) {
        segment_fault(vcpu, EXCP_TS, selector & SELECTOR_ERROR, retaddr);
    }
    if (old_tr.limit < old->last_byte || !(old_tr.flags & DESC_P_MASK)) {
        segment_fault(vcpu, EXCP_TS, old_tr.selector & SELECTOR_ERROR, retaddr);
    }
    state_read(env, new, base, &state, retaddr);
    store_probe_range(env, old_tr.base, old_tr.base + old->last_byte, retaddr);
    if (source != TASK_RETURN) {
        store_probe(env, tss->address + 5, retaddr);
    }
    if (source == TASK_CALL) {
        store_probe_range(env, base + TSS_LINK, base + TSS_LINK + 1, retaddr);
    } else {
        old_tss.high = LOAD32(env, old_tss.address + 4, system_mmu_index(env), retaddr);
        descriptor_write_high(vcpu, &old_tss, old_tss.high & ~DESC_TSS_BUSY_MASK, retaddr);
    }
    if (source == TASK_RETURN) {
        old_eflags &= ~EFLAGS_NT;
    }
    state_write(env, old, old_tr.base, (uint32_t)next_rip, old_eflags, retaddr);
    new_eflags = state.eflags;
    if (source == TASK_CALL) {
        STORE16(env, base + TSS_LINK, old_tr.selector, system_mmu_index(env), retaddr);
        new_eflags |= EFLAGS_NT;
    }
    if (source != TASK_RETURN) {
        descriptor_write_high(vcpu, tss, tss->high | DESC_TSS_BUSY_MASK, retaddr);
    }
    tss->high &= ~DESC_TSS_BUSY_MASK; /* as in task_register_load() */
    *ENV_TR(env) = cache_of(selector, tss);
    state_enter(vcpu, new, &state, new_eflags);
    task_segments_load(vcpu, &state);
    if (state.eip > ENV_SEGS(env)[R_CS].limit) {
        segment_fault(vcpu, EXCP_GP, 0, 0);
    }
    if (error_code != NO_ERROR_CODE) {
        error_code_push(vcpu, new, (uint32_t)error_code);
    }
    if (state.trap) {
        ENV_DR(env)[6] |= DR6_BT;
        vcpu->delivering = NOT_DELIVERING;
        ENV_OLD_EXCEPTION(env) = NO_EXCEPTION;
        segment_fault(vcpu, EXCP_DB, 0, 0);
    }
}

/* To a TSS that is available. */
void task_switch(struct vcpu *vcpu, uint32_t selector, enum task_switch_source source, uint64_t next_rip,
                 int64_t error_code, uintptr_t retaddr)
{
    struct descriptor tss;

    if ((selector & SELECTOR_TI) || !descriptor_read(vcpu, selector, &tss, retaddr) || !is_system(&tss) ||
        (descriptor_type(&tss) != TYPE_TSS16 && descriptor_type(&tss) != TYPE_TSS32)) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
    switch_to(vcpu, selector, &tss, source, next_rip, error_code, retaddr);
}

void task_switch_by_gate(struct vcpu *vcpu, const struct descriptor *gate, enum task_switch_source source,
                         uint64_t next_rip, int64_t error_code, uintptr_t retaddr)
{
    task_switch(vcpu, gate->low >> 16, source, next_rip, error_code, retaddr);
}

/* IRET of a nested task. */
void task_switch_back(struct vcpu *vcpu, uint64_t next_rip, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint32_t selector = LOAD16(env, ENV_TR(env)->base + TSS_LINK, system_mmu_index(env), retaddr);
    struct descriptor tss;

    if ((selector & SELECTOR_TI) || !descriptor_read(vcpu, selector, &tss, retaddr) || !is_system(&tss) ||
        (descriptor_type(&tss) != TYPE_TSS16_BUSY && descriptor_type(&tss) != TYPE_TSS32_BUSY)) {
        segment_fault(vcpu, EXCP_TS, selector & SELECTOR_ERROR, retaddr);
    }
    switch_to(vcpu, selector, &tss, TASK_RETURN, next_rip, NO_ERROR_CODE, retaddr);
}
