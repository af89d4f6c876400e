/* Which entries of the engine's TLB let stores through: the others ask (coherence.c). */
#include "tlb_keeper.h"

#include <stdlib.h>

#define REMEMBERED 2

/* Where a page was let be stored to. To make its stores ask again, the whole TLB would have to be walked; most
 * requests are for pages that were last stored to before the last flush, and the others have one or two addresses. */
struct written_page {
    struct {
        uint32_t generation; /* an older one means that nothing is there any more */
        uint32_t count;      /* more than REMEMBERED: walk */
        uint64_t address[REMEMBERED];
    } through[LIFETIMES];
};

bool tlb_stores_init(struct vcpu *vcpu)
{
    vcpu->written_pages = calloc(vcpu->vm->page_count, sizeof(struct written_page));
    return vcpu->written_pages != NULL;
}

/* Nothing in the TLB lets stores through any more. */
void tlb_all_watched(struct vcpu *vcpu)
{
    vcpu->tlb->generation[GLOBAL]++;
    vcpu->tlb->generation[LOCAL]++;
}

static void entry_watch(struct tlb_entry *entry, uint64_t address)
{
    if ((entry->addr_write & ~(TLB_FLAG_BITS & ~(uint64_t)TLB_INVALID_BIT)) == address) {
        entry->addr_write |= TLB_NOTDIRTY_BIT;
    }
}

/* Let the stores of `entry`, which maps `page` to guest-virtual `address`, through from now on. */
void tlb_let_stores(struct vcpu *vcpu, struct tlb_entry *entry, uint32_t page, uint64_t address)
{
    enum lifetime lifetime = entry->ram_addr & TLB_LOCAL ? LOCAL : GLOBAL;
    struct written_page *written = &vcpu->written_pages[page];
    uint32_t count;

    address = page_address(address);
    entry->addr_write &= ~(uint64_t)TLB_NOTDIRTY_BIT;
    if (written->through[lifetime].generation != vcpu->tlb->generation[lifetime]) {
        written->through[lifetime].generation = vcpu->tlb->generation[lifetime];
        written->through[lifetime].count = 0;
    }
    count = written->through[lifetime].count;
    for (uint32_t i = 0; i < count && i < REMEMBERED; i++) {
        if (written->through[lifetime].address[i] == address) {
            return;
        }
    }
    if (count < REMEMBERED) {
        written->through[lifetime].address[count] = address;
    }
    written->through[lifetime].count += count <= REMEMBERED;
}

/* Make the next store to `page` through any address ask. */
void tlb_watch_stores(struct vcpu *vcpu, uint32_t page)
{
    struct written_page *written = &vcpu->written_pages[page];
    bool walk = false;

    for (unsigned lifetime = 0; lifetime < LIFETIMES; lifetime++) {
        if (written->through[lifetime].generation != vcpu->tlb->generation[lifetime]) {
            continue;
        }
        written->through[lifetime].generation = 0;
        walk |= written->through[lifetime].count > REMEMBERED;
        for (uint32_t i = 0; !walk && i < written->through[lifetime].count; i++) {
            uint64_t address = written->through[lifetime].address[i];

            for (unsigned mode = 0; mode < TLB_MODES; mode++) {
                entry_watch(tlb_entry_at(vcpu->env, address, mode), address);
                FOR_EACH_VICTIM(victim, &vcpu->tlb->mode[mode]) {
                    entry_watch(&ENV_TLB_DESC(vcpu->env, mode)->vtable[victim], address);
                }
            }
        }
    }
    if (walk) {
        uc.tlb_reset_dirty(vcpu->cpu, (uintptr_t)host_of_page(vcpu, page), PAGE_BYTES);
    }
}
