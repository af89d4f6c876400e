/* From a guest address to its translation block (TB).
 *
 * The engine has two ways: a cache by virtual address, which each flush of the TLB clears entry by entry, and a hash
 * table by physical address behind it, with locks for threads that we have not got. Here are two caches: one by
 * virtual address whose entries name the generation of mappings and blocks that they are of, so that a flush is an
 * increment; and one by physical address that needs no flush, since the code TLB says where an address is mapped now.
 */
#include "tlb.h"

#include <stdlib.h>
#include <string.h>

#define JUMP_BITS 12
#define JUMP_PAGES 4096
#define TB_CACHE_BITS 16
#define GOLDEN 0x9e3779b97f4a7c15ull /* 2^64 over the golden ratio: Fibonacci hashing */

/* What an indirect jump to `pc` goes on with, as long as the generation is the same. */
struct jump {
    uint64_t pc;
    uint64_t cs_base;
    uint32_t flags;
    uint32_t generation;
    void *code;
};

struct tb_lookup {
    uint32_t generation; /* of what is mapped where, and of which blocks there are */
    uint64_t page[JUMP_PAGES / 64]; /* a bit for each page, by hash, that a jump of this generation leads to */
    struct jump jump[1u << JUMP_BITS];
    TranslationBlock *block[1u << TB_CACHE_BITS];
};

ENGINE_EXPORT void *REPLACEMENT(helper_lookup_tb_ptr)(CPUX86State *env);
ENGINE_EXPORT TranslationBlock *REPLACEMENT(tb_htable_lookup)(CPUState *cpu, uint64_t pc, uint64_t cs_base,
                                                              uint32_t flags, uint32_t cf_mask);

bool tb_lookup_init(struct vcpu *vcpu)
{
    vcpu->tb_lookup = calloc(1, sizeof(*vcpu->tb_lookup));
    if (vcpu->tb_lookup == NULL) {
        return false;
    }
    vcpu->tb_lookup->generation = 1;
    return true;
}

void tb_lookup_deinit(struct vcpu *vcpu)
{
    free(vcpu->tb_lookup);
}

/* Something is mapped elsewhere, or blocks are going to be invalid. */
void tb_jumps_forget(struct vcpu *vcpu)
{
    struct tb_lookup *lookup = vcpu->tb_lookup;

    memset(lookup->page, 0, sizeof(lookup->page));
    if (++lookup->generation == 0) {
        memset(lookup->jump, 0, sizeof(lookup->jump));
        lookup->generation = 1;
    }
}

static uint64_t *page_bits(struct tb_lookup *lookup, uint64_t address, uint64_t *bit)
{
    uint64_t page = address >> PAGE_SHIFT & (JUMP_PAGES - 1);

    *bit = 1ull << (page & 63);
    return &lookup->page[page >> 6];
}

static void page_note(struct tb_lookup *lookup, uint64_t address)
{
    uint64_t bit, *bits = page_bits(lookup, address, &bit);

    *bits |= bit;
}

/* One page is mapped elsewhere. Most that are have no code. */
void tb_jumps_forget_page(struct vcpu *vcpu, uint64_t address)
{
    uint64_t bit, *bits = page_bits(vcpu->tb_lookup, address, &bit);

    if (*bits & bit) {
        tb_jumps_forget(vcpu);
    }
}

/* All blocks go; their memory is used again. For our own calls, too: `uc.tb_flush` leaves our caches as they are. */
void REPLACES(tb_flush)(CPUState *cpu)
{
    memset(self->tb_lookup->block, 0, sizeof(self->tb_lookup->block));
    tb_jumps_forget(self);
    uc.tb_flush(cpu);
    if (self->perf_map != NULL) {
        perf_map_restart(self);
    }
}

static TranslationBlock **cache_slot(struct vcpu *vcpu, ram_addr_t physical, uint32_t flags)
{
    return &vcpu->tb_lookup->block[(physical ^ (uint64_t)flags << 40) * GOLDEN >> (64 - TB_CACHE_BITS)];
}

/* Where a block reaches into a second page, that page may be mapped elsewhere by now. */
static bool second_page_is(CPUX86State *env, uint64_t address, ram_addr_t page)
{
    const struct tlb_entry *entry = tlb_entry_at(env, address, (unsigned)mmu_index_now(env));

    return entry->addr_code == (address & ~TLB_FLAG_BITS) && (entry->ram_addr & ~TLB_FLAG_BITS) == page;
}

static bool block_is(CPUX86State *env, TranslationBlock *tb, uint64_t pc, uint64_t cs_base, uint32_t flags,
                     uint32_t cflags, ram_addr_t page)
{
    return TB_PC(tb) == pc && TB_PAGE_ADDR(tb, 0) == page && TB_FLAGS(tb) == flags && TB_CS_BASE(tb) == cs_base &&
           (TB_CFLAGS(tb) & CF_HASH_MASK) == cflags &&
           (TB_PAGE_ADDR(tb, 1) == NO_PAGE_ADDR || second_page_is(env, pc + PAGE_BYTES, TB_PAGE_ADDR(tb, 1)));
}

/* The engine's loop asks here when its own cache does not know `pc`, and enters the answer there. */
TranslationBlock *REPLACEMENT(tb_htable_lookup)(CPUState *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags,
                                                uint32_t cf_mask)
{
    struct vcpu *vcpu = self;
    uint32_t cflags = (cf_mask & 0xffffffu) | CPU_CLUSTER_INDEX(cpu) << CF_CLUSTER_SHIFT;
    ram_addr_t physical = REPLACEMENT(get_page_addr_code)(vcpu->env, pc);
    TranslationBlock **slot, *tb;

    vcpu->selftest |= SELFTEST_LOOKUP;
    if (physical == NO_PAGE_ADDR) {
        return NULL;
    }
    tlb_jump_cached(vcpu, pc);
    slot = cache_slot(vcpu, physical, flags);
    tb = *slot;
    if (tb != NULL && block_is(vcpu->env, tb, pc, cs_base, flags, cflags, physical & ~TLB_FLAG_BITS)) {
        return tb;
    }
    tb = uc.tb_htable_lookup(cpu, pc, cs_base, flags, cf_mask);
    if (tb != NULL) {
        *slot = tb;
    }
    return tb;
}

static __attribute__((noinline)) void *jump_find(CPUX86State *env, struct jump *jump, uint64_t pc, uint64_t cs_base,
                                                 uint32_t flags, uintptr_t retaddr)
{
    struct vcpu *vcpu = self;
    uint32_t cflags = CPU_CLUSTER_INDEX(vcpu->cpu) << CF_CLUSTER_SHIFT;
    const struct tlb_entry *entry = tlb_entry_at(env, pc, (unsigned)mmu_index_now(env));
    TranslationBlock *tb = NULL;

    if ((flags & HF_CS64_MASK) && !is_canonical(env, pc)) {
        non_canonical_branch(vcpu, retaddr);
    }
    if (entry->addr_code == (pc & ~TLB_FLAG_BITS)) {
        ram_addr_t page = entry->ram_addr & ~TLB_FLAG_BITS;

        tb = *cache_slot(vcpu, page | (pc & TLB_FLAG_BITS), flags);
        if (tb != NULL && !block_is(env, tb, pc, cs_base, flags, cflags, page)) {
            tb = NULL;
        }
    }
    if (tb == NULL) {
        tb = REPLACEMENT(tb_htable_lookup)(vcpu->cpu, pc, cs_base, flags, cflags);
    }
    if (tb == NULL) {
        return TCG_CODE_GEN_EPILOGUE(UC_TCG_CTX(vcpu->engine));
    }
    page_note(vcpu->tb_lookup, pc);
    if (TB_PAGE_ADDR(tb, 1) != NO_PAGE_ADDR) {
        page_note(vcpu->tb_lookup, pc + PAGE_BYTES);
    }
    *jump = (struct jump){pc, cs_base, flags, vcpu->tb_lookup->generation, TB_TC_PTR(tb)};
    return TB_TC_PTR(tb);
}

/* The code to go on with after an indirect jump; the way out of the blocks where there is none yet. */
void *REPLACEMENT(helper_lookup_tb_ptr)(CPUX86State *env)
{
    struct tb_lookup *lookup = self->tb_lookup;
    uint32_t flags = ENV_HFLAGS(env) | (ENV_EFLAGS(env) & TB_EFLAGS_MASK);
    uint64_t cs_base = ENV_SEGS(env)[R_CS].base, pc = ENV_EIP(env) + cs_base;
    struct jump *jump = &lookup->jump[pc * GOLDEN >> (64 - JUMP_BITS)];

    if (jump->pc == pc && jump->flags == flags && jump->cs_base == cs_base &&
        jump->generation == lookup->generation) {
        return jump->code;
    }
    return jump_find(env, jump, pc, cs_base, flags, RETADDR);
}
