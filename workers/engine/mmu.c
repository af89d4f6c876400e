/* The page walk (SDM vol. 3, chapter 4), straight in the shared RAM.
 *
 * Accessed and dirty bits are set by compare-and-swap; if the entry has changed since it was read, the
 * walk starts over, as on hardware: another vCPU's update of the entry is never undone.
 */
#include "tlb.h"

#define PTE_P 1ull
#define PTE_W (1ull << 1)
#define PTE_U (1ull << 2)
#define PTE_A (1ull << 5)
#define PTE_D (1ull << 6)
#define PTE_PS (1ull << 7)
#define PTE_G (1ull << 8)
#define PTE_PAT_LARGE (1ull << 12)
#define PTE_NX (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull
#define PTE_PKEY_SHIFT 59
/* The CPU models say 40 physical address bits. */
#define CR3_PDPT 0xffffffe0u
#define PTE_RESERVED (PTE_ADDRESS & ~(PHYSICAL_LIMIT - 1))
#define PAE_RESERVED 0x7ff0000000000000ull /* ignored in long mode */
#define PSE36_RESERVED (1ull << 21)

#define PF_PRESENT 1
#define PF_WRITE 2
#define PF_USER 4
#define PF_RESERVED 8
#define PF_FETCH 16
#define PF_PKEY 32

struct walk {
    uint64_t address;
    int access;
    bool user;
    bool set_bits;  /* a real access: accessed and dirty bits are set */
    uint64_t physical;
    uint64_t page_size;
    int prot;
    bool writable; /* by its rights: PROT_W may wait for the dirty bit */
    bool global;
    int error_code;
};

enum walk_result { WALK_OK, WALK_FAULT, WALK_AGAIN };

/* Where a page-table entry lies: in this process, and in the page map. */
struct entry_place {
    void *host;    /* NULL outside RAM */
    uint32_t page; /* NO_PAGE where nothing is stored: outside RAM, in a read-only slot */
};

static inline struct entry_place entry_place(struct vcpu *vcpu, uint64_t gpa)
{
    const struct ram_slot *slot;

    gpa &= (uint64_t)(int64_t)ENV_A20_MASK(vcpu->env);
    slot = slot_of_gpa(vcpu, gpa);
    if (slot == NULL) {
        return (struct entry_place){NULL, NO_PAGE};
    }
    return (struct entry_place){
        .host = slot->host + (gpa - slot->gpa),
        .page = slot->read_only ? NO_PAGE : slot->first_page + (uint32_t)((gpa - slot->gpa) >> PAGE_SHIFT),
    };
}

static uint64_t entry_load(struct entry_place place, bool wide)
{
    /* Nobody's memory reads as ones. */
    static const uint64_t nobody = UINT64_MAX;
    const void *host = place.host;

    if (host == NULL) {
        host = &nobody;
    }
    return wide ? __atomic_load_n((const uint64_t *)host, __ATOMIC_RELAXED)
                : __atomic_load_n((const uint32_t *)host, __ATOMIC_RELAXED);
}

/* Set `bits` in an entry that still reads `seen`. */
static bool entry_mark(struct vcpu *vcpu, struct entry_place place, bool wide, uint64_t seen, uint64_t bits)
{
    uint32_t seen32 = (uint32_t)seen;
    void *host = place.host;

    if (place.page == NO_PAGE || (seen & bits) == bits) {
        return true;
    }
    STEP(entry_mark);
    if (!write_claim(vcpu, place.page)) {
        code_drop(vcpu, place.page);
        attention_raise(vcpu); /* the block that runs may be one of those, and jump to others */
    }
    return wide ? __atomic_compare_exchange_n((uint64_t *)host, &seen, seen | bits, false, __ATOMIC_SEQ_CST,
                                              __ATOMIC_RELAXED)
                : __atomic_compare_exchange_n((uint32_t *)host, &seen32, seen32 | (uint32_t)bits, false,
                                              __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* What the leaf `pte` allows, with `rights` the AND of the rights of all levels. */
static enum walk_result leaf_check(struct vcpu *vcpu, struct walk *walk, int mmu_index, uint64_t pte,
                                   uint64_t rights)
{
    CPUX86State *env = vcpu->env;
    uint64_t cr0 = ENV_CR(env)[0], cr4 = ENV_CR(env)[4];
    bool nx = (rights & PTE_NX) == 0;

    walk->prot = 0;
    if (walk->user && !(rights & PTE_U)) {
        return WALK_FAULT;
    }
    if (mmu_index != MMU_KSMAP_IDX || !(rights & PTE_U)) {
        walk->prot |= PROT_R;
        if ((rights & PTE_W) || (!walk->user && !(cr0 & CR0_WP))) {
            walk->prot |= PROT_W;
        }
    }
    if (!nx && (walk->user || !((cr4 & CR4_SMEP) && (rights & PTE_U)))) {
        walk->prot |= PROT_X;
    }
    if ((cr4 & (rights & PTE_U ? CR4_PKE : CR4_PKS)) && (ENV_HFLAGS(env) & HF_LMA_MASK)) {
        unsigned key = pte >> PTE_PKEY_SHIFT & 15;
        unsigned denied = (rights & PTE_U ? ENV_PKRU(env) : vcpu->pkrs) >> 2 * key & 3;
        int allowed = PROT_R | PROT_W | PROT_X;

        if (denied & 1) {
            allowed &= ~(PROT_R | PROT_W);
        } else if ((denied & 2) && (walk->user || (cr0 & CR0_WP))) {
            allowed &= ~PROT_W;
        }
        vcpu->keyed_pages |= key != 0;
        walk->prot &= allowed;
        if (!(allowed & 1 << walk->access)) {
            walk->error_code |= PF_PKEY;
            return WALK_FAULT;
        }
    }
    return walk->prot & 1 << walk->access ? WALK_OK : WALK_FAULT;
}

/* `rights` keeps NX inverted, so that all rights combine by AND. */
static enum walk_result leaf(struct vcpu *vcpu, struct walk *walk, int mmu_index, struct entry_place place, bool wide,
                             uint64_t pte, uint64_t rights, uint64_t reserved, uint64_t frame)
{
    uint64_t bits = PTE_A;

    if (pte & reserved) {
        walk->error_code |= PF_RESERVED | PF_PRESENT;
        return WALK_FAULT;
    }
    if (leaf_check(vcpu, walk, mmu_index, pte, rights) != WALK_OK) {
        walk->error_code |= PF_PRESENT;
        return WALK_FAULT;
    }
    if (walk->access == MMU_DATA_STORE) {
        bits |= PTE_D;
    }
    if (walk->set_bits) {
        if (!entry_mark(vcpu, place, wide, pte, bits)) {
            return WALK_AGAIN;
        }
        pte |= bits;
    }
    walk->writable = (walk->prot & PROT_W) != 0;
    walk->global = (pte & PTE_G) && (ENV_CR(vcpu->env)[4] & CR4_PGE);
    if (!(pte & PTE_D)) {
        /* The first store shall come here, to set the dirty bit. */
        walk->prot &= ~PROT_W;
    }
    walk->physical = frame | (walk->address & (walk->page_size - 1));
    return WALK_OK;
}

static enum walk_result walk_32bit(struct vcpu *vcpu, struct walk *walk, int mmu_index)
{
    uint64_t directory = ENV_CR(vcpu->env)[3] & 0xfffff000u;
    struct entry_place place = entry_place(vcpu, directory + (walk->address >> 20 & 0xffc));
    uint64_t entry = entry_load(place, false), rights;

    if (!(entry & PTE_P)) {
        return WALK_FAULT;
    }
    if ((entry & PTE_PS) && (ENV_CR(vcpu->env)[4] & CR4_PSE)) {
        walk->page_size = 4u << 20;
        return leaf(vcpu, walk, mmu_index, place, false, entry, entry | PTE_NX, PSE36_RESERVED,
                    (entry & 0xffc00000u) | (entry & 0x1fe000u) << 19);
    }
    if (walk->set_bits && !entry_mark(vcpu, place, false, entry, PTE_A)) {
        return WALK_AGAIN;
    }
    rights = entry | PTE_NX;
    place = entry_place(vcpu, (entry & 0xfffff000u) + (walk->address >> 10 & 0xffc));
    entry = entry_load(place, false);
    if (!(entry & PTE_P)) {
        return WALK_FAULT;
    }
    walk->page_size = PAGE_BYTES;
    return leaf(vcpu, walk, mmu_index, place, false, entry, rights & (entry | PTE_NX), 0, entry & 0xfffff000u);
}

/* Page tables of 64-bit entries: from `table`, of the highest `level`, down. */
static enum walk_result walk_tables(struct vcpu *vcpu, struct walk *walk, int mmu_index, uint64_t table, int level,
                                    uint64_t reserved)
{
    uint64_t rights = PTE_NX | PTE_U | PTE_W;

    reserved |= PTE_RESERVED | (ENV_EFER(vcpu->env) & EFER_NXE ? 0 : PTE_NX);
    for (; level > 0; level--) {
        int shift = 12 + 9 * (level - 1);
        struct entry_place place = entry_place(vcpu, table + (walk->address >> shift & 511) * 8);
        uint64_t entry = entry_load(place, true), frame_mask;

        if (!(entry & PTE_P)) {
            return WALK_FAULT;
        }
        if (entry & (reserved | (level >= 4 ? PTE_PS : 0))) {
            walk->error_code |= PF_RESERVED | PF_PRESENT;
            return WALK_FAULT;
        }
        rights &= entry ^ PTE_NX;
        if (level == 1 || (entry & PTE_PS)) {
            walk->page_size = 1ull << shift;
            frame_mask = PTE_ADDRESS & ~(walk->page_size - 1);
            return leaf(vcpu, walk, mmu_index, place, true, entry, rights,
                        level == 1 ? 0 : (walk->page_size - 1) & PTE_ADDRESS & ~PTE_PAT_LARGE, entry & frame_mask);
        }
        if (walk->set_bits && !entry_mark(vcpu, place, true, entry, PTE_A)) {
            return WALK_AGAIN;
        }
        table = entry & PTE_ADDRESS;
    }
    return WALK_FAULT;
}

static enum walk_result walk_pae(struct vcpu *vcpu, struct walk *walk, int mmu_index)
{
    uint64_t pdpte = vcpu->pdpte[walk->address >> 30 & 3];

    return pdpte & PTE_P ? walk_tables(vcpu, walk, mmu_index, pdpte & PTE_ADDRESS, 2, PAE_RESERVED) : WALK_FAULT;
}

static enum walk_result walk_once(struct vcpu *vcpu, struct walk *walk, int mmu_index)
{
    CPUX86State *env = vcpu->env;

    walk->error_code = 0;
    if (!(ENV_CR(env)[0] & CR0_PG)) {
        walk->physical = ENV_HFLAGS(env) & HF_LMA_MASK ? walk->address : (uint32_t)walk->address;
        walk->page_size = PAGE_BYTES;
        walk->prot = PROT_R | PROT_W | PROT_X;
        walk->writable = true;
        walk->global = false;
        return WALK_OK;
    }
    if (ENV_HFLAGS(env) & HF_LMA_MASK) {
        return walk_tables(vcpu, walk, mmu_index, ENV_CR(env)[3] & PTE_ADDRESS, ENV_CR(env)[4] & CR4_LA57 ? 5 : 4, 0);
    }
    if (ENV_CR(env)[4] & CR4_PAE) {
        return walk_pae(vcpu, walk, mmu_index);
    }
    return walk_32bit(vcpu, walk, mmu_index);
}

static void fault_code(const struct vcpu *vcpu, struct walk *walk)
{
    CPUX86State *env = vcpu->env;

    if (walk->access == MMU_DATA_STORE) {
        walk->error_code |= PF_WRITE;
    }
    if (walk->user) {
        walk->error_code |= PF_USER;
    }
    if (walk->access == MMU_INST_FETCH && (((ENV_EFER(env) & EFER_NXE) && (ENV_CR(env)[4] & CR4_PAE)) ||
                                           (ENV_CR(env)[4] & CR4_SMEP))) {
        walk->error_code |= PF_FETCH;
    }
}

/* An instruction can't be fetched. RIP is that of its block, so that it has to be the block's first: while others
 * are before it, they run first. */
static void fetch_fault_begin(struct vcpu *vcpu)
{
    int before = vcpu->translating == NULL ? 0 : DISAS_INSTRUCTIONS(vcpu->translating) - 1;

    vcpu->translating = NULL;
    if (before > 0) {
        CPU_CFLAGS_NEXT_TB(vcpu->cpu) = (uint32_t)before;
        uc.cpu_loop_exit_noexc(vcpu->cpu);
    }
}

/* Enter the translation of `address` into the TLB, or raise the fault. False: a probe found none. */
bool mmu_fill(struct vcpu *vcpu, uint64_t address, int access, int mmu_index, bool probe, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    struct walk walk = {.address = address, .access = access, .user = mmu_index == MMU_USER_IDX, .set_bits = true};
    enum walk_result result;
    struct translation found;
    const struct ram_slot *slot;
    uint32_t page = NO_PAGE;
    bool let_stores;

    ENV_RETADDR(env) = retaddr;
    if ((ENV_CR(env)[0] & CR0_PG) && (ENV_HFLAGS(env) & HF_LMA_MASK) && !is_canonical(env, address)) {
        if (probe) {
            return false;
        }
        if (access == MMU_INST_FETCH) {
            fetch_fault_begin(vcpu);
        }
        non_canonical_access(vcpu, access, retaddr);
    }
    do {
        result = walk_once(vcpu, &walk, mmu_index);
    } while (result == WALK_AGAIN);
    if (result == WALK_FAULT) {
        fault_code(vcpu, &walk);
        if (probe) {
            return false;
        }
        if (access == MMU_INST_FETCH) {
            fetch_fault_begin(vcpu);
        }
        vcpu->page_fault_cr2 = ENV_CR(env)[2];
        ENV_CR(env)[2] = address;
        uc.raise_exception_err_ra(env, EXCP_PF, event_error_code(vcpu, EXCP_PF, walk.error_code), retaddr);
    }
    walk.physical &= (uint64_t)(int64_t)ENV_A20_MASK(env);
    if (walk.writable) {
        /* The engine would keep an entry that can be executed from on the slow path of stores. */
        walk.prot &= access == MMU_INST_FETCH ? ~PROT_W : ~PROT_X;
    }
    slot = slot_of_gpa(vcpu, walk.physical);
    if (slot != NULL && !slot->read_only) {
        page = slot->first_page + (uint32_t)((walk.physical - slot->gpa) >> PAGE_SHIFT);
        huge_pages_touch(vcpu, page);
    }
    let_stores = page != NO_PAGE && (walk.prot & PROT_W) &&
                 (access == MMU_DATA_STORE ||
                  (atomic_load_explicit(&vcpu->writers[page], memory_order_relaxed) & vcpu->bit)) &&
                 write_claim(vcpu, page);
    found = (struct translation){
        .address = address,
        .physical = walk.physical,
        .page_size = walk.page_size,
        .prot = walk.prot,
        .global = walk.global,
    };
    tlb_enter(vcpu, &found, slot, mmu_index);
    if (let_stores) {
        tlb_let_stores(vcpu, tlb_entry_at(env, address, (unsigned)mmu_index), page, address);
    }
    return true;
}

static bool in_table(const struct SegmentCache *table, uint64_t address)
{
    return address - table->base <= table->limit;
}

/* The rights of an access that a helper of the engine makes with `mmu_index`. Loads of descriptors and the TSS are
 * implicit: to SMAP they are a program's whatever RFLAGS.AC says (SDM vol. 3, 4.6.1), which to the engine lifts it
 * for all that ring 0 does. */
int mmu_index_of_helper(const struct vcpu *vcpu, uint64_t address, int mmu_index)
{
    CPUX86State *env = vcpu->env;

    if (mmu_index != MMU_KNOSMAP_IDX || !(ENV_HFLAGS(env) & HF_SMAP_MASK)) {
        return mmu_index;
    }
    return in_table(ENV_GDT(env), address) || in_table(ENV_LDT(env), address) || in_table(ENV_IDT(env), address) ||
                   in_table(ENV_TR(env), address)
               ? MMU_KSMAP_IDX
               : MMU_KNOSMAP_IDX;
}

/* What the table of PDPTEs at `cr3` holds. */
void mmu_pdptes_read(struct vcpu *vcpu, uint64_t cr3, uint64_t pdpte[PDPTES])
{
    for (unsigned i = 0; i < PDPTES; i++) {
        pdpte[i] = entry_load(entry_place(vcpu, (cr3 & CR3_PDPT) + 8 * i), true);
    }
}

/* A look at the page tables that changes nothing. False where nothing is mapped. */
bool mmu_walk_debug(struct vcpu *vcpu, uint64_t address, uint64_t *gpa)
{
    struct walk walk = {.address = address, .access = MMU_DATA_LOAD};

    if (walk_once(vcpu, &walk, MMU_KNOSMAP_IDX) != WALK_OK) {
        return false;
    }
    *gpa = walk.physical;
    return true;
}
