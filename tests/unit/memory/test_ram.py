"""Guest RAM: the PC's layout, and access that never leaves a slot."""

import mmap
import os
from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError, DeviceError
from mpvm.memory.ram import GuestRam, Slot, ram_slots

MIB = 1 << 20
GIB = 1 << 30


def test_a_small_machine_has_ram_on_both_sides_of_the_vga_hole() -> None:
    assert ram_slots(64 * MIB) == [Slot(0, 0xA0000, 0), Slot(0xC0000, 64 * MIB - 0xC0000, 0xC0000)]


def test_three_gib_of_ram_lie_wholly_below_4_gib() -> None:
    assert ram_slots(3 * GIB)[-1] == Slot(0xC0000, 3 * GIB - 0xC0000, 0xC0000)


def test_ram_beyond_3_gib_goes_on_at_4_gib_and_follows_in_the_block() -> None:
    assert ram_slots(5 * GIB)[-1] == Slot(4 * GIB, 2 * GIB, 3 * GIB)


def test_a_board_may_have_less_ram_below_4_gib() -> None:
    assert ram_slots(3 * GIB, 2 * GIB)[-1] == Slot(4 * GIB, GIB, 2 * GIB)


@pytest.mark.parametrize("size", [1 * MIB, 2 * MIB, 3 * GIB - 4096, 3 * GIB + 4096, 64 * GIB])
def test_slots_fill_the_block_up_to_the_vga_hole_and_no_further(size: int) -> None:
    slots = ram_slots(size)
    assert sum(slot.size for slot in slots) == size - 0x20000
    assert max(slot.offset + slot.size for slot in slots) == size


@pytest.mark.parametrize("size", [0, 4096, MIB - 4096, MIB + 1, -MIB])
def test_a_size_that_no_machine_can_have_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=r"multiple of 4096 and 1 MiB or more"):
        ram_slots(size)


@pytest.fixture
def ram() -> GuestRam:
    return GuestRam(memoryview(bytearray(MIB)), ram_slots(MIB))


def test_what_is_written_is_read_back(ram: GuestRam) -> None:
    ram.write(0xFFFF0, b"0123456789abcdef")
    assert ram.read(0xFFFF8, 8) == b"89abcdef"


def test_a_view_is_the_ram_itself(ram: GuestRam) -> None:
    ram.view(0x1000, 4)[:] = b"abcd"
    assert ram.read(0x1000, 4) == b"abcd"


def test_zeroed_ram_reads_as_zero(ram: GuestRam) -> None:
    ram.write(0x1000, b"abcd")
    ram.zero(0x1001, 2)
    assert ram.read(0x1000, 4) == b"a\0\0d"


@pytest.mark.parametrize(
    ("gpa", "size"),
    [(0x1000, 0x3000), (0x1001, 0x3000), (0x0FFF, 0x3002), (0x1001, 0x800), (0x1800, 0x1000), (0x1000, 0)],
)
def test_zeroing_shared_memory_zeroes_what_was_asked_and_nothing_else(gpa: int, size: int) -> None:
    with mmap.mmap(-1, MIB) as mapping:
        mapping[:] = b"\xee" * MIB
        ram = GuestRam(memoryview(mapping), [Slot(0, MIB // 2, MIB // 2)])
        ram.zero(gpa, size)
        before, after = MIB // 2 + gpa, MIB // 2 - gpa - size
        ram.release()
        assert mapping[:] == b"\xee" * before + bytes(size) + b"\xee" * after


def test_zeroed_pages_of_shared_memory_take_no_memory() -> None:
    path = Path("/dev/shm") / f"mpvm-test-ram-{os.getpid()}"
    with path.open("w+b") as file:
        path.unlink()
        file.truncate(MIB)
        with mmap.mmap(file.fileno(), MIB) as mapping:
            ram = GuestRam(memoryview(mapping), ram_slots(MIB))
            ram.write(0xC0000, b"\xee" * 0x40000)
            ram.zero(0xC0000, 0x40000)
            ram.release()
            assert os.fstat(file.fileno()).st_blocks == 0


def test_high_ram_is_found_behind_low_ram_in_the_block() -> None:
    block = bytearray(0x3000)
    ram = GuestRam(memoryview(block), [Slot(4 * GIB, 0x1000, 0x2000), Slot(0, 0x2000, 0)])
    ram.write(4 * GIB + 1, b"x")
    assert block[0x2001] == ord("x")


@pytest.mark.parametrize(
    ("gpa", "size"),
    [(0x9FFFF, 2), (0xA0000, 1), (0xBFFFF, 2), (0xFFFFF, 2), (MIB, 1), (-1, 1), (0, -1), (0x9FFFF, 0x30000)],
)
def test_an_access_that_leaves_ram_is_refused_by_its_address(ram: GuestRam, gpa: int, size: int) -> None:
    assert not ram.contains(gpa, size)
    with pytest.raises(DeviceError, match=rf"{gpa:#x} do not lie in RAM \(0x0-0x9ffff, 0xc0000-0xfffff\)"):
        ram.view(gpa, size)


def test_the_end_of_a_slot_is_the_first_address_behind_it(ram: GuestRam) -> None:
    assert ram.end_of_slot(0x9FFFF) == 0xA0000
    with pytest.raises(DeviceError, match="0xa0000 is not RAM"):
        ram.end_of_slot(0xA0000)


def test_a_slot_that_leaves_its_block_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"ends at 0x2000 of a block of 0x1000 bytes"):
        GuestRam(memoryview(bytearray(0x1000)), [Slot(0, 0x2000, 0)])


def test_released_ram_lets_its_block_be_resized() -> None:
    block = bytearray(MIB)
    ram = GuestRam(memoryview(block), ram_slots(MIB))
    ram.release()
    block.clear()
    with pytest.raises(ValueError, match="released"):
        ram.read(0, 1)
