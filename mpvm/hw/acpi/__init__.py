"""ACPI: fixed hardware, and the tables that describe it."""
