"""Functions 0 and 3 of a PIIX: the bridge to ISA, and power management (data sheets of the 82371SB, order
290550, and of the 82371AB, order 290562).

As QEMU's `pc` has them, a PIIX3's bridge and a PIIX4's power management are one device. What the machine does
not model is not there or read-only: there is no IDE function and no SMBus, and the ACPI registers stay where
the board has them.
"""

from functools import partial
from typing import Final

from mpvm.hw.acpi.pm import PM_BASE
from mpvm.hw.device import IrqLine, SharedWire
from mpvm.hw.pci.function import MULTI_FUNCTION, Header, PciFunction, Register, header
from mpvm.hw.pci.i440fx import VENDOR_INTEL
from mpvm.qom.type_info import register_type

# Where they are on bus 0.
PIIX_DEVICE: Final = 1
PM_FUNCTION: Final = 3

DEVICE_PIIX3: Final = 0x7000
DEVICE_PIIX4_PM: Final = 0x7113
CLASS_ISA_BRIDGE: Final = 0x060100
CLASS_OTHER_BRIDGE: Final = 0x068000
PM_REVISION: Final = 3
# Medium DEVSEL#; and fast back-to-back.
_STATUS_PIIX3: Final = 0x0200
_STATUS_PIIX4: Final = 0x0280

# PIRQRC[A:D]: which ISA interrupt a PCI interrupt goes to, and none while bit 7 is set.
PIRQ_ROUTE: Final = 0x60
PIRQS: Final = 4
PIRQ_OFF: Final = 0x80
_PIRQ_WRITABLE: Final = 0x8F
_PIRQ_IRQ: Final = 0x0F
# X-bus chip select, top of memory, and miscellaneous registers, as they are after reset.
_FIXED: Final = (
    (0x4C, 0x4D),
    (0x4E, 0x03),
    (0x69, 0x02),
    (0x70, 0x80),
    (0x78, 0x02),
    (0xA0, 0x08),
    (0xA8, 0x0F),
)

# Base address of the ACPI registers, and the register whose bit 0 enables them.
PMBASE: Final = 0x40
PMREGMISC: Final = 0x80
_SPACE_IO: Final = 1


@register_type("PIIX3", description="PIIX3 ISA bridge, which routes PCI interrupts")
class Piix3(PciFunction):
    """The bridge. INTA# to INTD# of each device number are wired to its PIRQs, those to ISA interrupts."""

    def realize(self) -> None:
        """Lay out configuration space; no PCI interrupt goes anywhere."""
        self._wires = [SharedWire(partial(self._drive, pirq)) for pirq in range(PIRQS)]
        self._levels = [0] * PIRQS
        self._lines: dict[tuple[int, int], IrqLine] = {}
        self.set_registers(
            (
                *header(VENDOR_INTEL, DEVICE_PIIX3, CLASS_ISA_BRIDGE, status=_STATUS_PIIX3),
                Register(Header.HEADER_TYPE, 1, MULTI_FUNCTION),
                *(Register(PIRQ_ROUTE + n, 1, PIRQ_OFF, writable=_PIRQ_WRITABLE) for n in range(PIRQS)),
                *(Register(offset, 1, value) for offset, value in _FIXED),
            )
        )
        self.parent_bus.intx = self.intx

    def intx(self, device: int, pin: int) -> IrqLine:
        """A line to interrupt `pin`, 0 to 3, of device number `device`: neighbours start at other PIRQs."""
        return self._wires[(device - 1 + pin) % PIRQS].input()

    def _drive(self, pirq: int, level: int) -> None:
        self._levels[pirq] = level
        self._route(pirq)

    def _route(self, pirq: int) -> None:
        """Drive the ISA interrupt that `pirq` goes to, and let go of any other."""
        route = self.config[PIRQ_ROUTE + pirq]
        irq = None if route & PIRQ_OFF else route & _PIRQ_IRQ
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
        for pirq in range(PIRQS):
            self._route(pirq)

    def reset_enter(self) -> None:
        """No PCI interrupt goes anywhere."""
        super().reset_enter()
        for pirq in range(PIRQS):
            self._route(pirq)


@register_type("piix4-pm-function", description="PIIX4 power management: where the ACPI registers are")
class Piix4Pm(PciFunction):
    """Function 3: says where the ACPI registers are. They answer as a device of the board (`PIIX4_PM`)."""

    def realize(self) -> None:
        """Lay out configuration space."""
        self.set_registers(
            (
                *header(
                    VENDOR_INTEL,
                    DEVICE_PIIX4_PM,
                    CLASS_OTHER_BRIDGE,
                    PM_REVISION,
                    status=_STATUS_PIIX4,
                    pin=1,
                ),
                Register(PMBASE, 4, PM_BASE | _SPACE_IO),
                Register(PMREGMISC, 1, 1),
            )
        )
