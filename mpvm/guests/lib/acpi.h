/* What guests need of the ACPI tables (ACPI 6.4, chapter 5). */
#ifndef GUEST_ACPI_H
#define GUEST_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

struct acpi {
	uint64_t rsdp;
	uint64_t local_apic;
	uint64_t io_apic;
	int cpu_count;
	uint8_t apic_id[MAX_CPUS];

	uint16_t pm_timer;
	uint32_t pm_timer_mask;
	uint16_t smi_command;
	uint8_t acpi_enable;
	uint16_t pm1a_event;
	uint16_t pm1a_control;
	uint16_t pm1b_control;

	uint16_t reset_port; /* 0: none */
	uint8_t reset_value;

	uint64_t facs;

	bool has_s3;
	uint8_t s3_type_a;
	uint8_t s3_type_b;
	bool has_s5;
	uint8_t s5_type_a;
	uint8_t s5_type_b;
};

extern struct acpi acpi;

/* In the FACS: Firmware_Waking_Vector (ACPI 6.4, section 5.2.10). */
#define ACPI_FACS_WAKING_VECTOR 12

/* Reads the tables; ends in a panic that names the table when one is missing or damaged. */
void acpi_init(void);

#endif
