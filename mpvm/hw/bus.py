"""The buses whose devices answer at ports and in memory: the system bus and ISA (hw/core/sysbus.c, hw/isa).

A device that is realized on one has its `ports()` and `memory()` mapped, and loses them when it leaves.
"""

from collections.abc import Callable
from typing import ClassVar

from mpvm.hw.device import IrqLine
from mpvm.hw.system import System
from mpvm.memory.address_space import BOARD_PRIORITY, AddressSpace
from mpvm.memory.dma import DmaMemory
from mpvm.memory.region import Region
from mpvm.qom.object import cast
from mpvm.qom.qdev import Bus, Device
from mpvm.qom.type_info import register_type

IO_PORTS = 0x10000
PHYSICAL_ADDRESS_BITS = 52


class Wiring:
    """What a board wires its buses to: address spaces, interrupt lines, guest RAM and the system.

    `line(irq)` is a new line to the ISA interrupt `irq`, `gsi(n)` one to any global system interrupt: the
    first 16 are the ISA's, and the others reach the I/O APIC alone.
    """

    def __init__(
        self,
        system: System,
        line: Callable[[int], IrqLine],
        dma: DmaMemory | None = None,
        gsi: Callable[[int], IrqLine] | None = None,
    ) -> None:
        self.system = system
        self.line = line
        self.dma = dma
        self.gsi = gsi or line
        self.ports = AddressSpace("I/O ports", IO_PORTS)
        self.memory = AddressSpace("memory", 1 << PHYSICAL_ADDRESS_BITS)


@register_type("io-bus", abstract=True, description="has devices that answer at ports and in memory")
class IoBus(Bus):
    """Base of both. `wiring` is the board's, set before a device comes."""

    wiring: Wiring

    def attach(self, device: Device) -> None:
        """Map what the device, now realized, answers at; nothing is mapped when a part of it can't be."""
        device = cast(device, IoDevice)
        mapped: list[tuple[AddressSpace, int, Region]] = []
        try:
            for space, regions in (
                (self.wiring.ports, device.ports()),
                (self.wiring.memory, device.memory()),
            ):
                for base, region in regions:
                    space.map(base, region, device.priority)
                    mapped.append((space, base, region))
        except BaseException:
            for space, base, region in mapped:
                space.unmap(base, region)
            raise
        device.mapped = mapped

    def detach(self, device: Device) -> None:
        """Take its ports and memory away."""
        device = cast(device, IoDevice)
        for space, base, region in device.mapped:
            space.unmap(base, region)
        device.mapped = []


@register_type("io-device", abstract=True, description="answers at ports and in memory")
class IoDevice(Device):
    """Base of the devices on such a bus."""

    bus_type: ClassVar[str | None] = "io-bus"
    # Of its regions, where others are, too.
    priority: ClassVar[int] = BOARD_PRIORITY

    def instance_init(self) -> None:
        """Mapped nowhere."""
        super().instance_init()
        self.mapped: list[tuple[AddressSpace, int, Region]] = []

    @property
    def wiring(self) -> Wiring:
        """Its bus's, from `realize` on."""
        return cast(self.parent_bus, IoBus).wiring

    def ports(self) -> list[tuple[int, Region]]:
        """Where it answers in I/O space once it is realized."""
        return []

    def memory(self) -> list[tuple[int, Region]]:
        """Where it answers in memory once it is realized."""
        return []


@register_type("System", description="the board itself, for devices that are on no other bus")
class SystemBus(IoBus):
    """The main system bus."""


@register_type("sys-bus-device", abstract=True, description="a device wired to the board directly")
class SysBusDevice(IoDevice):
    """Base of the devices on the system bus."""

    bus_type: ClassVar[str | None] = "System"


@register_type("ISA", description="the ISA bus")
class IsaBus(IoBus):
    """Ports and 16 interrupt lines."""


@register_type("isa-device", abstract=True, description="a device on the ISA bus")
class IsaDevice(IoDevice):
    """Base of the devices on the ISA bus."""

    bus_type: ClassVar[str | None] = "ISA"
