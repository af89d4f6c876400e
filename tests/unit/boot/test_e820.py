"""The E820 map that every protocol hands on."""

import itertools
import struct

import pytest

from mpvm.boot import e820
from mpvm.boot.e820 import E820Entry, E820Type, e820_map
from mpvm.memory.ram import ram_slots

MIB, GIB = 1 << 20, 1 << 30


def test_a_64_mib_machine_offers_base_memory_and_memory_from_1_mib() -> None:
    assert e820_map(ram_slots(64 * MIB)) == [
        E820Entry(0, 0x9FC00, E820Type.RAM),
        E820Entry(0x9FC00, 0x400, E820Type.RESERVED),
        E820Entry(0xE0000, 0x20000, E820Type.RESERVED),
        E820Entry(MIB, 63 * MIB, E820Type.RAM),
    ]


def test_memory_above_3_gib_is_offered_from_4_gib_on() -> None:
    assert e820_map(ram_slots(5 * GIB))[-2:] == [
        E820Entry(MIB, 3 * GIB - MIB, E820Type.RAM),
        E820Entry(4 * GIB, 2 * GIB, E820Type.RAM),
    ]


def test_a_1_mib_machine_has_no_extended_memory() -> None:
    entries = e820_map(ram_slots(MIB))
    assert [entry for entry in entries if entry.type is E820Type.RAM] == [E820Entry(0, 0x9FC00, E820Type.RAM)]
    assert e820.extended_memory_kib(entries) == 0


@pytest.mark.parametrize("size", [MIB, 16 * MIB, 3 * GIB, 8 * GIB])
def test_no_two_ranges_overlap(size: int) -> None:
    entries = e820_map(ram_slots(size))
    assert all(a.end <= b.base for a, b in itertools.pairwise(entries))


def test_memory_sizes_are_counted_up_to_the_first_hole() -> None:
    entries = e820_map(ram_slots(5 * GIB))
    assert e820.base_memory_kib(entries) == 639
    assert e820.extended_memory_kib(entries) == 3 * GIB // 1024 - 1024


def test_an_entry_is_20_bytes_base_size_type() -> None:
    data = e820.encode([E820Entry(1, 2, E820Type.ACPI_NVS), E820Entry(3, 4, E820Type.RAM)])
    assert struct.unpack("<QQIQQI", data) == (1, 2, 4, 3, 4, 1)


def test_what_a_board_has_beside_ram_is_in_its_place() -> None:
    window = E820Entry(0xB0000000, 256 * MIB, E820Type.RESERVED)
    entries = e820_map(ram_slots(5 * GIB, 2 * GIB), [window])
    assert entries[-2:] == [window, E820Entry(4 * GIB, 3 * GIB, E820Type.RAM)]
