/* Coherence of translated code between vCPUs: the page map, the mailboxes, and running alone.
 *
 * The protocol is written down in docs/coherence.md. In short, for a page P of guest RAM:
 *
 *   holders[P]: vCPUs that may hold translations of P's bytes
 *   writers[P]: vCPUs that may store to P without asking
 *
 * A vCPU sets its own bit, then looks at the other word (a full barrier between). If both have seen
 * each other, both go through the coherence lock, so one of them is first. The holder of the
 * lock mails the others and waits until they have answered or are outside the guest; a vCPU outside
 * reads its mail before it enters. Who waits for the lock is outside, so nobody waits for a waiter.
 */
#include "engine.h"

#include <string.h>

static uint32_t mode_of(const struct mpvm_vcpu_area *area)
{
    return __atomic_load_n(&area->mode, __ATOMIC_SEQ_CST);
}

static void claims_forget_of(struct vcpu *vcpu, uint64_t offset, uint64_t size)
{
    uint32_t first = (uint32_t)(offset >> PAGE_SHIFT), end = first + (uint32_t)(size >> PAGE_SHIFT);

    for (uint32_t page = first; page < end; page++) {
        if (atomic_load_explicit(&vcpu->holders[page], memory_order_relaxed) & vcpu->bit) {
            atomic_fetch_and(&vcpu->holders[page], ~vcpu->bit);
        }
        if (atomic_load_explicit(&vcpu->writers[page], memory_order_relaxed) & vcpu->bit) {
            atomic_fetch_and(&vcpu->writers[page], ~vcpu->bit);
        }
    }
}

void claims_forget(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < vcpu->backend_count; i++) {
        claims_forget_of(vcpu, vcpu->backend[i].offset, vcpu->backend[i].size);
    }
    if (vcpu->engine == NULL) {
        /* An engine's, which this vCPU had before. */
        claims_forget_of(vcpu, 0, vcpu->vm->page_count << PAGE_SHIFT);
    }
}

/* Our own translations of a page die; it is no longer ours to be asked about. */
void code_drop(struct vcpu *vcpu, uint32_t page)
{
    ram_addr_t start = ram_addr_of_page(vcpu, page);

    tb_jumps_forget(vcpu);
    uc.tb_invalidate_phys_range(vcpu->engine, start, start + PAGE_BYTES);
    STEP(code_dropped);
    atomic_fetch_and(&vcpu->holders[page], ~vcpu->bit);
    vcpu->area->counters.code_drops++;
}

/* Our own stores to a page ask again. */
static void write_unclaim(struct vcpu *vcpu, uint32_t page)
{
    tlb_watch_stores(vcpu, page);
    STEP(stores_watched);
    atomic_fetch_and(&vcpu->writers[page], ~vcpu->bit);
    vcpu->area->counters.write_watches++;
}

static bool letter_waiting(const struct mpvm_mailbox *box)
{
    return __atomic_load_n(&box->tail, __ATOMIC_ACQUIRE) != box->head;
}

bool mail_waiting(const struct vcpu *vcpu)
{
    const struct mpvm_mailbox *box = &vcpu->area->mailbox;

    return letter_waiting(box) || __atomic_load_n(&box->overflow, __ATOMIC_ACQUIRE) != 0;
}

/* More mail came than the box holds, or slots have changed: do for all pages what any mail may ask. Not a TB flush,
 * since this may run in the middle of a block, whose unwinding data must stay. */
void code_and_claims_forget(struct vcpu *vcpu)
{
    tb_jumps_forget(vcpu);
    for (unsigned i = 0; i < vcpu->backend_count; i++) {
        const struct ram_backend *backend = &vcpu->backend[i];

        uc.tb_invalidate_phys_range(vcpu->engine, backend->ram_addr, backend->ram_addr + backend->size);
        /* Nor a TLB flush, which may move the table under a store that is looking for its entry. */
        uc.tlb_reset_dirty(vcpu->cpu, (uintptr_t)backend->host, backend->size);
    }
    tlb_all_watched(vcpu);
    claims_forget(vcpu);
}

/* Tell whoever sleeps on us that our mode or our mailbox has changed. */
static void answer(struct vcpu *vcpu)
{
    struct mpvm_mailbox *box = &vcpu->area->mailbox;

    STEP(answer);
    if (__atomic_load_n(&box->awaited, __ATOMIC_SEQ_CST)) {
        STEP(answer_awaited);
        __atomic_store_n(&box->awaited, 0, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&box->answered, 1, __ATOMIC_SEQ_CST);
        futex_wake(&box->answered, 1);
    }
}

static void mode_set(struct vcpu *vcpu, uint32_t mode)
{
    STEP(mode);
    __atomic_store_n(&vcpu->area->mode, mode, __ATOMIC_SEQ_CST);
    STEP(mode_set);
    if (mode != MPVM_MODE_IN_GUEST) {
        answer(vcpu);
    }
}

void mail_read(struct vcpu *vcpu)
{
    struct mpvm_mailbox *box = &vcpu->area->mailbox;

    if (vcpu->engine == NULL) {
        /* No translations, and no TLB of ours: nothing to do for anybody. */
        mail_discard(vcpu);
        answer(vcpu);
        return;
    }
    while (letter_waiting(box)) {
        struct mpvm_mail mail = box->mail[box->head % MPVM_MAILBOX_ENTRIES];

        STEP(mail_read);
        if (mail.kind == MPVM_MAIL_DROP_CODE) {
            code_drop(vcpu, mail.page);
        } else {
            write_unclaim(vcpu, mail.page);
        }
        STEP(mail_done);
        __atomic_store_n(&box->head, box->head + 1, __ATOMIC_SEQ_CST);
    }
    STEP(mail_overflow);
    if (__atomic_load_n(&box->overflow, __ATOMIC_SEQ_CST) != 0) {
        code_and_claims_forget(vcpu);
        STEP(mail_overflow_done);
        __atomic_store_n(&box->overflow, 0, __ATOMIC_SEQ_CST);
    }
    answer(vcpu);
}

/* At a reset: what any mail asked for is about to be done wholesale. */
void mail_discard(struct vcpu *vcpu)
{
    struct mpvm_mailbox *box = &vcpu->area->mailbox;

    __atomic_store_n(&box->overflow, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&box->head, __atomic_load_n(&box->tail, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
}

static bool outside(const struct mpvm_vcpu_area *area)
{
    return mode_of(area) != MPVM_MODE_IN_GUEST;
}

bool outside_or_answered(const struct mpvm_vcpu_area *area)
{
    return outside(area) ||
           (__atomic_load_n(&area->mailbox.head, __ATOMIC_SEQ_CST) == area->mailbox.tail &&
            __atomic_load_n(&area->mailbox.overflow, __ATOMIC_SEQ_CST) == 0);
}

/* Who is outside looks before it enters, and is left alone. */
static void kick_in_guest(struct vcpu *vcpu, unsigned target)
{
    if (!outside(vcpu_area(vcpu, target))) {
        kick_vcpu(vcpu, target);
    }
}

/* Wait until `target`, which has been kicked, is `done`. Called with the lock held, so one at a time waits for anybody.
 * A target that runs answers within the spin; one that is preempted needs our core, so we sleep. */
static void await(struct vcpu *vcpu, unsigned target, bool (*done)(const struct mpvm_vcpu_area *))
{
    enum { SPINS = 400 };
    struct mpvm_vcpu_area *area = vcpu_area(vcpu, target);

    STEP(await);
    for (unsigned i = 0; i < SPINS; i++) {
        if (done(area)) {
            return;
        }
        __builtin_ia32_pause();
    }
    for (;;) {
        uint32_t answered = __atomic_load_n(&area->mailbox.answered, __ATOMIC_SEQ_CST);

        STEP(await_sleep);
        __atomic_store_n(&area->mailbox.awaited, 1, __ATOMIC_SEQ_CST);
        if (done(area) || (vcpu->area->request & MPVM_REQUEST_STOP)) {
            return;
        }
        STEP(await_wait);
        futex_wait(&area->mailbox.answered, answered, NULL);
    }
}

/* Ask every vCPU of `targets` to do `kind` to `page`. Called with the lock held. */
void mail_post(struct mpvm_vm_page *vm, uint64_t targets, uint32_t kind, uint32_t page)
{
    for (uint64_t rest = targets; rest != 0; rest &= rest - 1) {
        struct mpvm_mailbox *box = &area_of(vm, (unsigned)__builtin_ctzll(rest))->mailbox;

        if (box->tail - __atomic_load_n(&box->head, __ATOMIC_SEQ_CST) == MPVM_MAILBOX_ENTRIES) {
            __atomic_store_n(&box->overflow, 1, __ATOMIC_SEQ_CST);
            continue;
        }
        box->mail[box->tail % MPVM_MAILBOX_ENTRIES] = (struct mpvm_mail){.kind = kind, .page = page};
        STEP(mail_written);
        __atomic_store_n(&box->tail, box->tail + 1, __ATOMIC_SEQ_CST);
    }
}

/* Ask them, and wait for those in the guest. For those outside we take their bit away ourselves: they do it before
 * they enter. */
static void mail_send(struct vcpu *vcpu, uint64_t targets, uint32_t kind, uint32_t page)
{
    _Atomic uint64_t *word = kind == MPVM_MAIL_DROP_CODE ? &vcpu->holders[page] : &vcpu->writers[page];

    mail_post(vcpu->vm, targets, kind, page);
    /* All of them before the first is waited for: one that is preempted answers when it has a core, in any order. */
    for (uint64_t rest = targets; rest != 0; rest &= rest - 1) {
        kick_in_guest(vcpu, (unsigned)__builtin_ctzll(rest));
    }
    for (uint64_t rest = targets; rest != 0; rest &= rest - 1) {
        await(vcpu, (unsigned)__builtin_ctzll(rest), outside_or_answered);
    }
    STEP(mail_answered);
    atomic_fetch_and(word, ~targets);
}

static void lock_acquire(struct vcpu *vcpu)
{
    uint32_t *lock = &vcpu->vm->coherence_lock;

    if (vcpu->exclusive_step != 0) {
        return; /* who runs alone has the lock */
    }
    STEP(lock);
    if (lock_try(lock)) {
        STEP(lock_held);
        return;
    }
    mode_set(vcpu, MPVM_MODE_OUTSIDE);
    while (!lock_take_or_sleep(lock, LOCK_FREE, NULL)) {
        if (vcpu->area->request & MPVM_REQUEST_STOP) {
            break; /* the VM is being taken down; nobody's state matters any more */
        }
    }
    STEP(lock_got);
    mode_set(vcpu, MPVM_MODE_IN_GUEST);
    mail_read(vcpu);
    /* Who saw us outside has not kicked us. And the block that runs may be one of those dropped, whose
     * jumps to others still stand. */
    attention_raise(vcpu);
}

static void lock_release(struct vcpu *vcpu)
{
    if (vcpu->exclusive_step != 0) {
        return;
    }
    STEP(unlock);
    lock_leave(&vcpu->vm->coherence_lock, LOCK_FREE);
}

/* A device is storing to `page`. */
static bool dma_to(const struct vcpu *vcpu, uint32_t page)
{
    return __atomic_load_n(&vcpu->vm->dma_page, __ATOMIC_SEQ_CST) == page + 1;
}

bool code_claimed(struct vcpu *vcpu, uint32_t page)
{
    return (atomic_load_explicit(&vcpu->holders[page], memory_order_relaxed) & vcpu->bit) != 0;
}

/* Before the bytes of `page` are read for translation. On return no vCPU stores to it unasked, and no device
 * stores to it. */
void code_claim(struct vcpu *vcpu, uint32_t page)
{
    /* Our bit may be taken away after we have set it, by one who answers an older claim of ours; its own bit is
     * there until after that, so a second look is enough. */
    do {
        if (code_claimed(vcpu, page)) {
            return;
        }
        atomic_fetch_or(&vcpu->holders[page], vcpu->bit);
        STEP(code_claim);
        if (atomic_load(&vcpu->writers[page]) & vcpu->bit) {
            write_unclaim(vcpu, page);
        }
        STEP(code_claim_look);
    } while ((atomic_load(&vcpu->writers[page]) & ~vcpu->bit) == 0 && !dma_to(vcpu, page));
    lock_acquire(vcpu);
    for (;;) {
        /* Mail that came while we waited for the lock may have taken our bit away. */
        atomic_fetch_or(&vcpu->holders[page], vcpu->bit);
        STEP(code_claim_again);
        uint64_t others = atomic_load(&vcpu->writers[page]) & ~vcpu->bit;
        if (others == 0 || (vcpu->area->request & MPVM_REQUEST_STOP)) {
            break;
        }
        mail_send(vcpu, others, MPVM_MAIL_WATCH_WRITES, page);
    }
    lock_release(vcpu);
}

/* Before a store to `page`. True: nobody but us holds code of it; false: we do ourselves. On return
 * no other vCPU holds translations of it, and none will before our store is done. */
bool write_claim(struct vcpu *vcpu, uint32_t page)
{
    uint64_t held;

    do {
        if ((atomic_load(&vcpu->writers[page]) & vcpu->bit) == 0) {
            atomic_fetch_or(&vcpu->writers[page], vcpu->bit);
        }
        STEP(write_claim);
        held = atomic_load(&vcpu->holders[page]);
        STEP(write_claim_look);
        /* As in code_claim(): look again whether our bit has been taken away meanwhile. */
    } while ((held & ~vcpu->bit) == 0 && (atomic_load(&vcpu->writers[page]) & vcpu->bit) == 0);
    if ((held & ~vcpu->bit) != 0) {
        lock_acquire(vcpu);
        for (;;) {
            atomic_fetch_or(&vcpu->writers[page], vcpu->bit);
            STEP(write_claim_again);
            held = atomic_load(&vcpu->holders[page]);
            if ((held & ~vcpu->bit) == 0 || (vcpu->area->request & MPVM_REQUEST_STOP)) {
                break;
            }
            mail_send(vcpu, held & ~vcpu->bit, MPVM_MAIL_DROP_CODE, page);
        }
        lock_release(vcpu);
        held = atomic_load(&vcpu->holders[page]);
    }
    if (vcpu->dirty_logging) {
        dirty_mark(vcpu->vm, page);
    }
    STEP(write_claimed);
    return (held & vcpu->bit) == 0;
}

/* From outside into the guest: read the mail that came meanwhile; stand still while another runs alone. */
void enter_guest(struct vcpu *vcpu)
{
    vcpu->entered_ns = monotonic_ns();
    if (vcpu->area->first_entry_ns == 0) {
        vcpu->area->first_entry_ns = vcpu->entered_ns;
    }
    for (;;) {
        uint32_t exclusive;

        STEP(enter);
        mode_set(vcpu, MPVM_MODE_IN_GUEST);
        exclusive = __atomic_load_n(&vcpu->vm->exclusive, __ATOMIC_SEQ_CST);
        if (exclusive == 0 || exclusive == vcpu->index + 1) {
            break;
        }
        mode_set(vcpu, MPVM_MODE_OUTSIDE);
        if (vcpu->area->request & MPVM_REQUEST_STOP) {
            return;
        }
        STEP(exclusive_wait);
        futex_wait(&vcpu->vm->exclusive, exclusive, NULL);
    }
    STEP(entered);
    mail_read(vcpu);
    attention_raise(vcpu);
}

void leave_guest(struct vcpu *vcpu, uint32_t mode)
{
    vcpu->area->counters.guest_ns += monotonic_ns() - vcpu->entered_ns;
    mode_set(vcpu, mode);
}

/* Between two blocks: another vCPU wants to run alone. */
void exclusive_wait(struct vcpu *vcpu)
{
    uint32_t exclusive = __atomic_load_n(&vcpu->vm->exclusive, __ATOMIC_SEQ_CST);

    if (exclusive != 0 && exclusive != vcpu->index + 1) {
        leave_guest(vcpu, MPVM_MODE_OUTSIDE);
        enter_guest(vcpu);
    }
}

/* Every other vCPU stands still, outside the guest, until exclusive_end(). */
void exclusive_begin(struct vcpu *vcpu)
{
    uint64_t others;

    lock_acquire(vcpu);
    STEP(exclusive);
    __atomic_store_n(&vcpu->vm->exclusive, vcpu->index + 1, __ATOMIC_SEQ_CST);
    /* One that is added from here on finds the word when it enters. */
    others = __atomic_load_n(&vcpu->vm->present, __ATOMIC_SEQ_CST) & ~vcpu->bit;
    for (uint64_t rest = others; rest != 0; rest &= rest - 1) {
        kick_in_guest(vcpu, (unsigned)__builtin_ctzll(rest));
    }
    for (uint64_t rest = others; rest != 0; rest &= rest - 1) {
        await(vcpu, (unsigned)__builtin_ctzll(rest), outside);
    }
    STEP(exclusive_alone);
    vcpu->area->counters.exclusive_steps++;
}

void exclusive_end(struct vcpu *vcpu)
{
    STEP(exclusive_end);
    __atomic_store_n(&vcpu->vm->exclusive, 0, __ATOMIC_SEQ_CST);
    futex_wake(&vcpu->vm->exclusive, INT32_MAX);
    lock_release(vcpu);
}

/* An exit of one who runs alone: the others stand still, and the coordinator may have the lock meanwhile. */
void exclusive_lend(struct vcpu *vcpu)
{
    if (vcpu->exclusive_step != 0) {
        STEP(lend);
        lock_leave(&vcpu->vm->coherence_lock, LOCK_LENT);
    }
}

void exclusive_take_back(struct vcpu *vcpu)
{
    if (vcpu->exclusive_step == 0) {
        return;
    }
    STEP(take_back);
    while (!lock_take_or_sleep(&vcpu->vm->coherence_lock, LOCK_LENT, NULL)) {
        if (vcpu->area->request & MPVM_REQUEST_STOP) {
            break;
        }
    }
}
