"""The Q35's host bridge: configuration space in memory."""

import pytest

from mpvm.hw.bus import SystemBus, Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.pci.ich9 import LPC_DEVICE, Ich9Lpc
from mpvm.hw.pci.q35 import MMCONFIG_BASE, Mch, Q35Host
from mpvm.qom.qdev import qdev_realize
from tests.unit.hw.plug import FakeSystem

ONES = 0xFFFFFFFF


class Rig:
    def __init__(self) -> None:
        system_bus = SystemBus()
        system_bus.wiring = self.wiring = Wiring(FakeSystem(ManualClock()), lambda irq: IrqLine())
        host = Q35Host()
        qdev_realize(host, system_bus)
        self.bus = host.bus
        self.bus.add(Mch(), 0)
        self.bus.add(Ich9Lpc(), LPC_DEVICE)

    def read(self, device: int, register: int, size: int = 4, bus: int = 0) -> int:
        return self.wiring.memory.read(MMCONFIG_BASE + (bus << 20 | device << 15 | register), size)

    def write(self, device: int, register: int, size: int, value: int) -> None:
        self.wiring.memory.write(MMCONFIG_BASE + (device << 15 | register), size, value)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_configuration_space_is_in_memory(rig: Rig) -> None:
    assert [rig.read(0, 0), rig.read(LPC_DEVICE, 0)] == [0x29C08086, 0x29188086]
    assert [rig.read(LPC_DEVICE, 1, 1), rig.read(LPC_DEVICE, 2, 2)] == [0x80, 0x2918]
    rig.write(LPC_DEVICE, 0x69, 1, 0x05)
    assert rig.bus.read(LPC_DEVICE, 0, 0x68, 4) == 0x80800580


@pytest.mark.parametrize(
    ("device", "register", "bus"), [(3, 0, 0), (0, 0, 1), (0, 0x100, 0), (0, 0xFFC, 0), (0, 0, 255)]
)
def test_nobody_answers_elsewhere_in_it(rig: Rig, device: int, register: int, bus: int) -> None:
    assert rig.read(device, register, bus=bus) == ONES


def test_the_mch_says_where_configuration_space_is_and_locks_it(rig: Rig) -> None:
    for register in (0x60, 0x64, 0x9C):
        rig.bus.write(0, 0, register, 4, ONES)
    assert rig.bus.read(0, 0, 0x60, 4) == MMCONFIG_BASE | 1
    assert rig.bus.read(0, 0, 0x64, 4) == 0
    assert rig.bus.read(0, 0, 0x9D, 1) == 0x12
