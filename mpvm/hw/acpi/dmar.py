"""The table that tells of a remapping unit (VT-d 3.3, chapter 8)."""

import struct
from typing import Final

from mpvm.hw.acpi.tables import Table

DMAR_REVISION: Final = 1
INTR_REMAP: Final = 1 << 0
INCLUDE_PCI_ALL: Final = 1 << 0
_DRHD: Final = 0
_SCOPE_IO_APIC: Final = 3
# Host address width, flags, 10 bytes reserved.
_HEAD: Final = struct.Struct("<BB10x")
# Type, length, flags, size of registers, segment, base (8.3).
_UNIT: Final = struct.Struct("<HHBBHQ")
# Type, length, 2 bytes reserved, enumeration ID, bus, and a path of one device and function (8.3.1).
_SCOPE: Final = struct.Struct("<BB2xBBBB")
# QEMU's bus for what is on none; the I/O APIC is device 0 function 0 there.
PLATFORM_BUS: Final = 0xFF


def dmar(base: int, width: int, ioapic_id: int, *, remaps_interrupts: bool) -> Table:
    """A unit at `base` for all functions and the I/O APIC; devices' addresses have `width` bits."""
    scope = _SCOPE.pack(_SCOPE_IO_APIC, _SCOPE.size, ioapic_id, PLATFORM_BUS, 0, 0)
    unit = _UNIT.pack(_DRHD, _UNIT.size + len(scope), INCLUDE_PCI_ALL, 0, 0, base) + scope
    return Table(b"DMAR", DMAR_REVISION, _HEAD.pack(width - 1, INTR_REMAP if remaps_interrupts else 0) + unit)
