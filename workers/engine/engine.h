/* The engine core: what joins one vCPU to its machine.
 *
 * A process has one `struct vcpu` or several, each run by a thread of its own (`self`). Guest code
 * runs on a stack of its own: an exit in the middle of an instruction (port I/O, MMIO) switches
 * back to the caller of engine_run(), and the next engine_run() goes on where the instruction stood.
 */
#ifndef MPVM_ENGINE_H
#define MPVM_ENGINE_H

/* First in every file: signals to threads, timers and contexts are beyond C11. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <ucontext.h>

#include "abi.h"
#include "delay.h"
#include "unicorn_private.h"
#include "x86.h"

#define ENGINE_EXPORT __attribute__((visibility("default")))
/* Marks what may run inside a signal handler: async-signal-safe, no lock, no allocation. */
#define SIGNAL_SAFE

/* Where in translated code the helper that says this was called: what an exception unwinds to. */
#define RETADDR ((uintptr_t)__builtin_extract_return_addr(__builtin_return_address(0)))

#define PAGE_SHIFT 12
#define PAGE_BYTES 4096u
#define NO_PAGE UINT32_MAX
#define PDPTES 4 /* registers, in PAE paging */

/* What a guest can address, and where RAM begins behind that in the engine's own map of physical memory. */
#define PHYSICAL_LIMIT (1ull << 40)
#define ENGINE_RAM_BASE PHYSICAL_LIMIT

/* A piece of guest RAM as this process has it. */
struct ram_backend {
    uint64_t offset; /* in guest RAM: that of its pages in the page map */
    uint64_t size;
    uint8_t *host;
    ram_addr_t ram_addr; /* the engine's own number for its first byte */
};

/* Where the guest sees a part of a backend. */
struct ram_slot {
    uint64_t gpa;
    uint64_t size;
    uint8_t *host;
    ram_addr_t ram_addr;
    uint32_t first_page; /* in the page map */
    bool read_only;      /* stores are exits, as to a device's register */
};

/* What an access of the instruction that runs again was answered with. */
#define MAX_REPLAY 16
struct answered {
    uint64_t address;
    uint64_t data;
    uint8_t size;
    uint8_t direction;
};

/* FERR# and IGNNE# (SDM vol. 1, appendix D) */
enum ferr_state { FERR_NONE, FERR_ASSERTED, FERR_IGNORED };
#define FERR_PORT 0xf0u

/* What is known of the instruction that is being translated (opcode.c). */
struct translation_state {
    uint64_t at;              /* the linear address of the instruction that is translated */
    const uint8_t *code_host; /* the page of the block's first instruction, at `code_page`, or NO_CODE_PAGE */
    uint64_t code_page;
    uint64_t fed_at;          /* here the translator reads `fed` */
    unsigned fed_count;
    uint8_t fed[15];
    bool wide_operand_aligned; /* a 16-byte memory operand has to be aligned */
    unsigned narrow_operand;   /* bytes of a memory operand of which the translator loads more, or 0 */
    uint64_t *operand_half;    /* the arguments of its first access of 8 bytes */
    bool alignment_checked;    /* EFLAGS.AC counts in this block */
    bool alignment_matters;    /* and would in some block if CR0.AM were the other way */
};
#define NO_CODE_PAGE UINT64_MAX

struct vcpu {
    uc_engine *engine;
    CPUState *cpu;
    CPUX86State *env;

    struct mpvm_vm_page *vm;
    struct mpvm_vcpu_area *area;
    uint8_t *ram;
    _Atomic uint64_t *holders;
    _Atomic uint64_t *writers;
    struct ram_slot slot[MPVM_MAX_MEMORY_SLOTS];
    unsigned slot_count;
    unsigned slot_last; /* where an address was found last */
    struct ram_backend backend[MPVM_MAX_MEMORY_SLOTS];
    unsigned backend_count;
    uint32_t memory_generation; /* VmPage.memory_generation that these are of */
    bool dirty_logging;

    unsigned index;
    uint64_t bit; /* 1 << index: this vCPU in a page-map word */

    bool attached;                   /* others reach us by our area: no other worker is this vCPU any more */
    _Atomic uint32_t *attention;     /* something may be pending; set by kicks and by ourselves */
    _Atomic uint32_t own_attention;  /* where that is without an engine */
    volatile uint8_t *immediate_exit; /* kvm_run's: a kick ends the run that is or comes; NULL for an engine */
    bool irr_pending;                /* an interrupt is in the IRR that could not be taken yet */
    bool triple_fault;
    bool leave;                      /* the engine shall return to the guest loop */
    uint32_t translating_flags;      /* hflags of the block being translated */
    struct translation_state translation;
    void *exit_label;                /* of the block being translated: where its exit check goes */
    DisasContextBase *translating;   /* the block being translated */
    bool ends_block;                 /* its last instruction may have made an interrupt pending */
    bool exclusive_wanted;
    int exclusive_step;              /* 0 none, 1 before the instruction, 2 after it */
    bool init_received;
    bool window_open;                /* an external interrupt's acknowledge cycle is wanted */
    bool window_answered;            /* and this came of it: */
    uint64_t window_answer;
    uint32_t replay_reason;          /* the exit that the next instruction wants; 0: none */
    unsigned replay_count, replay_next;
    struct answered replay[MAX_REPLAY];
    int replay_step;                 /* 0 none, 1 before the instruction, 2 after it */
    int delivering;                  /* vector of the event being delivered, or NOT_DELIVERING */
    bool delivering_int;             /* it comes from an INT instruction */
    uint32_t delivering_error_code;
    uint32_t delivering_type;        /* its type, as an interruption-information field has it */
    uint64_t data_breakpoints;       /* met by the instruction before the next block; as in DR6 */
    uint64_t shadowed_breakpoints;   /* the same, by the MOV SS or POP SS before the next instruction */
    uint64_t trap_pc;                /* linear RIP of the instruction that a #DB trap comes after, or NO_TRAP_PC */
    bool int1;                       /* the event is an INT1's */
    uint64_t int_eip;                /* RIP of the INT instruction whose event is being delivered */
    uint64_t nowhere;                /* where stores go that change nothing */
    uint32_t store_page;             /* the page of the store in progress; NO_PAGE: it keeps asking */
    uint32_t drop_page;              /* its code is dropped at the next block's start; NO_PAGE: none */
    struct tlb_keeper *tlb;
    struct written_page *written_pages;
    bool grow_tlb;
    bool keyed_pages;                /* the TLB has entries of pages with another protection key than 0 */
    uint32_t pkru;                   /* what the entries in the TLB were checked against */
    uint32_t pkrs;                   /* IA32_PKRS */
    uint64_t pdpte[PDPTES];
    uintptr_t sti_retaddr;           /* in the block of the last STI */
    uint64_t sti_loaded_at;          /* the linear RIP of a loaded state in the shadow of STI */
    struct tb_lookup *tb_lookup;
    struct perf_map *perf_map;       /* NULL: nobody wants one */
    uint32_t log_mask;               /* MPVM_LOG_*: what is logged to log_fd */
    int log_fd;
    struct controls *controls;       /* the execution controls that are in force, and what they say in short: */
    bool intercepting;               /* instructions are looked at where they are translated */
    bool ports_controlled;
    bool cr_masked;
    bool exceptions_controlled;
    bool events_controlled;          /* there is more to look for between blocks */
    uint64_t tsc_offset;
    uint64_t page_fault_cr2;         /* CR2 before the page fault that is about to be delivered */
    uint64_t *touched;               /* huge_pages.c: a bit per page, and how many of each 2 MiB */
    uint16_t *touched_of_block;
    bool no_huge_pages;              /* the host's kernel can't collapse */
    uint8_t *flips;                  /* per page: how often its code was dropped by our own stores */

    timer_t timer;
    uint32_t tid;  /* of the thread that runs it, and that the timer signals; 0: there is no timer yet */
    int doorbell; /* eventfd of the coordinator */
    bool takes_interrupts, takes_nmi; /* without an engine, halted: what its registers say */
    int owed_eoi;                    /* without an engine: a vector whose end the I/O APICs have not heard of, or NO_EOI */
    uint64_t timer_armed_ns;
    bool steal_due;                  /* the guest is about to look at its steal time */
    uint64_t steal_looked_ns;
    int schedstat;                   /* of the thread `schedstat_tid`, 0: not open */
    uint32_t schedstat_tid;
    bool schedstat_known;            /* what it said last: */
    uint64_t schedstat_run, schedstat_waited;
    uint64_t apic_timer_ns, preemption_ns; /* what it is armed for: the earlier one; 0: off */
    uint64_t tsc_adjust;             /* IA32_TSC_ADJUST */
    uint64_t tsc_sample, ns_sample;  /* where the TSC's rate is measured from */

    bool mmx_entered;                /* by our call before the instruction */
    unsigned deposit_bytes;          /* the operand of PDEP or PEXT */
    bool accumulator_compared;       /* by CMPXCHG of 32 bits of memory in 64-bit mode, which writes it next */
    enum ferr_state ferr;            /* of an x87 error that #MF does not tell of */
    int x87_part;                    /* of the instruction being translated: what its next helper goes on with */
    void *x87_operand;
    uintptr_t float_retaddr;         /* where the block goes on after the SSE instruction that may raise #XM */

    ucontext_t host_context;
    ucontext_t guest_context;
    void *guest_stack;
    uint64_t entered_ns;
    unsigned selftest; /* which replacements the self-test has seen called */
    char error[256];
};

enum {
    SELFTEST_TRANSLATE = 1,
    SELFTEST_INTERRUPT = 2,
    SELFTEST_TLB_FILL = 4,
    SELFTEST_CPUID = 8,
    SELFTEST_CHECK_EXIT = 16,
    SELFTEST_LOOKUP = 32,
    SELFTEST_STORE = 64,
    SELFTEST_TB_INSERT = 128,
    SELFTEST_TRANSLATOR_LOOP = 256,
    SELFTEST_ALL = 511,
};

extern _Thread_local struct vcpu *self __attribute__((tls_model("initial-exec")));

/* clock.c */
uint64_t monotonic_ns(void);
uint64_t host_tsc(void);
uint64_t guest_tsc(const struct vcpu *vcpu);
uint64_t tsc_to_ns(struct vcpu *vcpu, uint64_t ticks);

/* kick.c */
bool kick_init(struct vcpu *vcpu);
bool kick_adopt(struct vcpu *vcpu);
void kick_deinit(struct vcpu *vcpu);
void kick_attach(struct vcpu *vcpu);
SIGNAL_SAFE void attention_raise(struct vcpu *vcpu);
bool attention_share(struct vcpu *vcpu);
void attention_unshare(struct vcpu *vcpu);
void kick_area(struct mpvm_vcpu_area *area);
void kick_vcpu(struct vcpu *vcpu, unsigned target);
void timer_arm(struct vcpu *vcpu, uint64_t deadline_ns);
void timer_expired(struct vcpu *vcpu);
void futex_wait(void *word, uint32_t value, const struct timespec *deadline);
void futex_wake(void *word, int count);
void doorbell_ring(struct vcpu *vcpu);

/* yield.c: more vCPUs than cores (docs/overcommit.md) */
void yield_at_pause(struct vcpu *vcpu);
void runnable_begin(struct vcpu *vcpu, unsigned target);
void runnable_end(struct vcpu *vcpu);

/* steal.c: run and stolen time */
void steal_update(struct vcpu *vcpu);
uint64_t steal_account(struct vcpu *vcpu);
void steal_close(struct vcpu *vcpu);
bool steal_msr_read(const struct vcpu *vcpu, uint64_t *value);
bool steal_msr_write(struct vcpu *vcpu, uint64_t value);

/* run.c */
uint64_t exit_to_host(struct vcpu *vcpu, uint32_t reason);
void exit_with_state(struct vcpu *vcpu, uint32_t reason);
void wait_halted(struct vcpu *vcpu, bool (*wake)(struct vcpu *vcpu));
const char *vcpu_init(struct vcpu *vcpu, void *vm_block, void *ram, uint32_t index, int doorbell);
void leave_engine(struct vcpu *vcpu);
struct mpvm_vcpu_area *area_of(struct mpvm_vm_page *vm, unsigned index);
struct mpvm_vcpu_area *vcpu_area(struct vcpu *vcpu, unsigned index);

/* replay.c: exits between two instructions */
uint64_t replay_or_leave(struct vcpu *vcpu, uint32_t reason, uintptr_t retaddr);
void replay_instruction(struct vcpu *vcpu);

/* lock.c: the coherence lock */
#define LOCK_FREE 0u
#define LOCK_HELD 1u
#define LOCK_CONTENDED 2u
#define LOCK_LENT 3u
bool lock_try(uint32_t *lock);
bool lock_take_or_sleep(uint32_t *lock, uint32_t wanted, const struct timespec *deadline);
void lock_leave(uint32_t *lock, uint32_t as);

/* coherence.c: the page map and the mailboxes (docs/coherence.md) */
void enter_guest(struct vcpu *vcpu);
void leave_guest(struct vcpu *vcpu, uint32_t mode);
void mail_read(struct vcpu *vcpu);
void mail_discard(struct vcpu *vcpu);
bool mail_waiting(const struct vcpu *vcpu);
void mail_post(struct mpvm_vm_page *vm, uint64_t targets, uint32_t kind, uint32_t page);
bool outside_or_answered(const struct mpvm_vcpu_area *area);
void exclusive_wait(struct vcpu *vcpu);
void exclusive_begin(struct vcpu *vcpu);
void exclusive_end(struct vcpu *vcpu);
void exclusive_lend(struct vcpu *vcpu);
void exclusive_take_back(struct vcpu *vcpu);
void code_claim(struct vcpu *vcpu, uint32_t page);
bool code_claimed(struct vcpu *vcpu, uint32_t page);
bool write_claim(struct vcpu *vcpu, uint32_t page);
void code_drop(struct vcpu *vcpu, uint32_t page);
void claims_forget(struct vcpu *vcpu);
void code_and_claims_forget(struct vcpu *vcpu);

/* memory.c */
const struct ram_slot *slot_search(struct vcpu *vcpu, uint64_t gpa);

/* The slot that has the address; NULL outside RAM. */
static inline const struct ram_slot *slot_of_gpa(struct vcpu *vcpu, uint64_t gpa)
{
    const struct ram_slot *slot = &vcpu->slot[vcpu->slot_last];

    return gpa - slot->gpa < slot->size ? slot : slot_search(vcpu, gpa);
}

uint32_t page_of_ram_addr(const struct vcpu *vcpu, ram_addr_t address);
ram_addr_t ram_addr_of_page(const struct vcpu *vcpu, uint32_t page);
uint8_t *host_of_page(const struct vcpu *vcpu, uint32_t page);
bool memory_take(struct vcpu *vcpu);
bool memory_map(struct vcpu *vcpu);

/* huge_pages.c */
bool huge_pages_init(struct vcpu *vcpu);
void huge_pages_deinit(struct vcpu *vcpu);
void huge_pages_forget(struct vcpu *vcpu);
void huge_pages_first_touch(struct vcpu *vcpu, uint32_t page);

static inline void huge_pages_touch(struct vcpu *vcpu, uint32_t page)
{
    if (!(vcpu->touched[page / 64] >> page % 64 & 1)) {
        huge_pages_first_touch(vcpu, page);
    }
}

/* dma.c: the machine's end of the protocol */
struct patience {
    uint64_t until_ns;
    struct timespec until;
};
struct patience patience_of(uint64_t ns);
bool machine_lock(uint32_t *lock, uint32_t *found, const struct patience *patience);
void machine_ask(struct mpvm_vm_page *vm, uint64_t targets, uint32_t kind, uint32_t page);
bool machine_await(struct mpvm_vm_page *vm, uint64_t targets, const struct patience *patience);

/* dirty_log.c */
void dirty_mark(struct mpvm_vm_page *vm, uint32_t page);

/* What a page walk has found. */
struct translation {
    uint64_t address; /* guest-virtual */
    uint64_t physical;
    uint64_t page_size;
    int prot;
    bool global; /* stays when CR3 is loaded */
};

/* tlb.c */
bool tlb_init(struct vcpu *vcpu);
void tlb_deinit(struct vcpu *vcpu);
void tlb_modes_flushed(struct vcpu *vcpu, unsigned modes);
void tlb_flush_local(struct vcpu *vcpu);
void tlb_flush_all(struct vcpu *vcpu);
bool tlb_flush_needed(struct vcpu *vcpu);
void tlb_keys_changed(struct vcpu *vcpu, uint32_t changed);
void tlb_flush_page(struct vcpu *vcpu, uint64_t address, unsigned modes);
void tlb_jump_cached(struct vcpu *vcpu, uint64_t pc);

/* tlb_enter.c */
void tlb_enter(struct vcpu *vcpu, const struct translation *found, const struct ram_slot *slot, int mmu_index);
struct tlb_entry *tlb_find(struct vcpu *vcpu, uint64_t address, int access, int mmu_index);
void tlb_grow(struct vcpu *vcpu);

/* tlb_stores.c */
bool tlb_stores_init(struct vcpu *vcpu);
void tlb_let_stores(struct vcpu *vcpu, struct tlb_entry *entry, uint32_t page, uint64_t address);
void tlb_watch_stores(struct vcpu *vcpu, uint32_t page);
void tlb_all_watched(struct vcpu *vcpu);

/* ldst.c */
ram_addr_t REPLACEMENT(get_page_addr_code)(CPUX86State *env, uint64_t address);

/* tb_lookup.c */
bool tb_lookup_init(struct vcpu *vcpu);
void tb_lookup_deinit(struct vcpu *vcpu);
void tb_jumps_forget(struct vcpu *vcpu);
void tb_jumps_forget_page(struct vcpu *vcpu, uint64_t address);
void REPLACEMENT(tb_flush)(CPUState *cpu);

/* log.c */
void log_event(const struct vcpu *vcpu, const char *kind, int vector, int error_code);
void log_reset(const struct vcpu *vcpu, const char *kind);

/* perf_map.c */
void perf_map_block(struct vcpu *vcpu, TranslationBlock *tb);
void perf_map_flush(struct vcpu *vcpu);
void perf_map_restart(struct vcpu *vcpu);
void perf_map_close(struct vcpu *vcpu);

/* interrupts.c */
#define NOT_DELIVERING (-1)
int event_error_code(struct vcpu *vcpu, int exception, int error_code);
bool exception_is_fault(int vector);
bool events_take(struct vcpu *vcpu);
bool events_wake(struct vcpu *vcpu);
bool extint_pending(struct vcpu *vcpu);
bool nmi_blocked(const struct vcpu *vcpu);
void a20_update(struct vcpu *vcpu);
void event_deliver_exception(struct vcpu *vcpu);

/* controls.c, entry.c: the control block's controls (docs/control-block.md) */
bool controls_init(struct vcpu *vcpu);
void controls_deinit(struct vcpu *vcpu);
void controls_settle(struct vcpu *vcpu);
bool controls_exception(struct vcpu *vcpu);
bool controls_between_blocks(struct vcpu *vcpu, bool interrupts_open, bool nmis_open);
bool controls_preempted(struct vcpu *vcpu);
bool preemption_timer_due(const struct vcpu *vcpu);
bool controls_external_interrupt(struct vcpu *vcpu, int vector);
bool controls_nmi(struct vcpu *vcpu);
void controls_delivering(struct vcpu *vcpu);
uint32_t exception_type(struct vcpu *vcpu);
bool entry_begin(struct vcpu *vcpu);
bool entry_inject(struct vcpu *vcpu);
bool entry_wakes(const struct vcpu *vcpu);
bool entry_pending(const struct vcpu *vcpu);
void exit_end(struct vcpu *vcpu);
void event_deliver(struct vcpu *vcpu);
void event_deliver_hardware(struct vcpu *vcpu, int vector);

/* intercept.c: instructions that exit */
void intercept_emit(struct vcpu *vcpu, TCGContext *tcg, uint64_t linear);

/* intercept_port.c */
bool controls_port_again(struct vcpu *vcpu);
bool port_exits(const struct vcpu *vcpu, uint32_t port, unsigned size);
uint64_t port_control_exit(struct vcpu *vcpu, uint8_t direction, uint32_t port, unsigned size, uint64_t value,
                           uintptr_t retaddr);

/* intercept_cr.c */
uint64_t control_register_read(const struct vcpu *vcpu, int reg, uint64_t value);
uint64_t control_register_written(struct vcpu *vcpu, int reg, uint64_t value);

/* interpose_instructions.c: whether the instruction whose helper this is may make an interrupt pending */
bool helper_may_interrupt(const void *function);

/* opcode.c: what the engine's translator takes for something else */
void opcode_block_begin(struct vcpu *vcpu, uint64_t pc, uint32_t page);
void opcode_begin(struct vcpu *vcpu);
uint64_t opcode_fed(const struct translation_state *state, uint64_t address, unsigned size, uint64_t value);
void opcode_memory_access(struct vcpu *vcpu, TCGContext *tcg, int opcode, uint64_t a, uint64_t b, uint64_t oi);
void opcode_cr0_changes(struct vcpu *vcpu, uint64_t value);
#define CALL_TOUCHES_ALL 0u /* of a call in translated code: it may look at and change any register */
void translate_call(TCGContext *tcg, void *function, uint64_t effect, void *result, int count, void **arguments);

/* translate_fix.c: instructions that the engine's translator gets wrong */
void translate_instruction(struct vcpu *vcpu, TCGContext *tcg, uint64_t linear, uint64_t cc_op);
void translate_accumulator(struct vcpu *vcpu, TCGContext *tcg, uint64_t found);

/* debug.c */
#define NO_TRAP_PC UINT64_MAX
int data_breakpoints_in(CPUX86State *env, uint64_t address, uint64_t length);
void data_breakpoints_check(struct vcpu *vcpu, uint64_t address, uint64_t length, int kind, uintptr_t retaddr);
bool data_breakpoints_deliver(struct vcpu *vcpu);
void data_breakpoints_take(struct vcpu *vcpu);
void debug_delivered(struct vcpu *vcpu);
void debug_single_step(struct vcpu *vcpu, uintptr_t retaddr);
void debug_step_over_halt(struct vcpu *vcpu);
void io_breakpoints_check(struct vcpu *vcpu, uint32_t port, uint32_t size, uint64_t next_eip, uintptr_t retaddr);
uint64_t debug_register_read(struct vcpu *vcpu, int reg, uintptr_t retaddr);
void debug_register_write(struct vcpu *vcpu, int reg, uint64_t value, uintptr_t retaddr);
void resume_flag_loaded(CPUX86State *env);
void resume_flag_emit(TCGContext *tcg);
void resume_flag_keep(struct vcpu *vcpu, uintptr_t retaddr);

/* lapic.c, lapic_timer.c, lapic_registers.c */
void lapic_reset(struct vcpu *vcpu, bool keep_base);
void lapic_leave_firmware(struct vcpu *vcpu);
void lapic_init(struct vcpu *vcpu);
uint32_t lapic_read(struct vcpu *vcpu, uint32_t offset);
void lapic_write(struct vcpu *vcpu, uint32_t offset, uint32_t value);
bool lapic_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool lapic_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);
bool lapic_base_write(struct vcpu *vcpu, uint64_t value);
uint64_t lapic_tpr(struct vcpu *vcpu);
void lapic_set_tpr(struct vcpu *vcpu, uint32_t tpr);
void lapic_inbox_take(struct vcpu *vcpu);
void lapic_timer_check(struct vcpu *vcpu);
void lapic_timer_take_over(struct vcpu *vcpu);
int lapic_pending_vector(struct vcpu *vcpu);
bool lapic_extint_enabled(struct vcpu *vcpu);
void lapic_accept(struct vcpu *vcpu, int vector);
void lapic_give_back(struct vcpu *vcpu, int vector);
void lapic_set_tsc_deadline(struct vcpu *vcpu, uint64_t deadline);

/* msr.c, cpuid.c */
enum msr_answer { MSR_NOT_OURS, MSR_DONE, MSR_FAULT };
enum msr_answer machine_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
enum msr_answer machine_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);
enum msr_answer constant_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
enum msr_answer constant_msr_write(const struct vcpu *vcpu, uint32_t msr);
bool msr_in_model(const struct vcpu *vcpu, uint32_t msr);
bool msr_value_valid(uint32_t msr, uint64_t value);
bool msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);
bool canonical_for_cpu(const struct vcpu *vcpu, uint64_t address);
void msr_state_save(struct vcpu *vcpu);
void msr_state_load(struct vcpu *vcpu);
void cpuid_lookup(struct vcpu *vcpu, uint32_t function, uint32_t index, uint32_t out[4]);
bool cpuid_is_amd(const struct vcpu *vcpu);

/* interrupt_gate.c: events in protected mode */
enum interrupt_kind { KIND_EXCEPTION, KIND_INT, KIND_EXTERNAL };
bool interrupt_gates_are_legacy(CPUX86State *env);
void interrupt_deliver(struct vcpu *vcpu, int vector, enum interrupt_kind kind, uint32_t error_code,
                       uint64_t next_rip);

/* fsgsbase.c */
void fsgsbase_emit(struct vcpu *vcpu, TCGContext *tcg, uint64_t linear);

/* umip.c */
void umip_translate_load(const struct vcpu *vcpu, TCGContext *tcg, int opcode, uint64_t offset);

/* syscall.c */
void eflags_load(CPUX86State *env, uint64_t value, uint64_t mask);
uint64_t eflags_compute(CPUX86State *env);
void syscall_enter(struct vcpu *vcpu, int length, uintptr_t retaddr);
void syscall_return(struct vcpu *vcpu, bool to64, uintptr_t retaddr);
void sysenter_enter(struct vcpu *vcpu, uintptr_t retaddr);
void sysenter_return(struct vcpu *vcpu, bool to64, uintptr_t retaddr);
void segment_load(CPUX86State *env, int reg, uint32_t selector, uint64_t base, uint32_t limit, uint32_t flags);

/* io.c */
void sync_registers(struct vcpu *vcpu, uintptr_t retaddr);
uint64_t port_read(struct vcpu *vcpu, uint32_t port, unsigned size, uintptr_t retaddr);
void port_write(struct vcpu *vcpu, uint32_t port, unsigned size, uint64_t value, uintptr_t retaddr);
uint64_t mmio_read(uc_engine *engine, uint64_t address, unsigned size, void *data);
void mmio_write(uc_engine *engine, uint64_t address, unsigned size, uint64_t value, void *data);
bool port_read_here(struct vcpu *vcpu, uint32_t port, unsigned size, uint64_t *value);
bool port_write_here(struct vcpu *vcpu, uint32_t port, unsigned size, uint64_t value);
bool memory_read_here(struct vcpu *vcpu, uint64_t address, uint64_t *value);
bool apic_page_write(struct vcpu *vcpu, uint64_t address, unsigned size, uint64_t value);
#define NO_EOI (-1)
void post_eoi(struct vcpu *vcpu, int vector);
bool post_ferr(struct vcpu *vcpu);

/* canonical.c */
static inline bool is_canonical(CPUX86State *env, uint64_t address)
{
    int64_t sign = (int64_t)address >> (ENV_CR(env)[4] & CR4_LA57 ? 56 : 47);

    return sign == 0 || sign == -1;
}
void non_canonical_access(struct vcpu *vcpu, int access, uintptr_t retaddr);
void non_canonical_branch(struct vcpu *vcpu, uintptr_t retaddr);

/* mmu.c */
bool mmu_fill(struct vcpu *vcpu, uint64_t address, int access, int mmu_index, bool probe, uintptr_t retaddr);
int mmu_index_of_helper(const struct vcpu *vcpu, uint64_t address, int mmu_index);
bool mmu_walk_debug(struct vcpu *vcpu, uint64_t address, uint64_t *gpa);
void mmu_pdptes_read(struct vcpu *vcpu, uint64_t cr3, uint64_t pdpte[PDPTES]);

/* control_registers.c */
void pdptes_restore(struct vcpu *vcpu, const uint64_t pdpte[PDPTES]);
void pdptes_save(const struct vcpu *vcpu, uint64_t pdpte[PDPTES]);

/* state.c */
void state_save(struct vcpu *vcpu);
void state_load(struct vcpu *vcpu);
void state_save_now(struct vcpu *vcpu);
void state_load_now(struct vcpu *vcpu);
void hflags_update(CPUX86State *env);
void cpu_power_on(struct vcpu *vcpu);
void cpu_init_signal(struct vcpu *vcpu);
void cpu_sipi(struct vcpu *vcpu, uint32_t vector);

/* xstate.c */
void xstate_save(struct vcpu *vcpu);
void xstate_load(struct vcpu *vcpu);

/* fpu_state.c, fpu_translate.c, x87.c */
void x87_changed(CPUX86State *env);
void mxcsr_set(CPUX86State *env, uint32_t value);
void mxcsr_take_flags(CPUX86State *env);
void float_exceptions_init(void);
const char *fpu_translate_init(void *library);
bool fpu_translate_call(struct vcpu *vcpu, TCGContext *tcg, void *function, void *result, int count,
                        void **arguments);
void fpu_translate_load(TCGContext *tcg, int opcode, uint64_t offset);

/* engine_symbols.c, selftest.c */
const char *engine_symbols_load(const char *library);
const char *engine_selftest(struct vcpu *vcpu);

#endif
