"""The board's interrupt wires: from ISA lines and GSIs to the 8259 pair and the I/O APIC."""

from collections.abc import Callable
from typing import Final

from mpvm.abi.errors import ConfigError
from mpvm.hw.device import IrqLine, SharedWire

ISA_IRQS: Final = 16
GSIS: Final = 24
# The PIT's line is wired to pin 2 of the I/O APIC (the MADT's interrupt source override says so); line 2
# of the 8259s is their cascade and no device's.
PIT_IRQ: Final = 0
PIT_GSI: Final = 2
CASCADE_IRQ: Final = 2
RTC_IRQ: Final = 8
SCI_IRQ: Final = 9
KEYBOARD_IRQ: Final = 1
MOUSE_IRQ: Final = 12
FERR_IRQ: Final = 13


class IrqRouter:
    """`line(irq)` is a new line of a device that is wired to ISA interrupt `irq`, `gsi(n)` one to any GSI."""

    def __init__(self, set_pic: Callable[[int, int], None], set_ioapic: Callable[[int, int], None]) -> None:
        self._wires = [SharedWire(self._sink(gsi, set_pic, set_ioapic)) for gsi in range(GSIS)]
        # What an HPET takes the PIT and the RTC off.
        self._legacy = {irq: SharedWire(self._wires[irq].input().set) for irq in (PIT_IRQ, RTC_IRQ)}

    def line(self, irq: int) -> IrqLine:
        """A new line to ISA interrupt `irq`; `ConfigError` for one that is not 0 to 15."""
        if not 0 <= irq < ISA_IRQS:
            raise ConfigError(f"there is no ISA interrupt {irq}, one from 0 to {ISA_IRQS - 1} is right")
        return self._legacy.get(irq, self._wires[irq]).input()

    def replace_legacy(self, replaced: bool) -> None:
        """Let the lines of the PIT and the RTC go nowhere while they are `replaced` by an HPET's."""
        for wire in self._legacy.values():
            wire.set_closed(replaced)

    def gsi(self, gsi: int) -> IrqLine:
        """A new line to GSI `gsi`, which is the ISA interrupt of that number or, from 16 on, a pin alone."""
        if not 0 <= gsi < GSIS:
            raise ConfigError(f"there is no interrupt {gsi}, one from 0 to {GSIS - 1} is right")
        return self._wires[gsi].input()

    @staticmethod
    def _sink(
        irq: int, set_pic: Callable[[int, int], None], set_ioapic: Callable[[int, int], None]
    ) -> Callable[[int], None]:
        pin = PIT_GSI if irq == PIT_IRQ else irq
        pic = irq < ISA_IRQS and irq != CASCADE_IRQ

        def drive(level: int) -> None:
            if pic:
                set_pic(irq, level)
            if level and pin == PIT_GSI:
                # GSIs 0 and 2 are one pin. The one that rises makes an edge, though a PIT that has come to
                # its terminal count holds the pin high for good.
                set_ioapic(pin, 0)
            set_ioapic(pin, level)

        return drive
