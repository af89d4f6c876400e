/* XCHG with memory, always locked (SDM vol. 2). Unicorn's helpers for it load and store, one after the other. */
#include "engine.h"

#define MMU_INDEX(oi) ((oi) & 15u)

/* The host address of an aligned operand that is in the TLB and lets stores through; NULL otherwise. */
static void *plain_operand(struct vcpu *vcpu, uint64_t address, unsigned size, uint32_t oi)
{
    const struct tlb_table *tlb = ENV_TLB_TABLE(vcpu->env, MMU_INDEX(oi));
    const struct tlb_entry *entry = &tlb->table[address >> PAGE_SHIFT & tlb->mask / sizeof(*entry)];
    uint64_t page = address & ~TLB_FLAG_BITS;

    return entry->addr_write == page && entry->addr_read == page && (address & (size - 1)) == 0
               ? (void *)(uintptr_t)(address + entry->addend)
               : NULL;
}

/* Where that fails, the engine's own compare-and-exchange finds the operand, faults, or leaves to run alone. */
#define DEFINE_XCHG(name, type, abi)                                                                      \
    abi helper_atomic_##name##_x86_64(CPUX86State *env, uint64_t address, abi value, uint32_t oi);        \
    abi REPLACES(helper_atomic_##name)(CPUX86State * env, uint64_t address, abi value, uint32_t oi)       \
    {                                                                                                     \
        type *operand = plain_operand(self, address, sizeof(type), oi);                                   \
        abi seen = 0, found;                                                                              \
                                                                                                          \
        if (operand != NULL) {                                                                            \
            return __atomic_exchange_n(operand, (type)value, __ATOMIC_SEQ_CST);                           \
        }                                                                                                 \
        while ((found = uc.helper_atomic_cmp##name##_mmu(env, address, seen, value, oi, RETADDR)) != seen) { \
            seen = found;                                                                                 \
        }                                                                                                 \
        return found;                                                                                     \
    }

DEFINE_XCHG(xchgb, uint8_t, uint32_t)
DEFINE_XCHG(xchgw_le, uint16_t, uint32_t)
DEFINE_XCHG(xchgl_le, uint32_t, uint32_t)
DEFINE_XCHG(xchgq_le, uint64_t, uint64_t)
