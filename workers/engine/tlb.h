/* What the paths that look into the engine's TLB share; tlb.c and its like keep it. */
#ifndef MPVM_TLB_H
#define MPVM_TLB_H

#include "engine.h"

static inline struct tlb_entry *tlb_entry_at(CPUX86State *env, uint64_t address, unsigned mmu_index)
{
    const struct tlb_table *table = ENV_TLB_TABLE(env, mmu_index);

    return &table->table[address >> PAGE_SHIFT & table->mask / sizeof(struct tlb_entry)];
}

/* The address and flags for an access of kind MMU_... */
static inline uint64_t tlb_entry_address(const struct tlb_entry *entry, int access)
{
    return access == MMU_DATA_LOAD ? entry->addr_read : access == MMU_DATA_STORE ? entry->addr_write : entry->addr_code;
}

static inline bool tlb_entry_for(const struct tlb_entry *entry, uint64_t address, int access)
{
    return (tlb_entry_address(entry, access) & (~TLB_FLAG_BITS | TLB_INVALID_BIT)) == (address & ~TLB_FLAG_BITS);
}

/* The MMU mode of what runs now. */
static inline int mmu_index_now(CPUX86State *env)
{
    if ((ENV_HFLAGS(env) & HF_CPL_MASK) == 3) {
        return MMU_USER_IDX;
    }
    return (ENV_HFLAGS(env) & HF_SMAP_MASK) && !(ENV_EFLAGS(env) & EFLAGS_AC) ? MMU_KSMAP_IDX : MMU_KNOSMAP_IDX;
}

#endif
