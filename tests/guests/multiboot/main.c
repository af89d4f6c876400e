/* Prints what the Multiboot loader tells: the information structure, the command line, the modules with their
 * strings and first line, and the memory map. */
#include "console.h"
#include "guest.h"
#include "multiboot.h"
#include "power.h"

enum { PASSED = 0x10, LINE_MAX = 64 };

static const void *at(uint32_t address)
{
	return (const void *)(uintptr_t)address;
}

static void print_line(const char *text, uint32_t length)
{
	for (uint32_t i = 0; i < length && i < LINE_MAX && text[i] != '\n'; i++)
		print("%c", text[i]);
	print("\n");
}

static void print_modules(const struct multiboot_info *info)
{
	const struct multiboot_module *module = at(info->mods_addr);

	print("modules %u at %x\n", info->mods_count, info->mods_addr);
	for (uint32_t i = 0; i < info->mods_count; i++, module++) {
		print("module %u: %x-%x, %x: %s\n", i, module->start, module->end, module->string,
		      (const char *)at(module->string));
		print_line(at(module->start), module->end - module->start);
	}
}

static void print_memory_map(const struct multiboot_info *info)
{
	uint32_t offset = 0;

	print("map at %x\n", info->mmap_addr);
	while (offset < info->mmap_length) {
		const struct multiboot_mmap_entry *entry = at(info->mmap_addr + offset);

		print("map %lx-%lx %u\n", entry->base, entry->base + entry->length, entry->type);
		offset += entry->size + (uint32_t)sizeof entry->size;
	}
}

_Noreturn void guest_main(void)
{
	const struct multiboot_info *info = multiboot_info;

	print("information at %x, flags %x\n", (uint32_t)(uintptr_t)info, info->flags);
	print("lower memory %u\n", info->mem_lower);
	print("upper memory %u\n", info->mem_upper);
	print("boot device %x\n", info->boot_device);
	print("command line at %x: %s\n", info->cmdline, (const char *)at(info->cmdline));
	print("loader at %x: %s\n", info->boot_loader_name, (const char *)at(info->boot_loader_name));
	print_modules(info);
	print_memory_map(info);
	debug_exit(PASSED);
}
