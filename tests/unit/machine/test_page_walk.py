"""Linear addresses by the guest's page tables, in every paging mode."""

import struct

import pytest

from mpvm.abi.control_block import GuestState
from mpvm.machine.page_walk import (
    CR0_PG,
    CR4_LA57,
    CR4_PAE,
    CR4_PSE,
    EFER_LMA,
    read_linear,
    translate,
)
from mpvm.memory.ram import GuestRam, ram_slots

PRESENT, LARGE = 0x01, 0x80
NX = 1 << 63
MIB = 1 << 20


@pytest.fixture
def ram() -> GuestRam:
    return GuestRam(memoryview(bytearray(16 * MIB)), ram_slots(16 * MIB))


def put(ram: GuestRam, address: int, entry: int, size: int = 8) -> None:
    ram.write(address, struct.pack("<Q" if size == 8 else "<I", entry))


def long_mode(cr3: int, **more: int) -> GuestState:
    return GuestState(cr0=CR0_PG | 1, cr3=cr3, cr4=more.get("cr4", CR4_PAE), efer=EFER_LMA)


def test_without_paging_an_address_is_itself(ram: GuestRam) -> None:
    assert translate(GuestState(), ram, 0x12345678) == 0x12345678


def test_four_levels_to_a_4_kib_page(ram: GuestRam) -> None:
    linear = 0xFFFF_8123_4567_89AB
    table = 0x1000
    for shift in (39, 30, 21):
        put(ram, table + (linear >> shift & 511) * 8, table + 0x1000 | PRESENT)
        table += 0x1000
    put(ram, table + (linear >> 12 & 511) * 8, 0x777000 | PRESENT | NX)
    assert translate(long_mode(0x1000 | 0x18), ram, linear) == 0x7779AB


@pytest.mark.parametrize(("shift", "levels"), [(30, 1), (21, 2)], ids=["1 GiB", "2 MiB"])
def test_large_pages_end_the_walk(ram: GuestRam, shift: int, levels: int) -> None:
    linear = (1 << shift) + 0x12345
    table = 0x1000
    for upper in (39, 30)[:levels]:
        put(ram, table + (linear >> upper & 511) * 8, table + 0x1000 | PRESENT)
        table += 0x1000
    put(ram, table + (linear >> shift & 511) * 8, 3 << shift | LARGE | PRESENT)
    assert translate(long_mode(0x1000), ram, linear) == (3 << shift) + 0x12345


def test_five_levels(ram: GuestRam) -> None:
    linear = 0x00FF_8123_4567_8000 & ((1 << 56) - 1)
    table = 0x1000
    for shift in (48, 39, 30, 21):
        put(ram, table + (linear >> shift & 511) * 8, table + 0x1000 | PRESENT)
        table += 0x1000
    put(ram, table + (linear >> 12 & 511) * 8, 0x5000 | PRESENT)
    assert translate(long_mode(0x1000, cr4=CR4_PAE | CR4_LA57), ram, linear) == 0x5000


def test_pae_has_four_pointers_aligned_to_32_bytes(ram: GuestRam) -> None:
    put(ram, 0x1020 + 3 * 8, 0x2000 | PRESENT)
    put(ram, 0x2000 + 8, 0x400000 | LARGE | PRESENT)
    guest = GuestState(cr0=CR0_PG | 1, cr3=0x1020, cr4=CR4_PAE)
    assert translate(guest, ram, 0xC0200123) == 0x400123


def test_two_levels_with_4_kib_and_4_mib_pages(ram: GuestRam) -> None:
    put(ram, 0x1000, 0x2000 | PRESENT, 4)
    put(ram, 0x2000 + 5 * 4, 0x9000 | PRESENT, 4)
    put(ram, 0x1004, 0x00800000 | LARGE | PRESENT | 3 << 13, 4)
    guest = GuestState(cr0=CR0_PG | 1, cr3=0x1000, cr4=CR4_PSE)
    assert translate(guest, ram, 0x5123) == 0x9123
    assert translate(guest, ram, 0x400456) == 3 << 32 | 0x800456


def test_without_pse_the_large_bit_means_nothing(ram: GuestRam) -> None:
    put(ram, 0x1000, 0x2000 | LARGE | PRESENT, 4)
    put(ram, 0x2000, 0x9000 | PRESENT, 4)
    assert translate(GuestState(cr0=CR0_PG | 1, cr3=0x1000), ram, 0x10) == 0x9010


def test_what_is_not_present_has_no_address(ram: GuestRam) -> None:
    assert translate(long_mode(0x1000), ram, 0x1234) is None


def test_tables_outside_ram_have_no_address(ram: GuestRam) -> None:
    assert translate(long_mode(0xD0000000), ram, 0x1234) is None


def test_bytes_are_read_across_pages_up_to_the_first_that_is_not_mapped(ram: GuestRam) -> None:
    for level in (0x1000, 0x2000, 0x3000):
        put(ram, level, level + 0x1000 | PRESENT)
    put(ram, 0x4000, 0x9000 | PRESENT)
    put(ram, 0x4008, 0x7000 | PRESENT)
    ram.write(0x9FFC, b"abcd")
    ram.write(0x7000, b"efgh")
    guest = long_mode(0x1000)
    assert read_linear(guest, ram, 0xFFC, 8) == b"abcdefgh"
    assert read_linear(guest, ram, 0x1FFC, 8) == b"\0\0\0\0"
    assert read_linear(guest, ram, 0x2000, 8) == b""
