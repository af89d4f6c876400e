/* What the items say, and the directory of files. */
#include "tests.h"

#include "conformance.h"
#include "string.h"

enum { FIRST_BYTES = 24, NAME_BYTES = 56, FILES_MAX = 32 };

struct file {
	uint32_t size;
	uint16_t key, reserved;
	char name[NAME_BYTES];
};

static struct file files[FILES_MAX];

static void tell(uint16_t key)
{
	uint8_t data[FIRST_BYTES];

	fw_cfg_read(key, data, FIRST_BYTES);
	print("item %04x ", key);
	for (unsigned i = 0; i < FIRST_BYTES; i++)
		print("%02x", data[i]);
	print("\n");
}

void test_items(void)
{
	topic("items");
	CHECK("the version has ports and DMA", fw_cfg_number(KEY_ID, 4), 3);
	CHECK("bytes of RAM", fw_cfg_number(KEY_RAM_SIZE, 8), 128ul << 20);
	CHECK("CPUs", fw_cfg_number(KEY_NB_CPUS, 2), 2);
	CHECK("and those that can be", fw_cfg_number(KEY_MAX_CPUS, 2), 2);
	CHECK("no boot menu", fw_cfg_number(KEY_BOOT_MENU, 2), 0);
	CHECK("a display or none", fw_cfg_number(KEY_NOGRAPHIC, 2) <= 1, 1);
	CHECK("the timer is at pin 2", fw_cfg_number(KEY_IRQ0_OVERRIDE, 4), 1);
	for (uint16_t key = 0; key < KEY_FILE_DIR; key++)
		tell(key);
	for (uint16_t key = 0x8000; key < 0x8005; key++)
		tell(key);
}

/* FNV-1a of a file's content; one byte too many is read, which must be 0. */
static uint64_t sum_of(const struct file *file, uint8_t *behind)
{
	uint64_t hash = 0xcbf29ce484222325;

	outw(SELECTOR, file->key);
	for (uint32_t i = 0; i < file->size; i++)
		hash = (hash ^ inb(DATA)) * 0x100000001b3;
	*behind = inb(DATA);
	return hash;
}

void test_directory(void)
{
	uint8_t number[4];
	unsigned count, sorted = 0, in_order = 0, reserved = 0, ended = 0;

	topic("directory");
	fw_cfg_read(KEY_FILE_DIR, number, 4);
	count = number[3] | number[2] << 8;
	CHECK("files fit", number[0] == 0 && number[1] == 0 && count > 0 && count <= FILES_MAX, 1);
	for (unsigned i = 0; i < count * sizeof(struct file); i++)
		((uint8_t *)files)[i] = inb(DATA);
	CHECK("nothing follows the last", inb(DATA), 0);
	for (unsigned i = 0; i < count; i++) {
		uint8_t behind;

		files[i].size = __builtin_bswap32(files[i].size);
		files[i].key = (uint16_t)(files[i].key << 8 | files[i].key >> 8);
		sorted += i == 0 || memcmp(files[i - 1].name, files[i].name, NAME_BYTES) < 0;
		in_order += files[i].key == KEY_FILE_FIRST + i;
		reserved += files[i].reserved;
		print("file %s %u %lx\n", files[i].name, files[i].size, sum_of(&files[i], &behind));
		ended += behind == 0;
	}
	CHECK("files are sorted by name", sorted == count, 1);
	CHECK("keys follow one another", in_order == count, 1);
	CHECK("what is reserved is 0", reserved, 0);
	CHECK("files end where the directory says", ended == count, 1);
}
