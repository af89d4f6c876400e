"""The multiple APIC description table (ACPI 6.5, 5.2.12): which CPUs and interrupt controllers there are."""

import struct
from collections.abc import Sequence
from typing import Final

from mpvm.hw.intc import ioapic

LOCAL_APIC_ADDRESS: Final = 0xFEE00000
SCI_INT: Final = 9

MADT_REVISION: Final = 5
PCAT_COMPAT: Final = 1
MADT_LOCAL_APIC, MADT_IO_APIC, MADT_INTERRUPT_OVERRIDE, MADT_LOCAL_APIC_NMI = 0, 1, 2, 4
# Flags of a local APIC (table 5.47). One that is neither is no CPU, to a guest that knows the second flag:
# ACPI 6.3 added it, and a MADT of revision 5 has it.
LOCAL_APIC_ENABLED, LOCAL_APIC_ONLINE_CAPABLE = 1 << 0, 1 << 1
BUS_ISA: Final = 0
MPS_CONFORMS, MPS_LEVEL_HIGH = 0x0, 0xD
ALL_PROCESSORS: Final = 0xFF
LINT1: Final = 1


def local_apic(uid: int, apic_id: int, flags: int) -> bytes:
    """A processor local APIC structure (5.2.12.2); a CPU's _MAT gives one, too."""
    return struct.pack("<BBBBI", MADT_LOCAL_APIC, 8, uid, apic_id, flags)


def madt_body(apic_ids: Sequence[int], absent: frozenset[int], ioapic_id: int) -> bytes:
    """The table without its header.

    `apic_ids` has every CPU that can be, by its index, which is its processor UID; those in `absent` are not
    there, and may come.
    """
    body = struct.pack("<II", LOCAL_APIC_ADDRESS, PCAT_COMPAT)
    for index, apic_id in enumerate(apic_ids):
        body += local_apic(
            index, apic_id, LOCAL_APIC_ONLINE_CAPABLE if index in absent else LOCAL_APIC_ENABLED
        )
    body += struct.pack("<BBBBII", MADT_IO_APIC, 12, ioapic_id, 0, ioapic.BASE_ADDRESS, 0)
    # The PIT's output goes to pin 2, where an 8259's cascade would be; the SCI is level triggered.
    for irq, gsi, flags in ((0, 2, MPS_CONFORMS), (SCI_INT, SCI_INT, MPS_LEVEL_HIGH)):
        body += struct.pack("<BBBBIH", MADT_INTERRUPT_OVERRIDE, 10, BUS_ISA, irq, gsi, flags)
    return body + struct.pack("<BBBHB", MADT_LOCAL_APIC_NMI, 6, ALL_PROCESSORS, MPS_CONFORMS, LINT1)
