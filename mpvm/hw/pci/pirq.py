"""Bridges to ISA that route PCI interrupts: a register of each PIRQ says where it goes."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final

from mpvm.hw.device import IrqLine, SharedWire
from mpvm.hw.pci.function import PciFunction, Register
from mpvm.qom.type_info import register_type

# Of a register: it goes nowhere; which ISA interrupt it goes to.
PIRQ_OFF: Final = 0x80
_WRITABLE: Final = 0x8F
_IRQ: Final = 0x0F


@register_type("pirq-bridge", abstract=True, description="routes PCI interrupts to ISA interrupts")
class PirqBridge(PciFunction):
    """A bridge whose registers at `routes` route a PIRQ each. They are the interrupts of its bus."""

    routes: ClassVar[Sequence[int]]

    @abstractmethod
    def pirq_of(self, device: int, pin: int) -> int:
        """Which PIRQ the interrupt `pin`, 0 to 3, of a device number is wired to."""

    def instance_init(self) -> None:
        """No interrupt."""
        super().instance_init()
        count = len(self.routes)
        self._wires = [SharedWire(partial(self.drive, pirq)) for pirq in range(count)]
        self._levels = [0] * count
        self._lines: dict[tuple[int, int], IrqLine] = {}

    def route_registers(self) -> tuple[Register, ...]:
        """What `set_registers` needs for the routes: none goes anywhere."""
        return tuple(Register(offset, 1, PIRQ_OFF, writable=_WRITABLE) for offset in self.routes)

    def intx(self, device: int, pin: int) -> IrqLine:
        """A line to interrupt `pin`, 0 to 3, of device number `device`."""
        return self._wires[self.pirq_of(device, pin)].input()

    def drive(self, pirq: int, level: int) -> None:
        """`pirq` has gone to `level`."""
        self._levels[pirq] = level
        self._route(pirq)

    def _route(self, pirq: int) -> None:
        """Drive the ISA interrupt that `pirq` goes to, and let go of any other."""
        route = self.config[self.routes[pirq]]
        irq = None if route & PIRQ_OFF else route & _IRQ
        for (which, number), line in self._lines.items():
            if which == pirq and number != irq:
                line.lower()
        if irq is not None:
            if (pirq, irq) not in self._lines:
                self._lines[pirq, irq] = self.parent_bus.wiring.line(irq)
            self._lines[pirq, irq].set(self._levels[pirq])

    def config_changed(self, offset: int, size: int) -> None:
        """A PCI interrupt may go elsewhere."""
        super().config_changed(offset, size)
        for pirq in range(len(self.routes)):
            self._route(pirq)

    def reset_enter(self) -> None:
        """No PCI interrupt goes anywhere."""
        super().reset_enter()
        for pirq in range(len(self.routes)):
            self._route(pirq)
