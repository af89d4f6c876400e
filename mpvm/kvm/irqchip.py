"""The interrupt controllers of KVM_CREATE_IRQCHIP: the machine's models of the 8259s and the I/O APIC.

The local APICs are the engine's. Lines are wired as KVM wires them until it is told otherwise: GSI n is pin n
of the I/O APIC, and up to 15 input n of the 8259s.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from mpvm.abi.exits import ExtInt
from mpvm.abi.layout import VcpuArea, VmPage
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.i8259 import CASCADE_LEVEL, PicPair
from mpvm.hw.intc.ioapic import PINS, IoApic
from mpvm.machine.apic_bus import ApicBus
from mpvm.memory.address_space import AddressSpace

GSIS: Final = PINS
_PIC_INPUTS: Final = 16


class IrqChip:
    """Thread-safe: vCPUs and whoever drives a line come from any thread."""

    def __init__(self, page: VmPage, areas: Sequence[VcpuArea], kick: Callable[[int], None]) -> None:
        self._page = page
        self._lock = threading.RLock()
        self._held: set[int] = set()
        self._bus = ApicBus(areas, kick)
        self._pic, self._ioapic = PicPair(), IoApic()
        self._pic.intr = IrqLine(self._set_intr)
        self._ioapic.deliver = self._bus.send
        self._pic.realize()
        self._ioapic.realize()
        self._pic.reset_enter()
        self.ports = AddressSpace("ports", 1 << 16)
        self.memory = AddressSpace("memory", 1 << 52)
        for base, region in self._pic.ports():
            self.ports.map(base, region)
        for base, region in self._ioapic.memory():
            self.memory.map(base, region)

    def _set_intr(self, level: int) -> None:
        self._page.pic_intr = level
        if level:
            self._bus.raise_intr()

    def set_irq(self, gsi: int, level: int) -> None:
        """Drive a line; one that nobody is wired to is nothing."""
        with self._lock:
            if gsi < PINS:
                self._ioapic.set_irq(gsi, int(bool(level)))
            if gsi < _PIC_INPUTS and gsi != CASCADE_LEVEL:
                self._set_pic(gsi, int(bool(level)))

    def _set_pic(self, irq: int, level: int) -> None:
        """KVM's 8259 keeps an edge whose line has fallen; the data sheet's withdraws it, so hold the line."""
        if not level and self._requested(irq):
            self._held.add(irq)
        else:
            self._held.discard(irq)
            self._pic.set_irq(irq, level)

    def _requested(self, irq: int) -> bool:
        chip = self._pic.slave if irq & 8 else self._pic.master
        return bool(chip.irr & ~chip.elcr & 1 << (irq & 7))

    def serve(self, space: AddressSpace, address: int, size: int, write: bool, data: int) -> int | None:
        """What a read gives (of a write, 0); None when the address is none of these controllers'."""
        with self._lock:
            if space.find(address) is None:
                return None
            if not write:
                return space.read(address, size)
            space.write(address, size, data)
            return 0

    def acknowledge(self) -> int:
        """The acknowledge cycle: VALID and the vector, or 0 when none is due any more."""
        with self._lock:
            if not self._page.pic_intr:
                return 0
            vector = self._pic.acknowledge()
            for irq in [irq for irq in self._held if not self._requested(irq)]:
                self._set_pic(irq, 0)
            return ExtInt.VALID | vector

    def eoi(self, vector: int) -> None:
        """The end of a level-triggered interrupt."""
        with self._lock:
            self._ioapic.eoi(vector)
