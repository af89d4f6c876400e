/* What enters the engine's TLB, what makes room for it, and how large the table is. */
#include "tlb_keeper.h"

#include <stdlib.h>

/* A table whose entries get into each other's way grows to this many: 512 MiB of small pages. */
#define GROWN_ENTRIES (1u << 17)

static void large_page_add(struct large_pages *large, uint64_t address, uint64_t size)
{
    uint64_t mask = ~(size - 1);

    if (large->address != UINT64_MAX) {
        mask &= large->mask;
        while (((large->address ^ address) & mask) != 0) {
            mask <<= 1;
        }
    }
    large->address = address & mask;
    large->mask = mask;
}

/* Two pages want the same place. */
static void conflict_count(struct vcpu *vcpu, struct tlb_mode *mode, const struct tlb_table *table)
{
    size_t entries = table->mask / sizeof(struct tlb_entry) + 1;

    if (++mode->conflicts > entries && entries < GROWN_ENTRIES) {
        vcpu->grow_tlb = true;
        attention_raise(vcpu);
    }
}

static void list_add(struct tlb_mode *mode, enum lifetime lifetime, uint64_t page)
{
    if (mode->count[lifetime] < LISTED) {
        mode->listed[lifetime][mode->count[lifetime]] = page;
    }
    mode->count[lifetime] += mode->count[lifetime] <= LISTED;
}

/* Make the place of `page` empty: what was entered for it goes, another page's entry becomes a victim. */
static void place_clear(struct vcpu *vcpu, struct tlb_mode *mode, struct tlb_desc *desc, const struct tlb_table *table,
                        uint64_t page)
{
    size_t place = page >> PAGE_SHIFT & table->mask / sizeof(struct tlb_entry);
    struct tlb_entry *entry = &table->table[place];
    size_t victim;

    victims_clear_page(mode, desc, page);
    if (entry_empty(entry)) {
        return;
    }
    if (!entry_of(entry, page)) {
        victim = desc->vindex++ % TLB_VICTIMS;
        desc->n_used_entries += entry_empty(&desc->vtable[victim]);
        mode->victims |= 1u << victim;
        desc->vtable[victim] = *entry;
        desc->viotlb[victim] = desc->iotlb[place];
        conflict_count(vcpu, mode, table);
    }
    entry_clear(desc, entry);
}

/* Enter what a page walk has found in `slot`, NULL outside RAM. Stores ask; those to a read-only slot are a
 * register's, while its loads are RAM's. */
void tlb_enter(struct vcpu *vcpu, const struct translation *found, const struct ram_slot *slot, int mmu_index)
{
    CPUX86State *env = vcpu->env;
    struct tlb_mode *mode = &vcpu->tlb->mode[mmu_index];
    struct tlb_desc *desc = ENV_TLB_DESC(env, mmu_index);
    const struct tlb_table *table = ENV_TLB_TABLE(env, mmu_index);
    uint64_t virtual = page_address(found->address), physical = page_address(found->physical), ram_addr, in_slot;
    uint64_t watched_load, watched_store;
    int breakpoints = data_breakpoints_in(env, virtual, PAGE_BYTES);
    size_t place = virtual >> PAGE_SHIFT & table->mask / sizeof(struct tlb_entry);
    struct tlb_entry *entry = &table->table[place];
    enum lifetime lifetime = found->global ? GLOBAL : LOCAL;
    uint64_t local = lifetime == LOCAL ? TLB_LOCAL : 0;
    bool listed;

    if (found->page_size > PAGE_BYTES) {
        large_page_add(&mode->large[lifetime], virtual, found->page_size);
    }
    listed = !entry_empty(entry) && (entry->ram_addr & TLB_LOCAL) == local && entry_of(entry, virtual);
    if (!listed) {
        list_add(mode, lifetime, virtual);
    }
    place_clear(vcpu, mode, desc, table, virtual);
    if (slot == NULL || (slot->read_only && (found->prot & PROT_W))) {
        /* Registers, or nobody: the engine's own entry has the section of its memory map. */
        uc.tlb_set_page_with_attrs(vcpu->cpu, virtual, physical, (MemTxAttrs){0}, found->prot, mmu_index, PAGE_BYTES);
        entry->ram_addr = local;
        if (slot == NULL) {
            return;
        }
        in_slot = physical - slot->gpa;
        entry->addr_read = !(found->prot & PROT_R) ? UINT64_MAX
                           : breakpoints & BP_MEM_READ ? virtual | TLB_WATCHPOINT_BIT
                                                       : virtual;
        entry->addr_code = found->prot & PROT_X ? virtual : UINT64_MAX;
        entry->addend = (uintptr_t)slot->host + in_slot - virtual;
        entry->ram_addr |= slot->ram_addr + in_slot;
        return;
    }
    ENV_TLB_DIRTY(env) |= (uint16_t)(1u << mmu_index);
    desc->n_used_entries++;
    in_slot = physical - slot->gpa;
    ram_addr = slot->ram_addr + in_slot;
    /* A locked instruction runs alone, and so meets breakpoints, where these bits differ from the store's. */
    watched_load = breakpoints & BP_MEM_READ ? TLB_WATCHPOINT_BIT | TLB_NOTDIRTY_BIT : 0;
    watched_store = breakpoints & BP_MEM_WRITE ? TLB_WATCHPOINT_BIT : 0;
    desc->iotlb[place] = (struct iotlb_entry){.addr = ram_addr - virtual};
    *entry = (struct tlb_entry){
        .addr_read = found->prot & PROT_R ? virtual | watched_load : UINT64_MAX,
        .addr_write = found->prot & PROT_W ? virtual | TLB_NOTDIRTY_BIT | watched_store : UINT64_MAX,
        .addr_code = found->prot & PROT_X ? virtual : UINT64_MAX,
        .paddr = ENGINE_RAM_BASE + ((uint64_t)slot->first_page << PAGE_SHIFT) + in_slot,
        .addend = (uintptr_t)slot->host + in_slot - virtual,
        .ram_addr = ram_addr | local,
    };
}

/* The entry of `address` for `access`, if the table or a victim has it; a victim changes places with the table's. */
struct tlb_entry *tlb_find(struct vcpu *vcpu, uint64_t address, int access, int mmu_index)
{
    struct tlb_entry *entry = tlb_entry_at(vcpu->env, address, (unsigned)mmu_index);
    size_t place = (size_t)(entry - ENV_TLB_TABLE(vcpu->env, mmu_index)->table);
    struct tlb_mode *mode = &vcpu->tlb->mode[mmu_index];
    struct tlb_desc *desc;

    if (tlb_entry_for(entry, address, access)) {
        return entry;
    }
    desc = ENV_TLB_DESC(vcpu->env, mmu_index);
    FOR_EACH_VICTIM(i, mode) {
        struct tlb_entry *victim = &desc->vtable[i];

        if (tlb_entry_for(victim, address, access)) {
            struct tlb_entry other = *entry;
            struct iotlb_entry other_io = desc->iotlb[place];

            *entry = *victim;
            *victim = other;
            mode->victims &= entry_empty(&other) ? ~(1u << i) : UINT32_MAX;
            desc->iotlb[place] = desc->viotlb[i];
            desc->viotlb[i] = other_io;
            conflict_count(vcpu, mode, ENV_TLB_TABLE(vcpu->env, mmu_index));
            return entry;
        }
    }
    return NULL;
}

/* Between two blocks: twice the entries for each mode whose entries get into each other's way. */
void tlb_grow(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < TLB_MODES; i++) {
        struct tlb_mode *mode = &vcpu->tlb->mode[i];
        struct tlb_table *table = ENV_TLB_TABLE(vcpu->env, i);
        struct tlb_desc *desc = ENV_TLB_DESC(vcpu->env, i);
        size_t entries = table->mask / sizeof(struct tlb_entry) + 1, grown = 2 * entries;
        struct tlb_entry *to;
        struct iotlb_entry *iotlb;

        if (mode->conflicts <= entries || grown > GROWN_ENTRIES) {
            continue;
        }
        mode->conflicts = 0;
        to = malloc(grown * sizeof(*to));
        iotlb = calloc(grown, sizeof(*iotlb));
        if (to == NULL || iotlb == NULL) {
            free(to);
            free(iotlb);
            continue;
        }
        memset(to, -1, grown * sizeof(*to));
        for (size_t n = 0; n < entries; n++) {
            const struct tlb_entry *from = &table->table[n];
            /* An unused address is all ones, so that of the used ones it is left. */
            uint64_t page = page_address(from->addr_read & from->addr_write & from->addr_code);
            size_t place = page >> PAGE_SHIFT & (grown - 1);

            if (!entry_empty(from)) {
                to[place] = *from;
                iotlb[place] = desc->iotlb[n];
            }
        }
        free(table->table);
        free(desc->iotlb);
        table->table = to;
        table->mask = (grown - 1) * sizeof(*to);
        desc->iotlb = iotlb;
    }
}
