"""The E820 memory map: what firmware tells a kernel about the address space (ACPI 6.5, chapter 15)."""

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from mpvm.memory.ram import VGA_HOLE_START, Slot

# The last KiB of base memory is the firmware's (Extended BIOS Data Area), and so is its ROM's place.
EBDA_START = 0x9FC00
FIRMWARE_START = 0xE0000
FIRMWARE_END = 0x100000


class E820Type(IntEnum):
    """Address range types (ACPI 6.5, table 15.2)."""

    RAM = 1
    RESERVED = 2
    ACPI_RECLAIMABLE = 3
    ACPI_NVS = 4


class E820Entry(NamedTuple):
    """`size` bytes at `base` of the given type."""

    base: int
    size: int
    type: E820Type

    @property
    def end(self) -> int:
        """The first address behind the range."""
        return self.base + self.size


_ENTRY = struct.Struct("<QQI")
E820_ENTRY_BYTES = _ENTRY.size


def e820_map(slots: Iterable[Slot], reserved: Iterable[E820Entry] = ()) -> list[E820Entry]:
    """The map of a machine with RAM in `slots`, in the order of addresses, no two entries overlapping.

    `reserved` is what the board has beside it.
    RAM between the VGA hole and 1 MiB is where option ROMs and firmware live: it is not offered.
    """
    entries = [
        E820Entry(0, EBDA_START, E820Type.RAM),
        E820Entry(EBDA_START, VGA_HOLE_START - EBDA_START, E820Type.RESERVED),
        E820Entry(FIRMWARE_START, FIRMWARE_END - FIRMWARE_START, E820Type.RESERVED),
    ]
    for slot in sorted(slots):
        start, end = max(slot.gpa, FIRMWARE_END), slot.gpa + slot.size
        if start < end:
            entries.append(E820Entry(start, end - start, E820Type.RAM))
    return sorted((*entries, *reserved))


def encode(entries: Iterable[E820Entry]) -> bytes:
    """The entries as INT 15h, AX=E820h returns them: base u64, size u64, type u32 each."""
    return b"".join(_ENTRY.pack(*entry) for entry in entries)


def base_memory_kib(entries: Sequence[E820Entry]) -> int:
    """KiB of RAM from address 0 on (INT 12h)."""
    return next((entry.size >> 10 for entry in entries if entry.base == 0 and entry.type is E820Type.RAM), 0)


def extended_memory_kib(entries: Sequence[E820Entry]) -> int:
    """KiB of RAM from 1 MiB up to the first hole."""
    return next(
        (entry.size >> 10 for entry in entries if entry.base == 1 << 20 and entry.type is E820Type.RAM), 0
    )
