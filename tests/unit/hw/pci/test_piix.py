"""The PIIX's functions: PCI interrupts find their way, and where the ACPI registers are."""

import pytest

from mpvm.hw.bus import Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.pci.bus import PciBus
from mpvm.hw.pci.function import PciFunction, header
from mpvm.hw.pci.piix import Piix3, Piix4Pm
from mpvm.qom.type_info import register_type
from tests.unit.hw.plug import FakeSystem

PIRQA, COMMAND, INTX_DISABLE = 0x60, 0x04, 0x400


@register_type("test-function-with-intx")
class Interrupter(PciFunction):
    pin = 1

    def realize(self) -> None:
        self.set_registers(header(0x1234, 0x5678, 0, pin=self.pin))


class Rig:
    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []
        self.bus = PciBus()
        self.bus.wiring = Wiring(
            FakeSystem(ManualClock()),
            lambda irq: IrqLine(lambda level: self.heard.append((irq, level))),
        )
        self.bridge = Piix3()
        self.bus.add(self.bridge, 1)
        self.bus.add(Piix4Pm(), 1, 3)

    def add(self, device: int, pin: int = 1) -> Interrupter:
        function = Interrupter()
        function.pin = pin
        self.bus.add(function, device)
        return function

    def route(self, pirq: int, irq: int) -> None:
        self.bus.write(1, 0, PIRQA + pirq, 1, irq)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_an_unrouted_interrupt_goes_nowhere(rig: Rig) -> None:
    rig.add(3).set_intx(1)
    assert rig.heard == []
    assert [rig.bus.read(1, 0, PIRQA + n, 1) for n in range(4)] == [0x80] * 4


@pytest.mark.parametrize(
    ("device", "pin", "pirq"), [(1 + 8, 1, 0), (2, 1, 1), (2, 4, 0), (3, 1, 2), (4, 2, 0)]
)
def test_neighbours_pins_are_swizzled(rig: Rig, device: int, pin: int, pirq: int) -> None:
    for n in range(4):
        rig.route(n, 8 + n)
    rig.add(device, pin).set_intx(1)
    assert rig.heard == [(8 + pirq, 1)]


def test_functions_share_a_wire(rig: Rig) -> None:
    rig.route(1, 10)
    one, two = rig.add(2), rig.add(6)
    one.set_intx(1)
    two.set_intx(1)
    one.set_intx(0)
    assert rig.heard == [(10, 1)]
    two.set_intx(0)
    assert rig.heard == [(10, 1), (10, 0)]


def test_a_pending_interrupt_goes_where_it_is_routed_to(rig: Rig) -> None:
    rig.route(1, 10)
    rig.add(2).set_intx(1)
    rig.route(1, 11)
    rig.route(1, 0x80)
    assert rig.heard == [(10, 1), (10, 0), (11, 1), (11, 0)]


def test_a_function_whose_interrupt_is_disabled_drives_nothing(rig: Rig) -> None:
    rig.route(1, 10)
    function = rig.add(2)
    function.set_intx(1)
    rig.bus.write(2, 0, COMMAND, 2, INTX_DISABLE)
    rig.bus.write(2, 0, COMMAND, 2, 0)
    assert rig.heard == [(10, 1), (10, 0), (10, 1)]


def test_a_reset_lowers_and_unroutes(rig: Rig) -> None:
    rig.route(1, 10)
    rig.add(2).set_intx(1)
    rig.bus.reset()
    assert rig.heard[-1] == (10, 0)
    assert rig.bus.read(1, 0, PIRQA + 1, 1) == 0x80


def test_function_3_says_where_the_acpi_registers_are(rig: Rig) -> None:
    assert rig.bus.read(1, 3, 0x00, 4) == 0x71138086
    rig.bus.write(1, 3, 0x40, 4, 0x1001)
    assert (rig.bus.read(1, 3, 0x40, 4), rig.bus.read(1, 3, 0x80, 1)) == (0x601, 1)
