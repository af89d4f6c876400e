#include "paging.h"

#include "machine.h"
#include "power.h"
#include "string.h"

enum { POOL_PAGES = 64, LEVELS = 4, INDEX_BITS = 9, PAGE_BITS = 12 };

static uint8_t pool[POOL_PAGES][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static size_t pool_used;

void *page_alloc(void)
{
	size_t page = __atomic_fetch_add(&pool_used, 1, __ATOMIC_RELAXED);

	if (page >= POOL_PAGES)
		panic("no page left of %d", POOL_PAGES);
	return memset(pool[page], 0, PAGE_BYTES);
}

uint64_t *page_entry(uint64_t address)
{
	uint64_t *table = physical(read_cr3() & PTE_ADDRESS);

	for (int level = LEVELS - 1;; level--) {
		uint64_t *entry = &table[address >> (PAGE_BITS + level * INDEX_BITS) & ((1 << INDEX_BITS) - 1)];

		if (level == 0)
			return entry;
		if (!(*entry & PTE_P) || (*entry & PTE_PS)) {
			*entry = (uintptr_t)page_alloc() | PTE_P | PTE_W | PTE_U;
			/* The walk below may be cached for any address under this entry. */
			write_cr3(read_cr3());
		}
		*entry |= PTE_U;
		table = physical(*entry & PTE_ADDRESS);
	}
}

void map_page(uint64_t address, const void *frame, uint64_t flags)
{
	*page_entry(address) = (uintptr_t)frame | flags;
	invalidate_page(physical(address));
}
