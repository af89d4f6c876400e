"""The test guest's exit."""

import pytest

from mpvm.hw.clock import ManualClock
from mpvm.hw.misc.isa_debug_exit import IsaDebugExit
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import FakeSystem, plug


def make(base: int = 0xF4, size: int = 4) -> tuple[IsaDebugExit, AddressSpace, list[int]]:
    statuses: list[int] = []
    device = IsaDebugExit(iobase=base, iosize=size)
    plug(device, FakeSystem(ManualClock(), debug_exit=statuses.append))
    space = AddressSpace("io", 0x10000)
    for port, region in device.ports():
        space.map(port, region)
    return device, space, statuses


@pytest.mark.parametrize(("size", "value", "status"), [(1, 0, 1), (1, 0x10, 0x21), (4, 0x12345, 0x2468B)])
def test_the_status_is_twice_the_value_plus_one(size: int, value: int, status: int) -> None:
    _, space, statuses = make()
    space.write(0xF4, size, value)
    assert statuses == [status]


def test_every_port_of_the_range_exits_and_none_beside_it() -> None:
    _, space, statuses = make(base=0x501, size=2)
    space.write(0x500, 1, 1)
    space.write(0x503, 1, 1)
    assert statuses == []
    space.write(0x502, 1, 1)
    assert statuses == [3]


def test_reading_gives_zero_and_exits_nothing() -> None:
    _, space, statuses = make()
    assert (space.read(0xF4, 1), statuses) == (0, [])


def test_the_guest_waits_for_its_end() -> None:
    device, _, _ = make()
    assert not device.ports()[0][1].posted


def test_it_has_no_state_to_lose() -> None:
    device, space, statuses = make()
    device.load(device.state())
    device.reset()
    space.write(0xF4, 1, 2)
    assert statuses == [5]
