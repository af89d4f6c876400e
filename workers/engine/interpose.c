/* The functions of the engine that ours replace, each thin: the work is done where the subject is.
 *
 * The dynamic linker binds the wheel's calls to these names here, because this library comes first in
 * the symbol search order; `uc.NAME` is the original.
 */
#include "instruction.h"
#include "tlb.h"

#include <sys/random.h>
#include <x86intrin.h>

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
bool x86_cpu_exec_interrupt_x86_64(CPUState *cpu, int request);
void raise_interrupt_x86_64(CPUX86State *env, int intno, int is_int, int error_code, int next_eip_addend);
void raise_exception_err_x86_64(CPUX86State *env, int exception, int error_code);
void qemu_system_reset_request(uc_engine *engine);
bool x86_cpu_tlb_fill_x86_64(CPUState *cpu, uint64_t address, int size, int access, int mmu_idx, bool probe,
                             uintptr_t retaddr);
void tb_invalidate_phys_page_fast_x86_64(uc_engine *engine, void *pages, ram_addr_t start, int len,
                                         uintptr_t retaddr);
void tlb_set_dirty_x86_64(CPUState *cpu, uint64_t vaddr);
void tlb_flush_x86_64(CPUState *cpu);
void tlb_flush_by_mmuidx_x86_64(CPUState *cpu, uint16_t modes);
void tlb_flush_page_by_mmuidx_x86_64(CPUState *cpu, uint64_t address, uint16_t modes);
void tlb_reset_dirty_by_vaddr_x86_64(CPUState *cpu, uint64_t start, uint64_t length);
void cpu_loop_exit_atomic_x86_64(CPUState *cpu, uintptr_t retaddr);
int cpu_watchpoint_insert_x86_64(CPUState *cpu, uint64_t address, uint64_t length, int flags, void **watchpoint);
int cpu_watchpoint_address_matches_x86_64(CPUState *cpu, uint64_t address, uint64_t length);
void cpu_check_watchpoint_x86_64(CPUState *cpu, uint64_t address, uint64_t length, MemTxAttrs attributes, int kind,
                                 uintptr_t retaddr);
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

/* WRMSR and OUT may make an interrupt pending, which the CPU takes before the next instruction: a block starts
 * there, for only there it is looked at. */
static bool may_interrupt(const void *function)
{
    return function == (void *)REPLACEMENT(helper_wrmsr) || function == (void *)REPLACEMENT(helper_outb) ||
           function == (void *)REPLACEMENT(helper_outw) || function == (void *)REPLACEMENT(helper_outl);
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
        if (may_interrupt(function)) {
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

bool REPLACES(x86_cpu_exec_interrupt)(CPUState *cpu, int request)
{
    (void)cpu;
    (void)request;
    self->selftest |= SELFTEST_INTERRUPT;
    return events_take(self);
}

void REPLACES(raise_interrupt)(CPUX86State *env, int intno, int is_int, int error_code, int next_eip_addend)
{
    struct vcpu *vcpu = self;

    vcpu->int_eip = ENV_EIP(env);
    /* INT1 is translated as INT3 (opcode.c). */
    vcpu->int1 = intno == EXCP_BP && cpu_ldub_code_x86_64(env, ENV_SEGS(env)[R_CS].base + ENV_EIP(env) +
                                                                   (uint64_t)next_eip_addend - 1) == OPCODE_INT1;
    uc.raise_interrupt(env, vcpu->int1 ? EXCP_DB : intno, is_int, error_code, next_eip_addend);
}

void REPLACES(raise_exception_err)(CPUX86State *env, int exception, int error_code)
{
    uc.raise_exception_err(env, exception, event_error_code(self, exception, error_code));
}

void REPLACES_PLAIN(qemu_system_reset_request)(uc_engine *engine)
{
    (void)engine;
    self->triple_fault = true;
}

bool REPLACES(x86_cpu_tlb_fill)(CPUState *cpu, uint64_t address, int size, int access, int mmu_idx, bool probe,
                                uintptr_t retaddr)
{
    (void)cpu;
    (void)size;
    self->selftest |= SELFTEST_TLB_FILL;
    return mmu_fill(self, address, access, mmu_idx, probe, retaddr);
}

/* A store to a page of which somebody may hold code. May not return: the engine leaves the block when the
 * store hits it, and runs the instruction again alone. */
void REPLACES(tb_invalidate_phys_page_fast)(uc_engine *engine, void *pages, ram_addr_t start, int len,
                                            uintptr_t retaddr)
{
    /* A page whose code and data mix often enough keeps its code, and each store is looked at. */
    enum { MAX_FLIPS = 8 };
    struct vcpu *vcpu = self;
    uint32_t page = page_of_ram_addr(vcpu, start);

    vcpu->store_page = page;
    if (page == NO_PAGE || write_claim(vcpu, page)) {
        return;
    }
    tb_jumps_forget(vcpu);
    for (ram_addr_t at = start, end = start + (unsigned)len; at < end;) {
        /* The original looks at one word of its bitmap only. */
        ram_addr_t stop = (at | 7) + 1 < end ? (at | 7) + 1 : end;

        uc.tb_invalidate_phys_page_fast(engine, pages, at, (int)(stop - at), retaddr);
        at = stop;
    }
    if (vcpu->flips[page] >= MAX_FLIPS) {
        vcpu->store_page = NO_PAGE;
        return;
    }
    vcpu->flips[page]++;
    /* Not now: the block that runs may store to itself once more, which only a block that is not dropped notices. */
    vcpu->store_page = NO_PAGE;
    vcpu->drop_page = page;
    attention_raise(vcpu);
}

/* Called after a slow store by the engine: later ones need not be looked at, if no code is there. */
void REPLACES(tlb_set_dirty)(CPUState *cpu, uint64_t vaddr)
{
    (void)cpu;
    if (self->store_page == NO_PAGE) {
        return;
    }
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        struct tlb_entry *entry = tlb_entry_at(self->env, vaddr, mode);

        /* An older entry of another mode may lead to another page, until the guest flushes it. */
        if (tlb_entry_for(entry, vaddr, MMU_DATA_STORE) &&
            (entry->ram_addr & ~TLB_FLAG_BITS) == ram_addr_of_page(self, self->store_page)) {
            tlb_let_stores(self, entry, self->store_page, vaddr);
        }
    }
}

void REPLACES(tlb_flush_by_mmuidx)(CPUState *cpu, uint16_t modes)
{
    uc.tlb_flush_by_mmuidx(cpu, modes);
    tlb_modes_flushed(self, modes);
}

void REPLACES(tlb_flush)(CPUState *cpu)
{
    if (self->cpu == NULL) {
        uc.tlb_flush(cpu);
    } else if (tlb_flush_needed(self)) {
        tlb_flush_all(self);
    }
}

void REPLACES(tlb_flush_page_by_mmuidx)(CPUState *cpu, uint64_t address, uint16_t modes)
{
    (void)cpu;
    tlb_flush_page(self, address & ~TLB_FLAG_BITS, modes);
}

/* Unicorn's own way to see stores to code walks the whole TLB for every block; the page map needs it not. */
void REPLACES(tlb_reset_dirty_by_vaddr)(CPUState *cpu, uint64_t start, uint64_t length)
{
    (void)cpu;
    (void)start;
    (void)length;
}

void REPLACES(cpu_loop_exit_atomic)(CPUState *cpu, uintptr_t retaddr)
{
    struct vcpu *vcpu = self;

    vcpu->exclusive_wanted = true;
    resume_flag_keep(vcpu, retaddr);
    leave_engine(vcpu);
    CPU_EXCEPTION_INDEX(cpu) = EXCP_INTERRUPT;
    uc.cpu_loop_exit_restore(cpu, retaddr);
}

/* DR7 or an address has changed: the page's accesses go the slow way from now on. */
int REPLACES(cpu_watchpoint_insert)(CPUState *cpu, uint64_t address, uint64_t length, int flags, void **watchpoint)
{
    (void)length;
    (void)flags;
    (void)watchpoint;
    uc.tlb_flush_page(cpu, address);
    return 0;
}

int REPLACES(cpu_watchpoint_address_matches)(CPUState *cpu, uint64_t address, uint64_t length)
{
    return data_breakpoints_in(CPU_ENV(cpu), address, length);
}

void REPLACES(cpu_check_watchpoint)(CPUState *cpu, uint64_t address, uint64_t length, MemTxAttrs attributes, int kind,
                                    uintptr_t retaddr)
{
    (void)cpu;
    (void)attributes;
    data_breakpoints_check(self, address, length, kind, retaddr);
}

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
