/* The first C code of a guest, and the Multiboot 1 command line. */
#include "guest.h"

#include <stddef.h>

#include "acpi.h"
#include "apic.h"
#include "console.h"
#include "interrupts.h"
#include "multiboot.h"
#include "power.h"
#include "smp.h"
#include "string.h"

enum { COMMAND_LINE_MAX = 512 };

const struct multiboot_info *multiboot_info;

/* A copy: the loader's may lie where the trampoline goes. */
static char command_line[COMMAND_LINE_MAX];

static void copy_command_line(const struct multiboot_info *info)
{
	const char *text = (const char *)(uintptr_t)info->cmdline;

	if (!(info->flags & MULTIBOOT_INFO_CMDLINE))
		return;
	for (size_t i = 0; i < COMMAND_LINE_MAX - 1 && text[i]; i++)
		command_line[i] = text[i];
}

static const char *find_option(const char *name)
{
	size_t length = 0;

	while (name[length])
		length++;
	for (const char *at = command_line; *at; at++) {
		if ((at == command_line || at[-1] == ' ') && !memcmp(at, name, length) && at[length] == '=')
			return at + length + 1;
	}
	return NULL;
}

uint64_t option(const char *name, uint64_t otherwise)
{
	const char *text = find_option(name);
	uint64_t value = 0;

	if (!text)
		return otherwise;
	if (*text < '0' || *text > '9')
		panic("command line: %s= takes a number", name);
	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (uint64_t)(*text - '0');
	if (*text && *text != ' ')
		panic("command line: %s= takes a number", name);
	return value;
}

_Noreturn void guest_boot(uint32_t magic, const struct multiboot_info *info);
_Noreturn void guest_boot(uint32_t magic, const struct multiboot_info *info)
{
	console_init();
	interrupts_init();
	interrupts_load();
	if (magic != MULTIBOOT_BOOTLOADER_MAGIC)
		panic("EAX is %x: not started by a Multiboot 1 loader", magic);
	multiboot_info = info;
	copy_command_line(info);
	smp_init();
	acpi_init();
	pic_mask_all();
	guest_main();
}
