"""The ICH9's LPC bridge: PCI interrupts go to the I/O APIC, and to ISA interrupts where that is chosen."""

import pytest

from mpvm.hw.bus import Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.pci.bus import PciBus
from mpvm.hw.pci.ich9 import Ich9Lpc
from mpvm.hw.pci.q35 import Mch
from tests.unit.hw.plug import FakeSystem

PIRQA, PIRQE = 0x60, 0x68


class Rig:
    def __init__(self) -> None:
        self.heard: list[tuple[str, int, int]] = []
        self.bus = PciBus()
        self.bus.wiring = Wiring(
            FakeSystem(ManualClock()),
            lambda irq: IrqLine(lambda level: self.heard.append(("irq", irq, level))),
            gsi=lambda gsi: IrqLine(lambda level: self.heard.append(("gsi", gsi, level))),
        )
        self.bus.add(Mch(), 0)
        self.bus.add(Ich9Lpc(), 31)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_functions_are_a_q35s(rig: Rig) -> None:
    assert [rig.bus.read(device, 0, 0, 4) for device in (0, 31)] == [0x29C08086, 0x29188086]
    assert (rig.bus.read(31, 0, 0x40, 4), rig.bus.read(31, 0, 0x44, 1)) == (0x601, 0x80)


@pytest.mark.parametrize(
    ("device", "pin", "gsi"),
    [(0, 0, 20), (1, 0, 21), (1, 3, 20), (3, 2, 21), (24, 0, 20), (25, 0, 16), (31, 2, 18)],
)
def test_each_pin_is_an_input_of_the_io_apic(rig: Rig, device: int, pin: int, gsi: int) -> None:
    line = rig.bus.intx(device, pin)
    line.raise_()
    line.lower()
    assert rig.heard == [("gsi", gsi, 1), ("gsi", gsi, 0)]


@pytest.mark.parametrize(("device", "route"), [(4, PIRQE), (6, PIRQE + 2), (25, PIRQA)])
def test_a_route_goes_to_an_isa_interrupt_too(rig: Rig, device: int, route: int) -> None:
    line = rig.bus.intx(device, 0)
    line.raise_()
    rig.heard.clear()
    rig.bus.write(31, 0, route, 1, 10)
    rig.bus.write(31, 0, route, 1, 5)
    rig.bus.write(31, 0, route, 1, 0x80)
    assert rig.heard == [("irq", 10, 1), ("irq", 10, 0), ("irq", 5, 1), ("irq", 5, 0)]
