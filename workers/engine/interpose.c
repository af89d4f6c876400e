/* The functions of the engine that ours replace, each thin: the work is done where the subject is.
 *
 * The dynamic linker binds the wheel's calls to these names here, because this library comes first in
 * the symbol search order; `uc.NAME` is the original.
 */
#include "instruction.h"
#include "tlb.h"

/* Prototypes for names that only the engine calls. */
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
