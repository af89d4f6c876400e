/* The exported interface, and the guest loop on its own stack. */
#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUEST_STACK_BYTES (2u << 20)
#define CODE_BUFFER_BYTES (256u << 20)

_Thread_local struct vcpu *self __attribute__((tls_model("initial-exec")));

struct mpvm_vcpu_area *area_of(struct mpvm_vm_page *vm, unsigned index)
{
    return (struct mpvm_vcpu_area *)((uint8_t *)vm + vm->vcpu_offset + index * vm->vcpu_stride);
}

struct mpvm_vcpu_area *vcpu_area(struct vcpu *vcpu, unsigned index)
{
    return area_of(vcpu->vm, index);
}

/* Hand an exit to the caller of engine_run() and wait for the next one. Its data, if any. */
uint64_t exit_to_host(struct vcpu *vcpu, uint32_t reason)
{
    struct mpvm_exit_information *exit = &vcpu->area->control.exit;
    bool in_guest = vcpu->area->mode == MPVM_MODE_IN_GUEST;

    mxcsr_take_flags(vcpu->env);
    exit->reason = reason;
    vcpu->area->counters.exits[reason]++;
    perf_map_flush(vcpu);
    if (in_guest) {
        leave_guest(vcpu, MPVM_MODE_OUTSIDE);
        exclusive_lend(vcpu);
    }
    swapcontext(&vcpu->guest_context, &vcpu->host_context);
    if (in_guest) {
        exclusive_take_back(vcpu);
        enter_guest(vcpu);
    }
    return exit->data;
}

/* An exit between instructions: the registers are in the control block. */
void exit_with_state(struct vcpu *vcpu, uint32_t reason)
{
    mxcsr_take_flags(vcpu->env);
    state_save(vcpu);
    exit_to_host(vcpu, reason);
}

/* Let uc_emu_start() return at the next block boundary. Called between blocks. */
void leave_engine(struct vcpu *vcpu)
{
    vcpu->leave = true;
    UC_STOP_REQUEST(vcpu->engine) = true;
    CPU_EXIT_REQUEST(vcpu->cpu) = true;
}

/* Until `wake` says that there is something to do. */
void wait_halted(struct vcpu *vcpu, bool (*wake)(struct vcpu *vcpu))
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint32_t mode = area->mp_state == MPVM_MODE_WAIT_FOR_SIPI ? MPVM_MODE_WAIT_FOR_SIPI : MPVM_MODE_HALTED;
    uint64_t start = monotonic_ns();

    leave_guest(vcpu, mode);
    for (;;) {
        uint32_t seen = __atomic_load_n(&area->wake, __ATOMIC_SEQ_CST);

        runnable_end(vcpu);
        if (wake(vcpu)) {
            break;
        }
        STEP(halt_wait);
        /* The APIC timer's signal ends the wait, too: its handler changes the word. */
        futex_wait(&area->wake, seen, NULL);
    }
    runnable_begin(vcpu, vcpu->index);
    area->counters.halted_ns += monotonic_ns() - start;
    vcpu->steal_due = true;
    enter_guest(vcpu);
}

/* One instruction while the others stand still (atomics that the engine can't do in place). */
static void run_alone(struct vcpu *vcpu)
{
    vcpu->exclusive_wanted = false;
    exclusive_begin(vcpu);
    vcpu->exclusive_step = 1;
    CPU_CFLAGS_NEXT_TB(vcpu->cpu) = CF_LAST_IO | 1;
    uc.uc_emu_start(vcpu->engine, ENV_EIP(vcpu->env), 0, 0, 0);
    vcpu->exclusive_step = 0;
    CPU_CFLAGS_NEXT_TB(vcpu->cpu) = UINT32_MAX;
    exclusive_end(vcpu);
    attention_raise(vcpu);
}

static void guest_main(void)
{
    struct vcpu *vcpu = self;

    runnable_begin(vcpu, vcpu->index);
    enter_guest(vcpu);
    for (;;) {
        struct mpvm_vcpu_area *area = vcpu->area;
        int error;

        if (area->request != 0) {
            exit_with_state(vcpu, MPVM_EXIT_INTR);
            continue;
        }
        if (vcpu->events_controlled && controls_preempted(vcpu)) {
            continue;
        }
        if (area->mp_state == MPVM_MODE_WAIT_FOR_SIPI || CPU_HALTED(vcpu->cpu)) {
            perf_map_flush(vcpu);
            wait_halted(vcpu, events_wake);
            continue;
        }
        vcpu->leave = false;
        vcpu->triple_fault = false;
        error = uc.uc_emu_start(vcpu->engine, ENV_EIP(vcpu->env), 0, 0, 0);
        if (vcpu->triple_fault) {
            CPU_HALTED(vcpu->cpu) = 0;
            exit_with_state(vcpu, MPVM_EXIT_SHUTDOWN);
        } else if (error != 0) {
            snprintf(vcpu->error, sizeof(vcpu->error), "unicorn: %s", uc.uc_strerror(error));
            exit_with_state(vcpu, MPVM_EXIT_INTERNAL_ERROR);
        } else if (CPU_HALTED(vcpu->cpu)) {
            area->counters.halts++;
            area->counters.exits[MPVM_EXIT_HLT]++;
        } else if (vcpu->exclusive_wanted) {
            run_alone(vcpu);
        } else if (vcpu->replay_reason != 0) {
            replay_instruction(vcpu);
        } else if (vcpu->window_open) {
            vcpu->window_open = false;
            exit_with_state(vcpu, MPVM_EXIT_IRQ_WINDOW_OPEN);
            vcpu->window_answer = area->control.exit.data;
            vcpu->window_answered = (vcpu->window_answer & MPVM_EXTINT_VALID) != 0;
            attention_raise(vcpu);
        }
        if (vcpu->init_received) {
            vcpu->init_received = false;
            cpu_init_signal(vcpu);
        }
    }
}

/* Load the wheel's library behind ours. NULL, or what is wrong with it. */
ENGINE_EXPORT const char *engine_load(const char *library)
{
    return engine_symbols_load(library);
}

ENGINE_EXPORT void engine_destroy(struct vcpu *vcpu)
{
    if (vcpu == NULL) {
        return;
    }
    self = vcpu;
    /* First: the engine's end flushes its blocks, and this is what they were. */
    perf_map_close(vcpu);
    if (vcpu->area != NULL) {
        if (vcpu->attached && vcpu->vm->run_state != MPVM_RUN_SHUTDOWN) {
            /* The others go on: nobody is to ask us or wait for us. */
            claims_forget(vcpu);
            runnable_end(vcpu);
        }
        steal_account(vcpu);
        steal_close(vcpu);
        kick_deinit(vcpu);
    }
    if (vcpu->attached) {
        attention_unshare(vcpu);
    }
    /* A signal may still come, and the engine's word is about to go. */
    vcpu->attention = &vcpu->own_attention;
    if (vcpu->engine != NULL) {
        uc.uc_close(vcpu->engine);
    }
    if (vcpu->guest_stack != NULL) {
        munmap(vcpu->guest_stack, GUEST_STACK_BYTES);
    }
    controls_deinit(vcpu);
    free(vcpu->flips);
    huge_pages_deinit(vcpu);
    tlb_deinit(vcpu);
    tb_lookup_deinit(vcpu);
    self = NULL;
    free(vcpu);
}

static void exception_hook(uc_engine *engine, uint32_t number, void *data)
{
    (void)engine;
    (void)number;
    event_deliver_exception(data);
}

static const char *engine_open(struct vcpu *vcpu)
{
    size_t hook;
    const char *wrong;
    int error = uc.uc_open(UC_ARCH_X86, UC_MODE_64, &vcpu->engine);

    if (error == 0) {
        error = uc.uc_ctl(vcpu->engine, UC_CTL_WRITE(UC_CTL_TCG_BUFFER_SIZE, 1), CODE_BUFFER_BYTES);
    }
    if (error == 0) {
        /* No address stops emulation: the "until" of uc_emu_start() would be a guest address. */
        error = uc.uc_ctl(vcpu->engine, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1);
    }
    if (error == 0) {
        error = uc.uc_hook_add(vcpu->engine, &hook, UC_HOOK_INTR, (void *)exception_hook, vcpu, 1, 0);
    }
    if (error != 0) {
        return uc.uc_strerror(error);
    }
    vcpu->cpu = UC_CPU(vcpu->engine);
    vcpu->env = CPU_ENV(vcpu->cpu);
    vcpu->attention = &ENV_ATTENTION(vcpu->env);
    /* #UD is an exception like any other. */
    UC_STOP_INTERRUPT(vcpu->engine) = NULL;
    wrong = engine_selftest(vcpu);
    if (wrong != NULL) {
        return wrong;
    }
    return memory_map(vcpu) ? NULL : "guest RAM could not be mapped into the engine";
}

/* What any vCPU has, with an engine or without. NULL, or what is wrong. */
const char *vcpu_init(struct vcpu *vcpu, void *vm_block, void *ram, uint32_t index, int doorbell)
{
    vcpu->vm = vm_block;
    vcpu->attention = &vcpu->own_attention;
    vcpu->area = vcpu_area(vcpu, index);
    vcpu->ram = ram;
    vcpu->holders = (_Atomic uint64_t *)((uint8_t *)vm_block + vcpu->vm->holders_offset);
    vcpu->writers = (_Atomic uint64_t *)((uint8_t *)vm_block + vcpu->vm->writers_offset);
    vcpu->index = index;
    vcpu->doorbell = doorbell;
    vcpu->delivering = NOT_DELIVERING;
    vcpu->drop_page = NO_PAGE;
    vcpu->owed_eoi = NO_EOI;
    vcpu->bit = 1ull << index;
    vcpu->tsc_sample = host_tsc();
    vcpu->ns_sample = monotonic_ns();
    if (vcpu->vm->magic != MPVM_ABI_MAGIC || vcpu->vm->version != MPVM_ABI_VERSION) {
        return "the VM block is of another ABI version than the engine core; build both anew";
    }
    return NULL;
}

/* Create the engine of vCPU `index` over the VM block and the RAM block. NULL and `*why` on failure. */
ENGINE_EXPORT struct vcpu *engine_create(void *vm_block, void *ram, uint32_t index, int doorbell,
                                         const char **why)
{
    struct vcpu *vcpu = calloc(1, sizeof(*vcpu));

    if (vcpu == NULL) {
        *why = strerror(errno);
        return NULL;
    }
    self = vcpu;
    *why = vcpu_init(vcpu, vm_block, ram, index, doorbell);
    if (*why != NULL) {
        vcpu->area = NULL;
        engine_destroy(vcpu);
        return NULL;
    }
    vcpu->flips = calloc(vcpu->vm->page_count, 1);
    vcpu->guest_stack = mmap(NULL, GUEST_STACK_BYTES, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (vcpu->flips == NULL || !huge_pages_init(vcpu) || !controls_init(vcpu) || !tlb_init(vcpu) || !tb_lookup_init(vcpu) ||
        vcpu->guest_stack == MAP_FAILED) {
        *why = strerror(errno);
        vcpu->guest_stack = NULL;
        vcpu->area = NULL;
        engine_destroy(vcpu);
        return NULL;
    }
    mprotect(vcpu->guest_stack, PAGE_BYTES, PROT_NONE);
    float_exceptions_init();
    *why = engine_open(vcpu);
    if (*why == NULL && !kick_init(vcpu)) {
        *why = strerror(errno);
    }
    if (*why != NULL) {
        engine_destroy(vcpu);
        return NULL;
    }
    return vcpu;
}

/* The area is ours from now on. An engine is made before: while it was, another worker may have been this vCPU. */
static void attach(struct vcpu *vcpu)
{
    if (vcpu->attached) {
        return;
    }
    if (attention_share(vcpu)) {
        kick_attach(vcpu);
    } else {
        snprintf(vcpu->error, sizeof(vcpu->error), "the vCPU's area can't be mapped into the engine: %s",
                 strerror(errno));
    }
}

/* The engine knows nothing of the guest, or no more: nothing is translated, claimed or in the middle. */
static void begin_anew(struct vcpu *vcpu)
{
    self = vcpu;
    attach(vcpu);
    /* The reset may have come in the middle of an instruction, even of one that ran alone. */
    UC_NESTED_LEVEL(vcpu->engine) = 0;
    if (vcpu->exclusive_step != 0) {
        exclusive_take_back(vcpu);
        vcpu->exclusive_step = 0;
        exclusive_end(vcpu);
    }
    vcpu->delivering = NOT_DELIVERING;
    vcpu->drop_page = NO_PAGE;
    cpu_power_on(vcpu);
    mail_discard(vcpu);
    REPLACEMENT(tb_flush)(vcpu->cpu);
    tlb_flush_all(vcpu);
    claims_forget(vcpu);
    for (unsigned i = 0; i < vcpu->backend_count; i++) {
        memset(vcpu->flips + (vcpu->backend[i].offset >> PAGE_SHIFT), 0, vcpu->backend[i].size >> PAGE_SHIFT);
    }
    huge_pages_forget(vcpu);
    vcpu->init_received = false;
    vcpu->exclusive_wanted = false;
    vcpu->replay_step = 0;
    vcpu->replay_reason = vcpu->replay_count = vcpu->replay_next = 0;
    vcpu->window_open = vcpu->window_answered = false;
    getcontext(&vcpu->guest_context);
    vcpu->guest_context.uc_stack.ss_sp = vcpu->guest_stack;
    vcpu->guest_context.uc_stack.ss_size = GUEST_STACK_BYTES;
    vcpu->guest_context.uc_link = NULL;
    makecontext(&vcpu->guest_context, guest_main, 0);
}

/* Power-on reset. The inbox stays: the coordinator has cleared it, and the BSP, which may be running by now,
 * may have sent us INIT and SIPI already. The BSP then runs from the control block's guest state if
 * `load_state`; the others wait for SIPI. */
ENGINE_EXPORT void engine_reset(struct vcpu *vcpu, bool load_state)
{
    uint64_t base = vcpu->area->control.guest.apic_base;

    begin_anew(vcpu);
    lapic_reset(vcpu, false);
    vcpu->area->mp_state = vcpu->area->is_bsp ? MPVM_MODE_IN_GUEST : MPVM_MODE_WAIT_FOR_SIPI;
    if (load_state && vcpu->area->is_bsp) {
        vcpu->area->control.guest.apic_base = base;
        state_load(vcpu);
    }
}

/* What firmware has set: the local APIC, and of the control block's MSRs, which the BSP has already. */
ENGINE_EXPORT void engine_leave_firmware(struct vcpu *vcpu)
{
    self = vcpu;
    lapic_leave_firmware(vcpu);
    if (!vcpu->area->is_bsp) {
        msr_state_load(vcpu);
    }
}

/* Run until the next exit; its reason. What it is about stands in the control block's exit information,
 * and the answer (what was read) goes into its `data` before the next call. */
ENGINE_EXPORT uint32_t engine_run(struct vcpu *vcpu)
{
    self = vcpu;
    if (!vcpu->attached) {
        return vcpu->area->control.exit.reason = MPVM_EXIT_INTERNAL_ERROR;
    }
    if (!kick_adopt(vcpu)) {
        snprintf(vcpu->error, sizeof(vcpu->error), "no timer for the local APIC: %s", strerror(errno));
        vcpu->area->control.exit.reason = MPVM_EXIT_INTERNAL_ERROR;
        return MPVM_EXIT_INTERNAL_ERROR;
    }
    if (vcpu->memory_generation != vcpu->vm->memory_generation && !memory_take(vcpu)) {
        snprintf(vcpu->error, sizeof(vcpu->error), "the memory slots can't be mapped into the engine");
        vcpu->area->control.exit.reason = MPVM_EXIT_INTERNAL_ERROR;
        return MPVM_EXIT_INTERNAL_ERROR;
    }
    if (entry_pending(vcpu) && !entry_begin(vcpu)) {
        return MPVM_EXIT_FAIL_ENTRY;
    }
    swapcontext(&vcpu->host_context, &vcpu->guest_context);
    exit_end(vcpu);
    return vcpu->area->control.exit.reason;
}

ENGINE_EXPORT const char *engine_error(const struct vcpu *vcpu)
{
    return vcpu->error;
}

/* Write all architectural registers to the control block. */
ENGINE_EXPORT void engine_save_state(struct vcpu *vcpu)
{
    self = vcpu;
    state_save(vcpu);
}

/* Take over all architectural registers from the control block. A new engine goes on with the vCPU that another worker
 * has saved there, and with its local APIC, its inbox and its mail. */
ENGINE_EXPORT void engine_load_state(struct vcpu *vcpu)
{
    self = vcpu;
    if (!vcpu->attached) {
        begin_anew(vcpu);
    }
    state_load(vcpu);
    lapic_timer_take_over(vcpu);
}
