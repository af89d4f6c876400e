/* What tlb.c, tlb_enter.c and tlb_stores.c share: what is known of each mode of the engine's TLB, and its entries. */
#ifndef MPVM_TLB_KEEPER_H
#define MPVM_TLB_KEEPER_H

#include "tlb.h"

#include <string.h>

/* More entries than that, or than a part of the table, and the engine empties the mode: that costs less then. */
#define LISTED 4096
#define LISTED_PART 4
/* The victims of a mode that may be in use. */
#define FOR_EACH_VICTIM(i, mode) \
    for (uint32_t left_ = (mode)->victims, i; left_ != 0 && (i = (uint32_t)__builtin_ctz(left_), true); left_ &= left_ - 1)
#define JUMPS_LISTED 64

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

static inline uint64_t page_address(uint64_t tlb_address)
{
    return tlb_address & ~TLB_FLAG_BITS;
}

static inline bool entry_empty(const struct tlb_entry *entry)
{
    return (entry->addr_read & entry->addr_write & entry->addr_code) == UINT64_MAX;
}

static inline bool entry_of(const struct tlb_entry *entry, uint64_t page)
{
    const uint64_t same = ~(TLB_FLAG_BITS & ~(uint64_t)TLB_INVALID_BIT);

    return (entry->addr_read & same) == page || (entry->addr_write & same) == page ||
           (entry->addr_code & same) == page;
}

/* `n_used_entries`, by which the engine chooses the table's size at a flush, counts the victims, too: INVLPG of the
 * engine takes from it what it finds in either, and an entry that comes back from the victims was there all the time. */
static inline void entry_clear(struct tlb_desc *desc, struct tlb_entry *entry)
{
    memset(entry, -1, sizeof(*entry));
    desc->n_used_entries--;
}

static inline void victim_clear(struct tlb_mode *mode, struct tlb_desc *desc, uint32_t i)
{
    entry_clear(desc, &desc->vtable[i]);
    mode->victims &= ~(1u << i);
}

static inline void victims_clear_page(struct tlb_mode *mode, struct tlb_desc *desc, uint64_t page)
{
    FOR_EACH_VICTIM(i, mode) {
        if (!entry_empty(&desc->vtable[i]) && entry_of(&desc->vtable[i], page)) {
            victim_clear(mode, desc, i);
        }
    }
}

#endif
