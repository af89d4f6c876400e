/* Guest RAM in huge pages.
 *
 * RAM is shared memory, which most hosts give in small pages only: each costs a fault in every process that touches
 * it. Of a block of 2 MiB that the guest makes use of, the kernel makes one huge page when it is asked to
 * (MADV_COLLAPSE, Linux 6.1), in all processes. A block of which little is used stays as it is: that would be memory
 * and time for nothing. QEMU's RAM is private, which transparent huge pages are for.
 */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define BLOCK_SHIFT 21
#define BLOCK_BYTES ((size_t)1 << BLOCK_SHIFT)
#define PAGES_SHIFT (BLOCK_SHIFT - PAGE_SHIFT)

/* How many of a block's 512 pages this vCPU has touched before the rest are worth a huge page. A collapse costs as
 * much as the first touches of some 80. */
enum { WORTH_A_HUGE_PAGE = 32 };

static size_t words(const struct vcpu *vcpu)
{
    return ((size_t)vcpu->vm->page_count + 63) / 64;
}

static size_t blocks(const struct vcpu *vcpu)
{
    return ((size_t)vcpu->vm->page_count >> PAGES_SHIFT) + 1;
}

bool huge_pages_init(struct vcpu *vcpu)
{
    vcpu->touched = calloc(words(vcpu), sizeof(*vcpu->touched));
    vcpu->touched_of_block = calloc(blocks(vcpu), sizeof(*vcpu->touched_of_block));
    return vcpu->touched != NULL && vcpu->touched_of_block != NULL;
}

void huge_pages_deinit(struct vcpu *vcpu)
{
    free(vcpu->touched);
    free(vcpu->touched_of_block);
}

/* A machine's reset gives RAM back to the host. */
void huge_pages_forget(struct vcpu *vcpu)
{
    memset(vcpu->touched, 0, words(vcpu) * sizeof(*vcpu->touched));
    memset(vcpu->touched_of_block, 0, blocks(vcpu) * sizeof(*vcpu->touched_of_block));
}

/* The block of `page`, where it lies whole in what is mapped and so that a huge page can be; else NULL. */
static uint8_t *block_of(const struct vcpu *vcpu, uint32_t page)
{
    uint32_t first = page >> PAGES_SHIFT << PAGES_SHIFT, last = first + (1u << PAGES_SHIFT) - 1;
    uint8_t *host = host_of_page(vcpu, first);
    bool whole = host != NULL && host_of_page(vcpu, last) == host + BLOCK_BYTES - PAGE_BYTES;

    return whole && ((uintptr_t)host & (BLOCK_BYTES - 1)) == 0 ? host : NULL;
}

/* `page` is about to be accessed, for the first time as far as this vCPU knows. */
void huge_pages_first_touch(struct vcpu *vcpu, uint32_t page)
{
    uint8_t *block;

    vcpu->touched[page / 64] |= 1ull << page % 64;
    if (++vcpu->touched_of_block[page >> PAGES_SHIFT] != WORTH_A_HUGE_PAGE || vcpu->no_huge_pages) {
        return;
    }
    block = block_of(vcpu, page);
    /* Without memory in one piece it stays as it is; without a kernel that can, there is no use in asking again. */
    if (block != NULL && madvise(block, BLOCK_BYTES, MADV_COLLAPSE) != 0 && errno == EINVAL) {
        vcpu->no_huge_pages = true;
    }
}
