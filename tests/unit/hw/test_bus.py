"""Buses with ports and memory: what a device answers at comes and goes with it."""

import pytest

from mpvm.abi.errors import CastError, ConfigError, DeviceError
from mpvm.hw.bus import IsaBus, SystemBus, Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.ioapic import BASE_ADDRESS, IoApic
from mpvm.hw.misc.i8042 import I8042
from mpvm.hw.misc.isa_debug_exit import IsaDebugExit
from mpvm.qom.qdev import qdev_realize, qdev_unrealize
from tests.unit.hw.plug import FakeSystem


@pytest.fixture
def wiring() -> Wiring:
    return Wiring(FakeSystem(ManualClock()), lambda irq: IrqLine())


@pytest.fixture
def isa(wiring: Wiring) -> IsaBus:
    bus = IsaBus()
    bus.wiring = wiring
    return bus


def test_a_realized_device_answers_at_its_ports_and_one_that_leaves_does_not(isa: IsaBus) -> None:
    device = IsaDebugExit(iobase=0xF4)
    assert isa.wiring.ports.find(0xF4) is None
    qdev_realize(device, isa)
    assert isa.wiring.ports.find(0xF4) is not None
    qdev_unrealize(device)
    assert isa.wiring.ports.find(0xF4) is None
    qdev_realize(IsaDebugExit(), isa)


def test_a_device_on_the_system_bus_answers_in_memory(wiring: Wiring) -> None:
    bus, device = SystemBus(), IoApic()
    bus.wiring = wiring
    qdev_realize(device, bus)
    assert wiring.memory.find(BASE_ADDRESS) is not None


def test_a_device_of_which_a_port_is_taken_has_none(isa: IsaBus) -> None:
    qdev_realize(IsaDebugExit(iobase=0x64), isa)
    keyboard = I8042()
    with pytest.raises(DeviceError, match="i8042-command at 0x64 overlaps isa-debug-exit at 0x64"):
        qdev_realize(keyboard, isa)
    assert isa.wiring.ports.find(0x60) is None
    assert isa.devices != [keyboard]


def test_a_device_goes_on_its_own_kind_of_bus_alone(isa: IsaBus) -> None:
    with pytest.raises(ConfigError, match="ioapic: needs a bus of type System"):
        qdev_realize(IoApic(), isa)


def test_a_device_has_its_buss_wiring_only_while_it_is_on_it(isa: IsaBus) -> None:
    device = IsaDebugExit(iobase=0xF4)
    with pytest.raises(CastError, match="an object of type io-bus is right"):
        _ = device.wiring
    qdev_realize(device, isa)
    assert device.wiring is isa.wiring
