/* The engine's TLB, kept by us: what flushes and INVLPG take out. (tlb_enter.c: what enters it, and how large it is;
 * tlb_stores.c: which of its entries let stores through.)
 *
 * A load of CR3 flushes what is not global (SDM vol. 3, 4.10.4.1); the engine's own flush takes everything, and a
 * kernel then misses its own pages after each switch of address spaces. So entries are listed as they are made, local
 * and global ones apart. A flush of all takes the listed ones, too, where the engine would write over its whole table.
 */
#include "tlb_keeper.h"

#include <stdlib.h>

#define CONFLICTS_DECAY 8

static const struct large_pages no_large_pages = {UINT64_MAX, 0};

bool tlb_init(struct vcpu *vcpu)
{
    vcpu->tlb = calloc(1, sizeof(*vcpu->tlb));
    if (vcpu->tlb == NULL || !tlb_stores_init(vcpu)) {
        return false;
    }
    for (unsigned mode = 0; mode < TLB_MODES; mode++) {
        vcpu->tlb->mode[mode].large[GLOBAL] = vcpu->tlb->mode[mode].large[LOCAL] = no_large_pages;
    }
    vcpu->tlb->generation[GLOBAL] = vcpu->tlb->generation[LOCAL] = 1;
    return true;
}

void tlb_deinit(struct vcpu *vcpu)
{
    free(vcpu->tlb);
    free(vcpu->written_pages);
}

/* The engine's own cache of jumps, by virtual address: tb_jmp_cache_hash_func() of the engine. */
void tlb_jump_cached(struct vcpu *vcpu, uint64_t pc)
{
    struct tlb_keeper *tlb = vcpu->tlb;
    uint64_t mixed = pc ^ pc >> 6;

    if (tlb->jump_count < JUMPS_LISTED) {
        tlb->jump[tlb->jump_count] = (mixed >> 6 & 0xfc0) | (mixed & 0x3f);
    }
    tlb->jump_count += tlb->jump_count <= JUMPS_LISTED;
}

static void jump_cache_clear(struct vcpu *vcpu)
{
    struct tlb_keeper *tlb = vcpu->tlb;
    TranslationBlock **cache = CPU_TB_JMP_CACHE(vcpu->cpu);

    if (tlb->jump_count > JUMPS_LISTED) {
        memset(cache, 0, TB_JMP_CACHE_SIZE * sizeof(*cache));
    } else {
        for (uint32_t i = 0; i < tlb->jump_count; i++) {
            cache[tlb->jump[i]] = NULL;
        }
    }
    tlb->jump_count = 0;
}

/* A block that begins in the page before may reach into this one. */
static void jump_cache_clear_page(struct vcpu *vcpu, uint64_t page)
{
    struct tlb_keeper *tlb = vcpu->tlb;
    TranslationBlock **cache = CPU_TB_JMP_CACHE(vcpu->cpu);

    if (tlb->jump_count > JUMPS_LISTED) {
        jump_cache_clear(vcpu);
        return;
    }
    for (uint32_t i = 0; i < tlb->jump_count; i++) {
        TranslationBlock *block = cache[tlb->jump[i]];

        if (block != NULL && page_address(TB_PC(block)) - page_address(page - PAGE_BYTES) <= PAGE_BYTES) {
            cache[tlb->jump[i]] = NULL;
        }
    }
}

static void keys_forget(struct vcpu *vcpu)
{
    tlb_all_watched(vcpu);
    vcpu->keyed_pages = false;
}

/* The engine has emptied `modes` and its jump cache. */
void tlb_modes_flushed(struct vcpu *vcpu, unsigned modes)
{
    struct tlb_keeper *tlb = vcpu->tlb;

    tlb->jump_count = 0;
    tb_jumps_forget(vcpu);
    if ((modes & TLB_ALL_MODES) == TLB_ALL_MODES) {
        keys_forget(vcpu);
    }
    for (unsigned i = 0; i < TLB_MODES; i++) {
        struct tlb_mode *mode = &tlb->mode[i];

        if (modes & 1u << i) {
            mode->count[LOCAL] = mode->count[GLOBAL] = 0;
            mode->conflicts = 0;
            mode->victims = 0;
            mode->large[GLOBAL] = mode->large[LOCAL] = no_large_pages;
        }
    }
}

static void modes_flush(struct vcpu *vcpu, unsigned modes)
{
    uc.tlb_flush_by_mmuidx(vcpu->cpu, (uint16_t)modes);
    tlb_modes_flushed(vcpu, modes);
}

static bool list_short(const struct vcpu *vcpu, unsigned mode, enum lifetime lifetime)
{
    uint32_t count = vcpu->tlb->mode[mode].count[lifetime];

    return count <= LISTED &&
           count * LISTED_PART <= ENV_TLB_TABLE(vcpu->env, mode)->mask / sizeof(struct tlb_entry) + 1;
}

static void listed_clear(struct vcpu *vcpu, unsigned i, enum lifetime lifetime)
{
    struct tlb_mode *mode = &vcpu->tlb->mode[i];
    struct tlb_desc *desc = ENV_TLB_DESC(vcpu->env, i);
    uint64_t flag = lifetime == LOCAL ? TLB_LOCAL : 0;

    if (mode->count[lifetime] == 0) {
        return;
    }
    for (uint32_t n = 0; n < mode->count[lifetime]; n++) {
        uint64_t page = mode->listed[lifetime][n];
        struct tlb_entry *entry = tlb_entry_at(vcpu->env, page, i);

        if ((entry->ram_addr & TLB_LOCAL) == flag && entry_of(entry, page)) {
            entry_clear(desc, entry);
        }
    }
    FOR_EACH_VICTIM(n, mode) {
        if (!entry_empty(&desc->vtable[n]) && (desc->vtable[n].ram_addr & TLB_LOCAL) == flag) {
            victim_clear(mode, desc, n);
        }
    }
    mode->count[lifetime] = 0;
    mode->large[lifetime] = no_large_pages;
}

/* Take the entries of `modes` out, the global ones only if asked to. */
static void modes_clear(struct vcpu *vcpu, unsigned modes, bool global_too)
{
    unsigned overflowed = 0;

    for (unsigned i = 0; i < TLB_MODES; i++) {
        struct tlb_mode *mode = &vcpu->tlb->mode[i];

        if (!(modes & 1u << i)) {
            continue;
        }
        if (!list_short(vcpu, i, LOCAL) || (global_too && !list_short(vcpu, i, GLOBAL))) {
            overflowed |= 1u << i;
            continue;
        }
        listed_clear(vcpu, i, LOCAL);
        if (global_too) {
            listed_clear(vcpu, i, GLOBAL);
        }
        /* A table that is too small for what runs between two switches grows, one that is just old does not. */
        mode->conflicts -= mode->conflicts / CONFLICTS_DECAY;
    }
    if (overflowed != 0) {
        modes_flush(vcpu, overflowed);
    } else {
        jump_cache_clear(vcpu);
        tb_jumps_forget(vcpu);
    }
}

/* CR3 has been loaded. */
void tlb_flush_local(struct vcpu *vcpu)
{
    modes_clear(vcpu, TLB_ALL_MODES, false);
    vcpu->tlb->generation[LOCAL]++;
}

/* What every translation depends on has changed. */
void tlb_flush_all(struct vcpu *vcpu)
{
    modes_clear(vcpu, TLB_ALL_MODES, true);
    keys_forget(vcpu);
}

#define RIGHTS_OF_KEY_0 3u

/* Whether what the engine flushes for has to be. XRSTOR flushes when PKRU changes, but few programs have
 * keys other than 0. */
bool tlb_flush_needed(struct vcpu *vcpu)
{
    uint32_t changed = vcpu->pkru ^ ENV_PKRU(vcpu->env);

    vcpu->pkru = ENV_PKRU(vcpu->env);
    return changed == 0 || (changed & RIGHTS_OF_KEY_0) != 0 || vcpu->keyed_pages;
}

/* These bits of IA32_PKRS are other ones now. */
void tlb_keys_changed(struct vcpu *vcpu, uint32_t changed)
{
    if ((changed & RIGHTS_OF_KEY_0) != 0 || (changed != 0 && vcpu->keyed_pages)) {
        tlb_flush_all(vcpu);
    }
}

static bool in_large_page(const struct tlb_mode *mode, uint64_t address)
{
    return (address & mode->large[GLOBAL].mask) == mode->large[GLOBAL].address ||
           (address & mode->large[LOCAL].mask) == mode->large[LOCAL].address;
}

static void page_clear(struct vcpu *vcpu, unsigned mmu_index, uint64_t page)
{
    struct tlb_mode *mode = &vcpu->tlb->mode[mmu_index];
    struct tlb_desc *desc = ENV_TLB_DESC(vcpu->env, mmu_index);
    struct tlb_entry *entry = tlb_entry_at(vcpu->env, page, mmu_index);

    if (!entry_empty(entry) && entry_of(entry, page)) {
        entry_clear(desc, entry);
    }
    victims_clear_page(mode, desc, page);
}

/* INVLPG. */
void tlb_flush_page(struct vcpu *vcpu, uint64_t address, unsigned modes)
{
    unsigned whole = 0;

    for (unsigned i = 0; i < TLB_MODES; i++) {
        if (!(modes & 1u << i)) {
            continue;
        }
        if (in_large_page(&vcpu->tlb->mode[i], address)) {
            whole |= 1u << i;
        } else {
            page_clear(vcpu, i, address);
        }
    }
    if (whole != 0) {
        modes_clear(vcpu, whole, true);
    } else {
        tb_jumps_forget_page(vcpu, address);
        jump_cache_clear_page(vcpu, address);
    }
}
