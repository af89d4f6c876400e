"""The PCI test device: tests are selected, described, and their writes counted."""

import struct

import pytest

from mpvm.hw.bus import Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.misc.pci_testdev import PciTestdev
from mpvm.hw.pci.bus import PciBus
from tests.unit.hw.plug import FakeSystem

MEMORY, PORTS = 0xFEBF0000, 0xC000
HEADER = struct.Struct("<BBxxIBxxxI")
NO_EVENTFD, WILDCARD, DATAMATCH = range(3)


class Rig:
    def __init__(self, membar: object = 0) -> None:
        self.wiring = Wiring(FakeSystem(ManualClock()), lambda irq: IrqLine())
        self.bus = PciBus()
        self.bus.wiring = self.wiring
        device = PciTestdev()
        device.set_property("membar", membar)
        self.bus.add(device, 2)
        for offset, value in ((0x10, MEMORY), (0x14, PORTS), (0x04, 3)):
            self.bus.write(2, 0, offset, 4, value)
        self.spaces = {MEMORY: self.wiring.memory, PORTS: self.wiring.ports}

    def write(self, base: int, offset: int, value: int, size: int = 1) -> None:
        self.spaces[base].write(base + offset, size, value)

    def read(self, base: int, offset: int, size: int = 1) -> int:
        return self.spaces[base].read(base + offset, size)

    def header(self, base: int) -> tuple[int, ...]:
        return HEADER.unpack(bytes(self.read(base, offset) for offset in range(HEADER.size)))

    def count(self, base: int) -> int:
        return self.read(base, 12, 4)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_it_is_the_device_that_test_suites_look_for(rig: Rig) -> None:
    assert rig.bus.read(2, 0, 0, 4) == 0x00051B36
    assert rig.bus.read(2, 0, 8, 4) == 0x00FF0000


@pytest.mark.parametrize(
    ("base", "kind", "header", "name"),
    [
        (MEMORY, NO_EVENTFD, (0, 1, 2048, 0xFA, 0), b"mmio-no-eventfd"),
        (MEMORY, WILDCARD, (1, 1, 2049, 0xCE, 0), b"mmio-wildcard-eventfd"),
        (MEMORY, DATAMATCH, (2, 1, 2050, 0xFA, 0), b"mmio-datamatch-eventfd"),
        (PORTS, NO_EVENTFD, (3, 1, 131, 0xFA, 0), b"portio-no-eventfd"),
        (PORTS, DATAMATCH, (5, 1, 133, 0xFA, 0), b"portio-datamatch-eventfd"),
    ],
)
def test_a_selected_test_describes_itself(
    rig: Rig, base: int, kind: int, header: tuple[int, ...], name: bytes
) -> None:
    rig.write(base, 0, kind)
    assert rig.header(base) == header
    assert bytes(rig.read(base, 16 + i) for i in range(len(name) + 1)) == name + b"\0"
    assert rig.read(base, 16 + len(name) + 1) == 0


def test_nothing_is_read_without_a_test(rig: Rig) -> None:
    assert rig.header(MEMORY) == (0, 0, 0, 0, 0)
    rig.write(MEMORY, 0, DATAMATCH)
    rig.write(MEMORY, 0, 3)
    assert rig.header(MEMORY) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("base", [MEMORY, PORTS])
def test_writes_of_the_right_data_at_the_right_place_count(rig: Rig, base: int) -> None:
    rig.write(base, 0, NO_EVENTFD)
    offset = rig.header(base)[2]
    for _ in range(3):
        rig.write(base, offset, 0xFA)
    rig.write(base, offset, 0xFB)
    rig.write(base, offset + 1, 0xFA)
    assert rig.count(base) == 3
    rig.write(base, 0, NO_EVENTFD)
    assert rig.count(base) == 0


def test_a_wide_write_is_made_of_bytes(rig: Rig) -> None:
    rig.write(MEMORY, 0, NO_EVENTFD)
    rig.write(MEMORY, 2048, 0x11FA, 2)
    rig.write(MEMORY, 2047, 0xFA11, 2)
    assert rig.count(MEMORY) == 1
    assert rig.read(MEMORY, 4, 4) == 2048
    assert rig.read(MEMORY, 5, 4) == 0


@pytest.mark.parametrize(("kind", "data"), [(WILDCARD, 0x77), (DATAMATCH, 0xFA)])
def test_what_an_eventfd_takes_does_not_count(rig: Rig, kind: int, data: int) -> None:
    rig.write(MEMORY, 0, kind)
    offset = rig.header(MEMORY)[2]
    rig.write(MEMORY, offset, data)
    assert rig.count(MEMORY) == 0
    # A wider access is none of the eventfd's, nor is one by the other BAR.
    rig.write(MEMORY, offset & ~1, data << 8 * (offset & 1), 2)
    assert rig.count(MEMORY) == 1


def test_a_reset_deselects(rig: Rig) -> None:
    rig.write(PORTS, 0, NO_EVENTFD)
    rig.bus.reset()
    for offset, value in ((0x10, MEMORY), (0x14, PORTS), (0x04, 3)):
        rig.bus.write(2, 0, offset, 4, value)
    assert rig.header(PORTS) == (0, 0, 0, 0, 0)


def test_the_third_bar_has_a_size_and_no_contents() -> None:
    rig = Rig("64K")
    rig.bus.write(2, 0, 0x18, 4, 0xFFFFFFFF)
    assert rig.bus.read(2, 0, 0x18, 4) == 0xFFFF000C
    rig.bus.write(2, 0, 0x18, 4, 0xE0000000)
    rig.bus.write(2, 0, 0x1C, 4, 0)
    assert rig.wiring.memory.read(0xE0000000, 4) == 0xFFFFFFFF


def test_state_has_the_test_and_its_count(rig: Rig) -> None:
    rig.write(PORTS, 0, NO_EVENTFD)
    rig.write(PORTS, 131, 0xFA)
    other = Rig()
    other.bus.load(rig.bus.state())
    assert other.header(PORTS) == (3, 1, 131, 0xFA, 1)
