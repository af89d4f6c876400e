/* What a Multiboot 1 loader tells (Multiboot 0.6.96, section 3.3), as far as a guest looks at it. */
#ifndef GUEST_MULTIBOOT_H
#define GUEST_MULTIBOOT_H

#include <stdint.h>

#define MULTIBOOT_BOOTLOADER_MAGIC 0x2badb002

enum {
	MULTIBOOT_INFO_MEMORY = 1 << 0,
	MULTIBOOT_INFO_CMDLINE = 1 << 2,
	MULTIBOOT_INFO_MODS = 1 << 3,
	MULTIBOOT_INFO_MMAP = 1 << 6,
	MULTIBOOT_INFO_BOOT_LOADER_NAME = 1 << 9,
};

struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper;
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
};

struct multiboot_module {
	uint32_t start, end;
	uint32_t string;
	uint32_t reserved;
};

struct multiboot_mmap_entry {
	uint32_t size;
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

/* Where the loader has put it; smp_start() may overwrite it. */
extern const struct multiboot_info *multiboot_info;

#endif
