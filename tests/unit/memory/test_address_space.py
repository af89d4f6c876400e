"""Address spaces: which region answers at an address, and what happens where several would."""

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.memory.address_space import BEHIND_PRIORITY, PCI_PRIORITY, AddressSpace
from mpvm.memory.region import Region


def region(name: str, size: int, value: int = 0, seen: list[tuple[int, int, int]] | None = None) -> Region:
    writes = seen if seen is not None else []
    return Region(
        name,
        size,
        lambda offset, width: int.from_bytes(bytes([value + offset]) * width, "little"),
        lambda offset, width, data: writes.append((offset, width, data)),
    )


@pytest.fixture
def space() -> AddressSpace:
    return AddressSpace("ports", 0x10000)


def test_nobody_answers_with_ones(space: AddressSpace) -> None:
    assert space.read(0x100, 4) == 0xFFFFFFFF
    space.write(0x100, 4, 0)


def test_two_devices_of_the_board_do_not_overlap(space: AddressSpace) -> None:
    space.map(0x100, region("a", 8))
    space.map(0x108, region("b", 8))
    for base, size in ((0x107, 1), (0xF9, 8), (0x100, 8), (0xF0, 0x40)):
        with pytest.raises(DeviceError, match=r"ports: c at .* overlaps (a|b) at"):
            space.map(base, region("c", size))


def test_a_region_stays_inside_its_space(space: AddressSpace) -> None:
    with pytest.raises(DeviceError, match="does not fit"):
        space.map(0xFFF9, region("a", 8))


def test_the_board_answers_before_what_is_behind_it(space: AddressSpace) -> None:
    seen: list[tuple[int, int, int]] = []
    space.map(0xE8, region("behind", 4, 0x40, seen), BEHIND_PRIORITY)
    space.map(0xE9, region("console", 1, 0xE9))
    assert [space.read(port, 1) for port in range(0xE8, 0xED)] == [0x40, 0xE9, 0x42, 0x43, 0xFF]
    space.write(0xEA, 2, 0x1234)
    assert seen == [(2, 2, 0x1234)]
    space.unmap(0xE9)
    assert space.read(0xE9, 1) == 0x41


def test_an_access_that_leaves_a_region_is_made_byte_by_byte(space: AddressSpace) -> None:
    space.map(0xE8, region("behind", 4, 0x40), BEHIND_PRIORITY)
    space.map(0xE9, region("console", 1, 0xE9))
    assert space.read(0xE8, 4) == 0x4342E940
    assert space.read(0xEA, 4) == 0xFFFF4342


def test_of_two_functions_the_later_one_answers_and_the_board_before_both(space: AddressSpace) -> None:
    first, second = region("first", 0x100, 0x00), region("second", 0x80, 0x10)
    space.map(0xC000, first, PCI_PRIORITY)
    space.map(0xC010, second, PCI_PRIORITY)
    space.map(0xC020, region("board", 1, 0xBB))
    assert [space.read(0xC000 + at, 1) for at in (0x0F, 0x10, 0x1F, 0x20, 0x21, 0x8F, 0x90)] == [
        *(0x0F, 0x10, 0x1F, 0xBB, 0x21, 0x8F, 0x90),
    ]
    space.unmap(0xC010, second)
    assert space.read(0xC010, 1) == 0x10
    assert space.find(0xC010) == (0xC000, first)


def test_the_region_that_is_named_is_unmapped(space: AddressSpace) -> None:
    one, two = region("one", 4, 1), region("two", 4, 2)
    space.map(0xC000, one, PCI_PRIORITY)
    space.map(0xC000, two, PCI_PRIORITY)
    space.unmap(0xC000, one)
    assert space.read(0xC000, 1) == 2
    with pytest.raises(DeviceError, match="nothing is mapped at 0xc000"):
        space.unmap(0xC000, one)


def test_a_string_goes_byte_by_byte_to_who_takes_no_strings(space: AddressSpace) -> None:
    seen: list[tuple[int, int, int]] = []
    space.map(0x100, region("a", 8, seen=seen))
    space.write_string(0x102, b"\x01\x02")
    assert seen == [(2, 1, 1), (2, 1, 2)]
    space.write_string(0x200, b"nobody")
