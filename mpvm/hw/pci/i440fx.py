"""The host bridge function of the 82441FX PMC (Intel 440FX PCIset data sheet, section 3.2).

What the machine does not model is read-only here, at the value that says how it behaves: the PAM
registers have RAM readable and writable at C0000h-FFFFFh, and SMRAM is locked and closed.
"""

from mpvm.hw.pci.function import (
    SUBSYSTEM_QEMU,
    SUBSYSTEM_VENDOR_QEMU,
    Header,
    PciFunction,
    Register,
)
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

VENDOR_INTEL = 0x8086
DEVICE_82441FX = 0x1237
REVISION = 0x02
CLASS_HOST_BRIDGE = 0x060000

# PCICMD: memory access and bus master are hardwired; PERRE and SERRE are the guest's
_COMMAND = 0x0006
_COMMAND_WRITABLE = 0x0140
# PCISTS: fast back-to-back, medium DEVSEL#; the errors are cleared by writing ones
_STATUS = 0x0280
_STATUS_CLEARS = 0xF900

_PAM0 = 0x59
_PAM_REGISTERS = 7
_PAM0_RAM = 0x30
_PAM_RAM = 0x33
_SMRAM = 0x72
# D_LCK, and C_BASE_SEG, whose one value is A0000h
_SMRAM_LOCKED = 0x12

REGISTERS = (
    Register(Header.VENDOR_ID, 2, VENDOR_INTEL),
    Register(Header.DEVICE_ID, 2, DEVICE_82441FX),
    Register(Header.COMMAND, 2, _COMMAND, writable=_COMMAND_WRITABLE),
    Register(Header.STATUS, 2, _STATUS, write_1_clears=_STATUS_CLEARS),
    Register(Header.REVISION_ID, 1, REVISION),
    Register(Header.CLASS_CODE, 3, CLASS_HOST_BRIDGE),
    Register(Header.LATENCY_TIMER, 1, 0x00, writable=0xF8),
    Register(_PAM0, 1, _PAM0_RAM),
    *(Register(_PAM0 + i, 1, _PAM_RAM) for i in range(1, _PAM_REGISTERS)),
    Register(_SMRAM, 1, _SMRAM_LOCKED),
)


@register_type("i440FX", description="82441FX host bridge")
class I440fx(PciFunction):
    """The 82441FX, for device 0 function 0 of bus 0.

    The chip has no subsystem IDs. Since machine version 1.0 it says which virtual machine it is by QEMU's.
    """

    subsystem_vendor_id = properties.uint16(SUBSYSTEM_VENDOR_QEMU, "subsystem vendor ID")
    subsystem_id = properties.uint16(SUBSYSTEM_QEMU, "subsystem ID")

    def realize(self) -> None:
        """Lay out configuration space."""
        subsystem = (
            Register(Header.SUBSYSTEM_VENDOR_ID, 2, self.subsystem_vendor_id),
            Register(Header.SUBSYSTEM_ID, 2, self.subsystem_id),
        )
        self.set_registers((*REGISTERS, *subsystem))
