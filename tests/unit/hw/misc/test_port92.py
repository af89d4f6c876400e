"""System control port A."""

import pytest

from mpvm.hw.clock import ManualClock
from mpvm.hw.misc.port92 import Port92
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import FakeSystem, plug


class Rig:
    def __init__(self) -> None:
        self.resets = 0
        self.a20: list[bool] = []
        self.device = Port92()
        self.device.set_a20 = self.a20.append
        plug(self.device, FakeSystem(ManualClock(), request_reset=self.request_reset))
        self.space = AddressSpace("io", 0x10000)
        for base, region in self.device.ports():
            self.space.map(base, region)

    def request_reset(self) -> None:
        self.resets += 1


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a20_is_open_at_first(rig: Rig) -> None:
    assert rig.space.read(0x92, 1) == 0x02


def test_bit_1_drives_a20_and_reads_back(rig: Rig) -> None:
    rig.space.write(0x92, 1, 0x00)
    assert (rig.a20[-1], rig.space.read(0x92, 1)) == (False, 0x00)
    rig.space.write(0x92, 1, 0x02)
    assert (rig.a20[-1], rig.space.read(0x92, 1)) == (True, 0x02)


def test_only_a_rising_bit_0_resets(rig: Rig) -> None:
    rig.space.write(0x92, 1, 0x02)
    assert rig.resets == 0
    rig.space.write(0x92, 1, 0x03)
    rig.space.write(0x92, 1, 0x03)
    assert rig.resets == 1
    rig.space.write(0x92, 1, 0x02)
    rig.space.write(0x92, 1, 0x03)
    assert rig.resets == 2


def test_other_bits_read_zero(rig: Rig) -> None:
    rig.space.write(0x92, 1, 0xFE)
    assert rig.space.read(0x92, 1) == 0x02


def test_reset_opens_a20_and_lets_the_next_reset_through(rig: Rig) -> None:
    rig.space.write(0x92, 1, 0x01)
    rig.device.reset()
    assert (rig.a20[-1], rig.space.read(0x92, 1)) == (True, 0x02)
    rig.space.write(0x92, 1, 0x01)
    assert rig.resets == 2


def test_state_takes_a20_along_and_asks_for_no_reset(rig: Rig) -> None:
    rig.space.write(0x92, 1, 0x01)
    other = Rig()
    other.device.load(rig.device.state())
    assert (other.a20, other.resets, other.space.read(0x92, 1)) == ([False], 0, 0x01)
