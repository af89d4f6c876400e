"""Plugs one device into a bus of its own, with a system around it that a test holds."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from mpvm.hw.bus import IoBus, IsaBus, SystemBus, Wiring
from mpvm.hw.clock import Clock, ManualClock
from mpvm.hw.device import Device, IrqLine
from mpvm.hw.system import WakeupReason
from mpvm.memory.dma import DmaMemory
from mpvm.qom.qdev import qdev_realize

D = TypeVar("D", bound=Device)


def _nothing() -> None:
    pass


class FakeSystem(NamedTuple):
    """A system whose requests a test gives."""

    clock: Clock
    wall_clock: Callable[[], float] = lambda: 0.0
    power_off: Callable[[], None] = _nothing
    request_reset: Callable[[], None] = _nothing
    suspend: Callable[[], None] = _nothing
    wakeup: Callable[[WakeupReason], None] = lambda reason: None
    debug_exit: Callable[[int], None] = lambda status: None


def plug(
    device: D,
    system: FakeSystem | None = None,
    lines: dict[int, IrqLine] | None = None,
    dma: DmaMemory | None = None,
) -> D:
    """`device`, realized on a bus of the kind it needs; `lines` are those of its bus, by interrupt."""
    buses: tuple[IoBus, ...] = (IsaBus(), SystemBus())
    bus = next(bus for bus in buses if bus.is_a(device.bus_type or ""))
    given = lines or {}
    bus.wiring = Wiring(system or FakeSystem(ManualClock()), lambda irq: given.get(irq) or IrqLine(), dma)
    qdev_realize(device, bus)
    return device
