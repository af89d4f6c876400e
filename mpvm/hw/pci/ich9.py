"""The LPC bridge of the ICH9 (Intel I/O Controller Hub 9 data sheet, order 316972, chapter 13): PCI
interrupts, and where the ACPI registers are.

What the machine does not model is not there or read-only: the ACPI registers stay where the board has them,
the wires of each device's interrupts are those after reset (section 10.1), and the chip has no other
function.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from mpvm.hw.acpi.pm import PM_BASE
from mpvm.hw.device import IrqLine
from mpvm.hw.pci.function import MULTI_FUNCTION, Header, Register, header
from mpvm.hw.pci.i440fx import VENDOR_INTEL
from mpvm.hw.pci.piix import CLASS_ISA_BRIDGE
from mpvm.hw.pci.pirq import PirqBridge
from mpvm.qom.type_info import register_type

# Where it is on bus 0.
LPC_DEVICE: Final = 31
DEVICE_ICH9_LPC: Final = 0x2918
REVISION: Final = 0x02

PMBASE: Final = 0x40
ACPI_CONTROL: Final = 0x44
_SPACE_IO: Final = 1
_ACPI_ENABLED: Final = 0x80
# LPC_EN: the first serial line is decoded. GEN_PMCON_1: SMIs are locked.
_FIXED: Final = ((0x82, 0x01), (0xA0, 0x10))

# PIRQ[A:D]_ROUT and PIRQ[E:H]_ROUT.
PIRQ_ROUTES: Final = (0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6A, 0x6B)
# The inputs of the I/O APIC that the PIRQs are, too.
FIRST_GSI: Final = 16
# From this number on, devices are the chipset's own.
CHIPSET_DEVICES: Final = 25
PINS: Final = 4


@register_type("ICH9-LPC", description="ICH9 LPC bridge, which routes PCI interrupts")
class Ich9Lpc(PirqBridge):
    """The bridge. Each PIRQ is an input of the I/O APIC and, as its register says, an ISA interrupt."""

    routes: ClassVar[Sequence[int]] = PIRQ_ROUTES

    def realize(self) -> None:
        """Lay out configuration space; no PCI interrupt goes to an ISA interrupt."""
        wiring = self.parent_bus.wiring
        self._gsis: list[IrqLine] = [wiring.gsi(FIRST_GSI + pirq) for pirq in range(len(self.routes))]
        self.set_registers(
            (
                *header(VENDOR_INTEL, DEVICE_ICH9_LPC, CLASS_ISA_BRIDGE, REVISION),
                Register(Header.HEADER_TYPE, 1, MULTI_FUNCTION),
                Register(PMBASE, 4, PM_BASE | _SPACE_IO),
                Register(ACPI_CONTROL, 1, _ACPI_ENABLED),
                *self.route_registers(),
                *(Register(offset, 1, value) for offset, value in _FIXED),
            )
        )
        self.parent_bus.intx = self.intx

    def pirq_of(self, device: int, pin: int) -> int:
        """PIRQE to PIRQH, neighbours starting at others; PIRQA to PIRQD for the devices of the chipset."""
        return pin if device >= CHIPSET_DEVICES else PINS + (device + pin) % PINS

    def drive(self, pirq: int, level: int) -> None:
        """Both of its ways."""
        self._gsis[pirq].set(level)
        super().drive(pirq, level)
