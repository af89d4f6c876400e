"""Functions 0 and 3 of a PIIX: the bridge to ISA, and power management (data sheets of the 82371SB, order
290550, and of the 82371AB, order 290562).

As QEMU's `pc` has them, a PIIX3's bridge and a PIIX4's power management are one device. What the machine does
not model is not there or read-only: there is no IDE function and no SMBus, and the ACPI registers stay where
the board has them.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from mpvm.hw.acpi.pm import PM_BASE
from mpvm.hw.pci.function import MULTI_FUNCTION, Header, PciFunction, Register, header
from mpvm.hw.pci.i440fx import VENDOR_INTEL
from mpvm.hw.pci.pirq import PirqBridge
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

# PIRQRC[A:D].
PIRQ_ROUTES: Final = (0x60, 0x61, 0x62, 0x63)
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
class Piix3(PirqBridge):
    """The bridge. INTA# to INTD# of each device number are wired to its PIRQs, those to ISA interrupts."""

    routes: ClassVar[Sequence[int]] = PIRQ_ROUTES

    def realize(self) -> None:
        """Lay out configuration space; no PCI interrupt goes anywhere."""
        self.set_registers(
            (
                *header(VENDOR_INTEL, DEVICE_PIIX3, CLASS_ISA_BRIDGE, status=_STATUS_PIIX3),
                Register(Header.HEADER_TYPE, 1, MULTI_FUNCTION),
                *self.route_registers(),
                *(Register(offset, 1, value) for offset, value in _FIXED),
            )
        )
        self.parent_bus.intx = self.intx

    def pirq_of(self, device: int, pin: int) -> int:
        """Neighbours start at other PIRQs."""
        return (device - 1 + pin) % len(self.routes)


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
