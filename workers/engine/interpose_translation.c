/* The functions that replace the engine's in a translation: when a block may be translated, and what is emitted.
 *
 * (interpose.c says how a function replaces one.)
 */
#include "engine.h"

/* Prototypes for names that only the engine calls. */
void gen_intermediate_code_x86_64(CPUState *cpu, TranslationBlock *tb, int max_insns);
void translator_loop_x86_64(const TranslatorOps *ops, DisasContextBase *db, CPUState *cpu, TranslationBlock *tb,
                            int max_insns);
void check_exit_request_x86_64(TCGContext *tcg);
void tcg_gen_callN_x86_64(TCGContext *tcg, void *function, void *result, int count, void **arguments);
void tcg_gen_op2_x86_64(TCGContext *tcg, int opcode, uint64_t a, uint64_t b);
void tcg_gen_op3_x86_64(TCGContext *tcg, int opcode, uint64_t a, uint64_t b, uint64_t c);
void tcg_gen_lookup_and_goto_ptr_x86_64(TCGContext *tcg);
void tcg_gen_exit_tb_x86_64(TCGContext *tcg, TranslationBlock *tb, unsigned index);
void tcg_tb_insert_x86_64(TCGContext *tcg, TranslationBlock *tb);

/* The page whose code starts at guest-virtual `pc`; NO_PAGE outside RAM. Faults as a fetch does. */
static uint32_t code_page(struct vcpu *vcpu, uint64_t pc)
{
    uint64_t ram_addr = REPLACEMENT(get_page_addr_code)(vcpu->env, pc);

    return ram_addr == UINT64_MAX ? NO_PAGE : page_of_ram_addr(vcpu, ram_addr);
}

static bool page_claimed(struct vcpu *vcpu, uint32_t page)
{
    return page == NO_PAGE || code_claimed(vcpu, page);
}

/* Translate with real atomics, and only from pages that nobody stores to unseen. */
void REPLACES(gen_intermediate_code)(CPUState *cpu, TranslationBlock *tb, int max_insns)
{
    struct vcpu *vcpu = self;
    TCGContext *tcg = UC_TCG_CTX(vcpu->engine);
    uint32_t parallel = TB_CFLAGS(tb) & CF_LAST_IO ? 0 : CF_PARALLEL;
    uint32_t first = code_page(vcpu, TB_PC(tb));
    uint32_t second = NO_PAGE;

    vcpu->selftest |= SELFTEST_TRANSLATE;
    vcpu->translating_flags = TB_FLAGS(tb);
    if (TB_FLAGS(tb) & EFLAGS_RF) {
        max_insns = 1;
    }
    opcode_block_begin(vcpu, TB_PC(tb), first);
    tlb_jump_cached(vcpu, TB_PC(tb));
    TCG_TB_CFLAGS(tcg) |= parallel;
    TB_CFLAGS(tb) |= parallel;
    for (;;) {
        uint64_t last;
        uint32_t crossed = NO_PAGE;

        if (first != NO_PAGE) {
            code_claim(vcpu, first);
        }
        if (second != NO_PAGE) {
            /* Waiting for the second page may cost us the first. */
            code_claim(vcpu, second);
            if (!page_claimed(vcpu, first)) {
                continue;
            }
        }
        STEP(translate);
        uc.gen_intermediate_code(cpu, tb, max_insns);
        STEP(translated);
        last = TB_PC(tb) + TB_SIZE(tb) - 1;
        if ((last ^ TB_PC(tb)) >= PAGE_BYTES) {
            crossed = code_page(vcpu, last & ~(uint64_t)(PAGE_BYTES - 1));
        }
        /* To read from registers is an exit, and meanwhile a page may be claimed by who stores to it. */
        if (crossed == second && page_claimed(vcpu, first) && page_claimed(vcpu, second)) {
            break;
        }
        /* Bytes of a page were read while it was not ours to read: once more, now that we know it. */
        second = crossed;
        uc.tcg_func_start(tcg);
    }
    vcpu->translation.fed_count = 0;
    /* The hash of blocks compares these flags with those that are looked for, which never have it. */
    TB_CFLAGS(tb) &= ~parallel;
}

void REPLACES(translator_loop)(const TranslatorOps *ops, DisasContextBase *db, CPUState *cpu, TranslationBlock *tb,
                               int max_insns)
{
    self->selftest |= SELFTEST_TRANSLATOR_LOOP;
    self->translating = db;
    self->ends_block = false;
    uc.translator_loop(ops, db, cpu, tb, max_insns);
    self->translating = NULL;
}

/* A stop in the middle of an instruction would run its memory access twice: stops are at block starts only. */
void REPLACES(check_exit_request)(TCGContext *tcg)
{
    (void)tcg;
    self->selftest |= SELFTEST_CHECK_EXIT;
}

/* The check at the start of a block is a call of a helper in unicorn. In QEMU it is a load and a branch to the
 * block's end, and so it is here: the branch where the helper's call would be emitted, its label before the
 * exit that ends every block. */
void REPLACES(tcg_gen_callN)(TCGContext *tcg, void *function, void *result, int count, void **arguments)
{
    if (function != (void *)uc.helper_check_exit_request) {
        if (function == (void *)uc.helper_reset_rf) {
            return; /* done before the instruction */
        }
        if (helper_may_interrupt(function)) {
            DISAS_IS_JMP(self->translating) = DISAS_TOO_MANY;
            self->ends_block = true;
        }
        if (!fpu_translate_call(self, tcg, function, result, count, arguments)) {
            uc.tcg_gen_callN(tcg, function, result, count, arguments);
        }
        if (function == (void *)uc.helper_cr4_testbit) {
            fsgsbase_emit(self, tcg, self->translation.at);
        }
        return;
    }
    if (self->exclusive_step != 0 || self->replay_step != 0) {
        return; /* whatever has come meanwhile, the instruction that runs alone comes first */
    }
    void *requested = uc.tcg_temp_new_internal(tcg, TCG_TYPE_I32, false);

    self->exit_label = uc.gen_new_label(tcg);
    uc.tcg_gen_op3(tcg, INDEX_OP_LD_I32, (uint64_t)(uintptr_t)requested, TCG_TEMP(tcg, TCG_CPU_ENV(tcg)),
                   (uint64_t)(int64_t)ATTENTION_FROM_ENV);
    uc.tcg_gen_brcondi_i32(tcg, TCG_COND_NE, (uintptr_t)requested - (uintptr_t)tcg, 0, self->exit_label);
    uc.tcg_temp_free_internal(tcg, requested);
}

/* Where an instruction's code begins: what execution controls ask for comes before it, and what the translator
 * gets wrong is made right. */
void REPLACES(tcg_gen_op2)(TCGContext *tcg, int opcode, uint64_t a, uint64_t b)
{
    if (opcode == INDEX_OP_INSN_START) {
        translate_instruction(self, tcg, a, b);
    } else if (self->accumulator_compared && opcode == INDEX_OP_EXT32U_I64 &&
               a == TCG_TEMP(tcg, TCG_CPU_REGS(tcg, R_EAX))) {
        translate_accumulator(self, tcg, b);
    } else {
        uc.tcg_gen_op2(tcg, opcode, a, b);
    }
}

void REPLACES(tcg_gen_op3)(TCGContext *tcg, int opcode, uint64_t a, uint64_t b, uint64_t c)
{
    if (opcode >= INDEX_OP_QEMU_LD_I32 && opcode <= INDEX_OP_QEMU_ST_I64) {
        if (self->translation.wide_operand_aligned || self->translation.narrow_operand != 0 ||
            self->translation.alignment_checked) {
            opcode_memory_access(self, tcg, opcode, a, b, c);
            return;
        }
    } else {
        fpu_translate_load(tcg, opcode, c);
        umip_translate_load(self, tcg, opcode, c);
    }
    uc.tcg_gen_op3(tcg, opcode, a, b, c);
}

void REPLACES(tcg_gen_exit_tb)(TCGContext *tcg, TranslationBlock *tb, unsigned index)
{
    if (index == TB_EXIT_REQUESTED && self->exit_label != NULL) {
        TCG_LABEL_PRESENT(self->exit_label) |= TCG_LABEL_PRESENT_BIT;
        uc.tcg_gen_op1(tcg, INDEX_OP_SET_LABEL, (uint64_t)(uintptr_t)self->exit_label);
        self->exit_label = NULL;
    } else if (tb == NULL && self->ends_block && self->exclusive_step == 0 && self->replay_step == 0) {
        /* The next block looks by itself, and need not be looked for by the engine's loop. */
        REPLACEMENT(tcg_gen_lookup_and_goto_ptr)(tcg);
        return;
    }
    uc.tcg_gen_exit_tb(tcg, tb, index);
}

/* The instruction in the shadow of STI ends its block by a look at what is pending; an indirect jump would go
 * straight on to the next block. */
void REPLACES(tcg_gen_lookup_and_goto_ptr)(TCGContext *tcg)
{
    if (self->translating_flags & HF_INHIBIT_IRQ_MASK) {
        uc.tcg_gen_exit_tb(tcg, NULL, 0);
    } else {
        uc.tcg_gen_lookup_and_goto_ptr(tcg);
    }
}

/* The end of a translation: the block has its code. */
void REPLACES(tcg_tb_insert)(TCGContext *tcg, TranslationBlock *tb)
{
    self->selftest |= SELFTEST_TB_INSERT;
    if (self->perf_map != NULL) {
        perf_map_block(self, tb);
    }
    uc.tcg_tb_insert(tcg, tb);
}
