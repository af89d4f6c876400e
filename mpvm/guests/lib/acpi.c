#include "acpi.h"

#include <stddef.h>

#include "machine.h"
#include "power.h"
#include "string.h"

#define BIOS_AREA 0xe0000
#define BIOS_AREA_END 0x100000
/* The BIOS data area holds the segment of the extended BIOS data area here. */
#define EBDA_SEGMENT 0x40e
#define EBDA_SCAN_BYTES 1024
/* start.S maps no more. */
#define MAPPED_END 0x100000000

#define FADT_TMR_VAL_EXT 0x100
#define FADT_RESET_REG_SUP 0x400
#define ADDRESS_SPACE_IO 1

#define MADT_LOCAL_APIC 0
#define MADT_IO_APIC 1
#define MADT_LOCAL_APIC_ADDRESS 5
#define MADT_LOCAL_X2APIC 9
#define MADT_CPU_ENABLED 1

#define AML_ZERO 0x00
#define AML_ONE 0x01
#define AML_NAME 0x08
#define AML_BYTE 0x0a
#define AML_WORD 0x0b
#define AML_DWORD 0x0c
#define AML_PACKAGE 0x12
#define AML_ROOT '\\'

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

#define RSDP_V1_BYTES 20

struct table {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[22];
	uint32_t creator_revision;
} __attribute__((packed));

_Static_assert(sizeof(struct table) == 36, "ACPI 6.4, table 5.4");

struct fadt {
	struct table header;
	uint32_t firmware_control;
	uint32_t dsdt;
	uint8_t reserved1[4];
	uint32_t smi_command;
	uint8_t acpi_enable;
	uint8_t reserved2[3];
	uint32_t pm1a_event;
	uint32_t pm1b_event;
	uint32_t pm1a_control;
	uint32_t pm1b_control;
	uint32_t pm2_control;
	uint32_t pm_timer;
	uint8_t reserved3[32];
	uint32_t flags;
	uint8_t reset_space;
	uint8_t reserved4[3];
	uint64_t reset_address;
	uint8_t reset_value;
	uint8_t reserved5[11];
	uint64_t x_dsdt;
} __attribute__((packed));

_Static_assert(__builtin_offsetof(struct fadt, pm_timer) == 76, "ACPI 6.4, table 5.9");
_Static_assert(__builtin_offsetof(struct fadt, flags) == 112, "ACPI 6.4, table 5.9");
_Static_assert(__builtin_offsetof(struct fadt, reset_value) == 128, "ACPI 6.4, table 5.9");
_Static_assert(__builtin_offsetof(struct fadt, x_dsdt) == 140, "ACPI 6.4, table 5.9");

struct madt {
	struct table header;
	uint32_t local_apic;
	uint32_t flags;
	uint8_t entries[];
} __attribute__((packed));

struct madt_local_apic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_io_apic {
	uint8_t type, length, id, reserved;
	uint32_t address;
	uint32_t gsi_base;
} __attribute__((packed));

struct madt_local_apic_address {
	uint8_t type, length;
	uint16_t reserved;
	uint64_t address;
} __attribute__((packed));

struct madt_local_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t apic_id;
	uint32_t flags;
	uint32_t uid;
} __attribute__((packed));

struct acpi acpi;

static bool sums_to_zero(const void *bytes, uint32_t length)
{
	const uint8_t *byte = bytes;
	uint8_t sum = 0;

	for (uint32_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + byte[i]);
	return sum == 0;
}

static const struct rsdp *scan_for_rsdp(uint64_t start, uint64_t end)
{
	for (uint64_t address = start; address < end; address += 16) {
		const struct rsdp *candidate = physical(address);

		if (!memcmp(candidate->signature, "RSD PTR ", 8) && sums_to_zero(candidate, RSDP_V1_BYTES))
			return candidate;
	}
	return NULL;
}

static const struct rsdp *find_rsdp(void)
{
	const uint16_t *segment = physical(EBDA_SEGMENT);
	uint64_t ebda = (uint64_t)*segment << 4;
	const struct rsdp *found = NULL;

	if (ebda >= 0x80000 && ebda < 0xa0000)
		found = scan_for_rsdp(ebda, ebda + EBDA_SCAN_BYTES);
	if (!found)
		found = scan_for_rsdp(BIOS_AREA, BIOS_AREA_END);
	if (!found)
		panic("no ACPI RSDP in the EBDA or at e0000-fffff");
	return found;
}

static const struct table *table_at(uint64_t address)
{
	const struct table *table = physical(address);

	if (address == 0 || address >= MAPPED_END)
		panic("ACPI table at %lx: not below 4 GiB", address);
	if (table->length < sizeof *table || !sums_to_zero(table, table->length))
		panic("ACPI table at %lx: wrong length or checksum", address);
	return table;
}

/* Walks the XSDT, or the RSDT where there is none. */
static const struct table *find_table(const struct rsdp *rsdp, const char *signature)
{
	bool extended = rsdp->revision >= 2 && rsdp->xsdt;
	const struct table *root = table_at(extended ? rsdp->xsdt : rsdp->rsdt);
	uint32_t entry_bytes = extended ? 8 : 4;
	const uint8_t *entry = (const uint8_t *)(root + 1);
	const uint8_t *end = (const uint8_t *)root + root->length;

	for (; entry + entry_bytes <= end; entry += entry_bytes) {
		const struct table *table;
		uint64_t address = 0;

		memcpy(&address, entry, entry_bytes);
		table = table_at(address);
		if (!memcmp(table->signature, signature, 4))
			return table;
	}
	panic("no ACPI table %s", signature);
}

static void add_cpu(uint32_t apic_id, uint32_t flags)
{
	if (!(flags & MADT_CPU_ENABLED))
		return;
	/* An xAPIC destination has 8 bits, and ff means everyone. */
	if (apic_id >= 0xff)
		panic("MADT: local APIC id %u is above 254", apic_id);
	if (acpi.cpu_count == MAX_CPUS)
		panic("MADT: more than %d CPUs", MAX_CPUS);
	acpi.apic_id[acpi.cpu_count++] = (uint8_t)apic_id;
}

static void read_madt(const struct madt *madt)
{
	const uint8_t *entry = madt->entries;
	const uint8_t *end = (const uint8_t *)madt + madt->header.length;

	acpi.local_apic = madt->local_apic;
	for (; entry + 2 <= end && entry[1] >= 2; entry += entry[1]) {
		switch (entry[0]) {
		case MADT_LOCAL_APIC: {
			const struct madt_local_apic *cpu = (const void *)entry;

			add_cpu(cpu->apic_id, cpu->flags);
			break;
		}
		case MADT_IO_APIC: {
			const struct madt_io_apic *io_apic = (const void *)entry;

			if (io_apic->gsi_base == 0)
				acpi.io_apic = io_apic->address;
			break;
		}
		case MADT_LOCAL_APIC_ADDRESS: {
			const struct madt_local_apic_address *override = (const void *)entry;

			acpi.local_apic = override->address;
			break;
		}
		case MADT_LOCAL_X2APIC: {
			const struct madt_local_x2apic *cpu = (const void *)entry;

			add_cpu(cpu->apic_id, cpu->flags);
			break;
		}
		}
	}
	if (acpi.local_apic >= MAPPED_END)
		panic("MADT: local APICs at %lx: not below 4 GiB", acpi.local_apic);
}

/* An integer constant of AML (ACPI 6.4, section 20.2.3); steps over it. */
static bool aml_integer(const uint8_t **at, uint8_t *value)
{
	const uint8_t *code = *at;

	switch (code[0]) {
	case AML_ZERO:
	case AML_ONE:
		*value = code[0];
		*at += 1;
		return true;
	case AML_BYTE:
		*at += 2;
		break;
	case AML_WORD:
		*at += 3;
		break;
	case AML_DWORD:
		*at += 5;
		break;
	default:
		return false;
	}
	*value = code[1];
	return true;
}

/* Name (_Sn_, Package () { SLP_TYPa, SLP_TYPb, ... }), found by its bytes: that saves an interpreter. */
static bool find_sleep_type(const struct table *dsdt, const char *state, uint8_t *type_a, uint8_t *type_b)
{
	const uint8_t *code = (const uint8_t *)(dsdt + 1);
	const uint8_t *end = (const uint8_t *)dsdt + dsdt->length;

	/* 4 bytes of name, package, its length and count, two integers. */
	for (const uint8_t *name = code + 2; name + 12 <= end; name++) {
		const uint8_t *at = name + 4;

		if (memcmp(name, state, 4) || *at != AML_PACKAGE)
			continue;
		if (name[-1] != AML_NAME && !(name[-1] == AML_ROOT && name[-2] == AML_NAME))
			continue;
		at++;
		at += (*at >> 6) + 1; /* PkgLength: its two top bits count the bytes that follow */
		at++;                 /* NumElements */
		return aml_integer(&at, type_a) && aml_integer(&at, type_b);
	}
	return false;
}

static void read_fadt(const struct fadt *fadt)
{
	uint64_t dsdt = fadt->dsdt;

	if (!dsdt && fadt->header.length >= __builtin_offsetof(struct fadt, x_dsdt) + 8)
		dsdt = fadt->x_dsdt;
	if (!fadt->pm_timer)
		panic("FADT: no PM timer");
	acpi.pm_timer = (uint16_t)fadt->pm_timer;
	acpi.pm_timer_mask = fadt->flags & FADT_TMR_VAL_EXT ? 0xffffffff : 0x00ffffff;
	acpi.smi_command = (uint16_t)fadt->smi_command;
	acpi.acpi_enable = fadt->acpi_enable;
	acpi.pm1a_event = (uint16_t)fadt->pm1a_event;
	acpi.pm1a_control = (uint16_t)fadt->pm1a_control;
	acpi.pm1b_control = (uint16_t)fadt->pm1b_control;
	if ((fadt->flags & FADT_RESET_REG_SUP) && fadt->reset_space == ADDRESS_SPACE_IO) {
		acpi.reset_port = (uint16_t)fadt->reset_address;
		acpi.reset_value = fadt->reset_value;
	}
	acpi.facs = fadt->firmware_control;
	acpi.has_s3 = find_sleep_type(table_at(dsdt), "_S3_", &acpi.s3_type_a, &acpi.s3_type_b);
	acpi.has_s5 = find_sleep_type(table_at(dsdt), "_S5_", &acpi.s5_type_a, &acpi.s5_type_b);
}

void acpi_init(void)
{
	const struct rsdp *rsdp = find_rsdp();

	acpi.rsdp = (uintptr_t)rsdp;
	read_madt((const struct madt *)find_table(rsdp, "APIC"));
	read_fadt((const struct fadt *)find_table(rsdp, "FACP"));
}
