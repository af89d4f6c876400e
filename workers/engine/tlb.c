/* Which entries of the engine's TLB let stores through without asking, by guest page.
 *
 * To make the stores to a page ask again, the engine would walk its whole TLB, which grows to millions
 * of entries. Most requests are for pages that were last stored to before the last full flush, and the
 * others have one or two addresses: so we remember those.
 */
#include "engine.h"

#include <stdlib.h>

#define REMEMBERED 2

struct writable_page {
    uint32_t generation; /* of the TLB; an older one means that nothing is there any more */
    uint32_t count;      /* more than REMEMBERED: walk */
    uint64_t address[REMEMBERED];
};

bool tlb_init(struct vcpu *vcpu)
{
    vcpu->tlb_generation = 1;
    vcpu->writable_pages = calloc(vcpu->vm->page_count, sizeof(struct writable_page));
    return vcpu->writable_pages != NULL;
}

void tlb_deinit(struct vcpu *vcpu)
{
    free(vcpu->writable_pages);
}

/* Everything has been flushed. */
void tlb_flushed(struct vcpu *vcpu)
{
    vcpu->tlb_generation++;
}

/* Let stores to guest-virtual `address`, which is in the TLB and maps `page`, through from now on. */
void tlb_let_stores(struct vcpu *vcpu, uint32_t page, uint64_t address)
{
    struct writable_page *writable = &vcpu->writable_pages[page];

    address &= ~TLB_FLAG_BITS;
    uc.tlb_set_dirty(vcpu->cpu, address);
    if (writable->generation != vcpu->tlb_generation) {
        writable->generation = vcpu->tlb_generation;
        writable->count = 0;
    }
    for (uint32_t i = 0; i < writable->count && i < REMEMBERED; i++) {
        if (writable->address[i] == address) {
            return;
        }
    }
    if (writable->count < REMEMBERED) {
        writable->address[writable->count] = address;
    }
    if (writable->count <= REMEMBERED) {
        writable->count++;
    }
}

static void entry_watch(struct tlb_entry *entry, uint64_t address)
{
    if ((entry->addr_write & ~(TLB_FLAG_BITS & ~(uint64_t)TLB_INVALID_BIT)) == address) {
        entry->addr_write |= TLB_NOTDIRTY_BIT;
    }
}

/* Make the next store to `page` through any address ask. */
void tlb_watch_stores(struct vcpu *vcpu, uint32_t page)
{
    struct writable_page *writable = &vcpu->writable_pages[page];

    if (writable->generation != vcpu->tlb_generation) {
        return;
    }
    writable->generation = 0;
    if (writable->count > REMEMBERED) {
        uc.tlb_reset_dirty(vcpu->cpu, (uintptr_t)vcpu->ram + ((uint64_t)page << PAGE_SHIFT), PAGE_BYTES);
        return;
    }
    for (uint32_t i = 0; i < writable->count; i++) {
        uint64_t address = writable->address[i];

        for (unsigned mode = 0; mode < TLB_MODES; mode++) {
            const struct tlb_table *tlb = ENV_TLB_TABLE(vcpu->env, mode);
            size_t entries = tlb->mask / sizeof(struct tlb_entry);

            entry_watch(&tlb->table[address >> PAGE_SHIFT & entries], address);
            for (unsigned victim = 0; victim < TLB_VICTIMS; victim++) {
                entry_watch(&ENV_TLB_VICTIM(vcpu->env, mode)[victim], address);
            }
        }
    }
}
