/* Page tables beyond the boot map. */
#ifndef GUEST_PAGING_H
#define GUEST_PAGING_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096
#define LARGE_PAGE_BYTES 0x200000

#define PTE_P 0x001ull
#define PTE_W 0x002ull
#define PTE_U 0x004ull
#define PTE_A 0x020ull
#define PTE_D 0x040ull
#define PTE_PS 0x080ull
#define PTE_NX (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

/* A window of 2 MiB that guests may map as they like; 32-bit code reaches it, too. Nothing of the boot
 * map lies there any more once a page is mapped. */
#define WINDOW 0x80000000ull

/* A zeroed page, from a fixed pool; a panic when that is empty. */
void *page_alloc(void);

/* The entry that maps `address`, its tables made on the way, with every right in the upper levels. A
 * 2 MiB page of the boot map in the way is given up whole. */
uint64_t *page_entry(uint64_t address);

/* Maps one page and forgets the old translation on this CPU. */
void map_page(uint64_t address, const void *frame, uint64_t flags);

#endif
