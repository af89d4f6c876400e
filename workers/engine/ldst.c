/* Loads and stores that the code of a block can't do by itself: no entry in the TLB, or a store that asks.
 *
 * The engine's own way looks the address up in its memory map once or twice, for hooks that nobody has set. These
 * here know plain RAM only. All else (registers, operands that cross a page, code that stores to itself) is the
 * engine's.
 */
#include "tlb.h"

/* Guest memory: others store to it at the same time, at any alignment. */
typedef volatile uint8_t memory_8;
typedef volatile uint16_t memory_16 __attribute__((aligned(1), may_alias));
typedef volatile uint32_t memory_32 __attribute__((aligned(1), may_alias));
typedef volatile uint64_t memory_64 __attribute__((aligned(1), may_alias));

ENGINE_EXPORT ram_addr_t REPLACEMENT(get_page_addr_code_hostp)(CPUX86State *env, uint64_t address, void **host);

static bool crosses_page(uint64_t address, unsigned size)
{
    return (address & (PAGE_BYTES - 1)) + size > PAGE_BYTES;
}

/* The entry of `address`, after a page walk if need be, which may raise a fault. */
static inline struct tlb_entry *entry_get(struct vcpu *vcpu, CPUX86State *env, uint64_t address, int access,
                                          int mmu_index, uintptr_t retaddr)
{
    struct tlb_entry *entry = tlb_entry_at(env, address, (unsigned)mmu_index);

    if (tlb_entry_for(entry, address, access)) {
        return entry;
    }
    entry = tlb_find(vcpu, address, access, mmu_index);
    if (entry == NULL) {
        mmu_fill(vcpu, address, access, mmu_index, false, retaddr);
        entry = tlb_entry_at(env, address, (unsigned)mmu_index);
    }
    return entry;
}

/* Where RAM at `address` is to be read; NULL if the engine has to. */
static inline void *load_host(CPUX86State *env, uint64_t address, unsigned size, int access, int mmu_index,
                              uintptr_t retaddr)
{
    const struct tlb_entry *entry;

    if (crosses_page(address, size)) {
        return NULL;
    }
    entry = entry_get(self, env, address, access, mmu_index, retaddr);
    return tlb_entry_address(entry, access) & TLB_FLAG_BITS ? NULL : (void *)(uintptr_t)(address + entry->addend);
}

static bool memory_is(const void *host, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        return *(const memory_8 *)host == (uint8_t)value;
    case 2:
        return *(const memory_16 *)host == (uint16_t)value;
    case 4:
        return *(const memory_32 *)host == (uint32_t)value;
    default:
        return *(const memory_64 *)host == value;
    }
}

/* The same for a store, after those who hold code of the page have been told. NULL also if that is us, unless the store
 * changes nothing: then it goes nowhere, and the code stays. */
static inline void *store_host(CPUX86State *env, uint64_t address, unsigned size, uint64_t value, int mmu_index,
                               uintptr_t retaddr)
{
    struct vcpu *vcpu = self;
    struct tlb_entry *entry;
    uint8_t *host;

    vcpu->selftest |= SELFTEST_STORE;
    if (crosses_page(address, size)) {
        return NULL;
    }
    entry = entry_get(vcpu, env, address, MMU_DATA_STORE, mmu_index, retaddr);
    host = (uint8_t *)(uintptr_t)(address + entry->addend);
    if (entry->addr_write & TLB_FLAG_BITS) {
        uint64_t page = (entry->paddr - ENGINE_RAM_BASE) >> PAGE_SHIFT;

        if ((entry->addr_write & TLB_FLAG_BITS & ~(uint64_t)TLB_NOTDIRTY_BIT) || page >= vcpu->vm->page_count) {
            return NULL;
        }
        if (!write_claim(vcpu, (uint32_t)page)) {
            return memory_is(host, size, value) ? &vcpu->nowhere : NULL;
        }
        tlb_let_stores(vcpu, entry, (uint32_t)page, address);
    }
    return host;
}

/* An operand of 16 bytes (opcode.c) is #GP where it is not aligned, others are #AC. */
static __attribute__((noinline, noreturn)) void misaligned(CPUX86State *env, uint32_t oi, uintptr_t retaddr)
{
    uc.raise_exception_err_ra(env, OI_ALIGNMENT(oi) == OI_ALIGNED ? EXCP_AC : EXCP_GP, 0, retaddr);
    __builtin_unreachable();
}

/* The access without the alignment that its instruction asks for, which it has. */
static inline uint32_t alignment_take(CPUX86State *env, uint64_t address, unsigned size, uint32_t oi,
                                      uintptr_t retaddr)
{
    if (OI_ALIGNMENT(oi) != 0 && (address & (OI_ALIGNMENT(oi) == OI_ALIGNED ? size - 1 : 15)) != 0) {
        misaligned(env, oi, retaddr);
    }
    return oi & ~OI_ALIGNED;
}

/* Called by blocks, whose fast path has missed. */
#define DEFINE_LOAD(name, bits)                                                                                \
    uint64_t name##_mmu_x86_64(CPUX86State *env, uint64_t address, uint32_t oi, uintptr_t retaddr);            \
    uint64_t REPLACES(name##_mmu)(CPUX86State * env, uint64_t address, uint32_t oi, uintptr_t retaddr)         \
    {                                                                                                          \
        const void *host;                                                                                      \
                                                                                                               \
        oi = alignment_take(env, address, (bits) / 8, oi, retaddr);                                            \
        host = load_host(env, address, (bits) / 8, MMU_DATA_LOAD, (int)OI_MMU_INDEX(oi), retaddr);             \
        return host != NULL ? *(const memory_##bits *)host : uc.name##_mmu(env, address, oi, retaddr);         \
    }

#define DEFINE_STORE(name, bits)                                                                               \
    void name##_mmu_x86_64(CPUX86State *env, uint64_t address, uint##bits##_t value, uint32_t oi,              \
                           uintptr_t retaddr);                                                                 \
    void REPLACES(name##_mmu)(CPUX86State * env, uint64_t address, uint##bits##_t value, uint32_t oi,          \
                              uintptr_t retaddr)                                                               \
    {                                                                                                          \
        void *host;                                                                                            \
                                                                                                               \
        oi = alignment_take(env, address, (bits) / 8, oi, retaddr);                                            \
        host = store_host(env, address, (bits) / 8, value, (int)OI_MMU_INDEX(oi), retaddr);                    \
        if (host != NULL) {                                                                                    \
            *(memory_##bits *)host = value;                                                                    \
        } else {                                                                                               \
            uc.name##_mmu(env, address, value, oi, retaddr);                                                   \
        }                                                                                                      \
    }

DEFINE_LOAD(helper_ret_ldub, 8)
DEFINE_LOAD(helper_le_lduw, 16)
DEFINE_LOAD(helper_le_ldul, 32)
DEFINE_LOAD(helper_le_ldq, 64)
DEFINE_STORE(helper_ret_stb, 8)
DEFINE_STORE(helper_le_stw, 16)
DEFINE_STORE(helper_le_stl, 32)
DEFINE_STORE(helper_le_stq, 64)

/* MOVBE: the same, with the bytes the other way round. */
#define DEFINE_SWAPPED(size, le_load, be_load, le_store, be_store)                                             \
    uint64_t be_load##_mmu_x86_64(CPUX86State *env, uint64_t address, uint32_t oi, uintptr_t retaddr);         \
    uint64_t REPLACES(be_load##_mmu)(CPUX86State * env, uint64_t address, uint32_t oi, uintptr_t retaddr)      \
    {                                                                                                          \
        return __builtin_bswap##size((uint##size##_t)REPLACEMENT(le_load##_mmu)(env, address, oi & ~OI_SWAPPED, \
                                                                                retaddr));                     \
    }                                                                                                          \
    void be_store##_mmu_x86_64(CPUX86State *env, uint64_t address, uint##size##_t value, uint32_t oi,          \
                               uintptr_t retaddr);                                                             \
    void REPLACES(be_store##_mmu)(CPUX86State * env, uint64_t address, uint##size##_t value, uint32_t oi,      \
                                  uintptr_t retaddr)                                                           \
    {                                                                                                          \
        REPLACEMENT(le_store##_mmu)(env, address, __builtin_bswap##size(value), oi & ~OI_SWAPPED, retaddr);    \
    }

DEFINE_SWAPPED(16, helper_le_lduw, helper_be_lduw, helper_le_stw, helper_be_stw)
DEFINE_SWAPPED(32, helper_le_ldul, helper_be_ldul, helper_le_stl, helper_be_stl)
DEFINE_SWAPPED(64, helper_le_ldq, helper_be_ldq, helper_le_stq, helper_be_stq)

/* Called by the engine's helpers and by ours, for instance to push a frame, or to read a descriptor. */
#define DEFINE_DATA_LOAD(name, bits, abi)                                                                      \
    abi name##_mmuidx_ra_x86_64(CPUX86State *env, uint64_t address, int mmu_index, uintptr_t retaddr);         \
    abi REPLACES(name##_mmuidx_ra)(CPUX86State * env, uint64_t address, int mmu_index, uintptr_t retaddr)      \
    {                                                                                                          \
        const void *host;                                                                                      \
                                                                                                               \
        mmu_index = mmu_index_of_helper(self, address, mmu_index);                                             \
        host = load_host(env, address, (bits) / 8, MMU_DATA_LOAD, mmu_index, retaddr);                         \
        return host != NULL ? *(const memory_##bits *)host                                                     \
                            : uc.name##_mmuidx_ra(env, address, mmu_index, retaddr);                           \
    }

#define DEFINE_DATA_STORE(name, bits, abi)                                                                     \
    void name##_mmuidx_ra_x86_64(CPUX86State *env, uint64_t address, abi value, int mmu_index,                 \
                                 uintptr_t retaddr);                                                           \
    void REPLACES(name##_mmuidx_ra)(CPUX86State * env, uint64_t address, abi value, int mmu_index,             \
                                    uintptr_t retaddr)                                                         \
    {                                                                                                          \
        void *host;                                                                                            \
                                                                                                               \
        mmu_index = mmu_index_of_helper(self, address, mmu_index);                                             \
        host = store_host(env, address, (bits) / 8, value, mmu_index, retaddr);                                \
        if (host != NULL) {                                                                                    \
            *(memory_##bits *)host = (uint##bits##_t)value;                                                    \
        } else {                                                                                               \
            uc.name##_mmuidx_ra(env, address, value, mmu_index, retaddr);                                      \
        }                                                                                                      \
    }

DEFINE_DATA_LOAD(cpu_ldub, 8, uint32_t)
DEFINE_DATA_LOAD(cpu_lduw, 16, uint32_t)
DEFINE_DATA_LOAD(cpu_ldl, 32, uint32_t)
DEFINE_DATA_LOAD(cpu_ldq, 64, uint64_t)
DEFINE_DATA_STORE(cpu_stb, 8, uint32_t)
DEFINE_DATA_STORE(cpu_stw, 16, uint32_t)
DEFINE_DATA_STORE(cpu_stl, 32, uint32_t)
DEFINE_DATA_STORE(cpu_stq, 64, uint64_t)

/* Where in the engine's RAM the code at `address` is; NO_PAGE_ADDR where there are registers or nobody. The engine's
 * own way goes from the host address through its list of RAM blocks. */
ENGINE_EXPORT ram_addr_t REPLACEMENT(get_page_addr_code_hostp)(CPUX86State *env, uint64_t address, void **host)
{
    const struct tlb_entry *entry = entry_get(self, env, address, MMU_INST_FETCH, mmu_index_now(env), 0);

    if (entry->addr_code & TLB_FLAG_BITS) {
        if (host != NULL) {
            *host = NULL;
        }
        return NO_PAGE_ADDR;
    }
    if (host != NULL) {
        *host = (void *)(uintptr_t)(address + entry->addend);
    }
    return (entry->ram_addr & ~TLB_FLAG_BITS) | (address & TLB_FLAG_BITS);
}

ENGINE_EXPORT ram_addr_t REPLACEMENT(get_page_addr_code)(CPUX86State *env, uint64_t address)
{
    return REPLACEMENT(get_page_addr_code_hostp)(env, address, NULL);
}

/* Called by the translator. */
#define DEFINE_CODE_LOAD(name, bits, abi)                                                                      \
    abi name##_code_x86_64(CPUX86State *env, uint64_t address);                                                \
    abi REPLACES(name##_code)(CPUX86State * env, uint64_t address)                                             \
    {                                                                                                          \
        const struct translation_state *state = &self->translation;                                            \
        const void *host;                                                                                      \
        abi value;                                                                                             \
                                                                                                               \
        if ((bits) == 8 && address - state->fed_at < state->fed_count) {                                       \
            return state->fed[address - state->fed_at];                                                        \
        }                                                                                                      \
        host = load_host(env, address, (bits) / 8, MMU_INST_FETCH, mmu_index_now(env), 0);                     \
        value = host != NULL ? *(const memory_##bits *)host : uc.name##_code(env, address);                    \
        return __builtin_expect((bits) != 8 && state->fed_count != 0, 0)                                       \
                   ? (abi)opcode_fed(state, address, (bits) / 8, value)                                        \
                   : value;                                                                                    \
    }

DEFINE_CODE_LOAD(cpu_ldub, 8, uint32_t)
DEFINE_CODE_LOAD(cpu_lduw, 16, uint32_t)
DEFINE_CODE_LOAD(cpu_ldl, 32, uint32_t)
DEFINE_CODE_LOAD(cpu_ldq, 64, uint64_t)
