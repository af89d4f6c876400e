/* The engine's TLB, kept by us: what enters it, what flushes and INVLPG take out, how large it is, and which of its
 * entries let stores through.
 *
 * A load of CR3 flushes what is not global (SDM vol. 3, 4.10.4.1); the engine's own flush takes everything, and a
 * kernel then misses its own pages after each switch of address spaces. So entries are listed as they are made, local
 * and global ones apart. A flush of all takes the listed ones, too, where the engine would write over its whole table.
 */
#include "tlb.h"

#include <stdlib.h>
#include <string.h>

/* More entries than that, or than a part of the table, and the engine empties the mode: that costs less then. */
#define LISTED 4096
#define LISTED_PART 4
/* The victims of a mode that may be in use. */
#define FOR_EACH_VICTIM(i, mode) \
    for (uint32_t left_ = (mode)->victims, i; left_ != 0 && (i = (uint32_t)__builtin_ctz(left_), true); left_ &= left_ - 1)
/* A table whose entries get into each other's way grows to this many: 512 MiB of small pages. */
#define GROWN_ENTRIES (1u << 17)
#define CONFLICTS_DECAY 8
#define JUMPS_LISTED 64
#define REMEMBERED 2

enum lifetime { GLOBAL, LOCAL, LIFETIMES };

/* Pages larger than 4 KiB enter piecemeal; INVLPG of any address of one has to find all pieces. */
struct large_pages {
    uint64_t address;
    uint64_t mask; /* of the smallest aligned region that has all of them; 0 with address UINT64_MAX: none */
};

struct tlb_mode {
    uint32_t count[LIFETIMES]; /* more than LISTED: unlisted ones, too */
    uint32_t conflicts;        /* entries that had to make room for others, older ones weigh less */
    uint32_t victims;          /* a bit for each that may be in use; the engine may have emptied it */
    struct large_pages large[LIFETIMES];
    uint64_t listed[LIFETIMES][LISTED];
};

struct tlb_keeper {
    struct tlb_mode mode[TLB_MODES];
    uint32_t jump_count; /* entries of the engine's jump cache that may be in use; more than JUMPS_LISTED: any */
    uint16_t jump[JUMPS_LISTED];
    uint32_t generation[LIFETIMES]; /* counts the flushes of either kind */
};

/* Where a page was let be stored to. To make its stores ask again, the whole TLB would have to be walked; most
 * requests are for pages that were last stored to before the last flush, and the others have one or two addresses. */
struct written_page {
    struct {
        uint32_t generation; /* an older one means that nothing is there any more */
        uint32_t count;      /* more than REMEMBERED: walk */
        uint64_t address[REMEMBERED];
    } through[LIFETIMES];
};

static const struct large_pages no_large_pages = {UINT64_MAX, 0};

bool tlb_init(struct vcpu *vcpu)
{
    vcpu->tlb = calloc(1, sizeof(*vcpu->tlb));
    vcpu->written_pages = calloc(vcpu->vm->page_count, sizeof(struct written_page));
    if (vcpu->tlb == NULL || vcpu->written_pages == NULL) {
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

static uint64_t page_address(uint64_t tlb_address)
{
    return tlb_address & ~TLB_FLAG_BITS;
}

static bool entry_empty(const struct tlb_entry *entry)
{
    return (entry->addr_read & entry->addr_write & entry->addr_code) == UINT64_MAX;
}

static bool entry_of(const struct tlb_entry *entry, uint64_t page)
{
    const uint64_t same = ~(TLB_FLAG_BITS & ~(uint64_t)TLB_INVALID_BIT);

    return (entry->addr_read & same) == page || (entry->addr_write & same) == page ||
           (entry->addr_code & same) == page;
}

/* `n_used_entries`, by which the engine chooses the table's size at a flush, counts the victims, too: INVLPG of the
 * engine takes from it what it finds in either, and an entry that comes back from the victims was there all the time. */
static void entry_clear(struct tlb_desc *desc, struct tlb_entry *entry)
{
    memset(entry, -1, sizeof(*entry));
    desc->n_used_entries--;
}

static void victim_clear(struct tlb_mode *mode, struct tlb_desc *desc, uint32_t i)
{
    entry_clear(desc, &desc->vtable[i]);
    mode->victims &= ~(1u << i);
}

static void victims_clear_page(struct tlb_mode *mode, struct tlb_desc *desc, uint64_t page)
{
    FOR_EACH_VICTIM(i, mode) {
        if (!entry_empty(&desc->vtable[i]) && entry_of(&desc->vtable[i], page)) {
            victim_clear(mode, desc, i);
        }
    }
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

/* Nothing in the TLB lets stores through any more. */
void tlb_all_watched(struct vcpu *vcpu)
{
    vcpu->tlb->generation[GLOBAL]++;
    vcpu->tlb->generation[LOCAL]++;
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
