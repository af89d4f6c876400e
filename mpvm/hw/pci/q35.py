"""The host bridge function of the 82Q35 MCH (Intel 3 Series Express Chipset data sheet, order 316966, 5.1).

What the machine does not model is read-only here, at the value that says how it behaves: the PAM registers
have RAM readable and writable at C0000h-FFFFFh, SMRAM is locked and closed, and configuration space is in
memory where firmware has put it.
"""

from typing import ClassVar, Final

from mpvm.hw.pci.function import (
    CONFIG_SPACE_SIZE,
    FUNCTIONS,
    SUBSYSTEM_QEMU,
    SUBSYSTEM_VENDOR_QEMU,
    Header,
    PciFunction,
    Register,
)
from mpvm.hw.pci.host import PciHost
from mpvm.hw.pci.i440fx import CLASS_HOST_BRIDGE, VENDOR_INTEL
from mpvm.memory.region import Region
from mpvm.qom.type_info import register_type

MMCONFIG_BASE: Final = 0xB0000000
MMCONFIG_SIZE: Final = 256 << 20
# An address there: bus, device and function, register (PCI Express 2.0, 7.2.2).
_BUS_SHIFT, _DEVFN_SHIFT = 20, 12
_DEVFN_MASK: Final = 0xFF
_REGISTER_MASK: Final = 0xFFF
# PCIEXBAR (5.1.15): enabled, 256 buses.
_PCIEXBAR: Final = 0x60
_PCIEXBAR_ENABLE: Final = 1

DEVICE_82Q35: Final = 0x29C0

# Memory access and bus master are hardwired; the parity and system error bits are the guest's.
_COMMAND: Final = 0x0006
_COMMAND_WRITABLE: Final = 0x0140
_STATUS: Final = 0x0090
_STATUS_CLEARS: Final = 0xF900
_PAM0: Final = 0x90
_PAM_REGISTERS: Final = 7
_PAM0_RAM: Final = 0x30
_PAM_RAM: Final = 0x33
_SMRAM: Final = 0x9D
# D_LCK, and C_BASE_SEG, whose one value is A0000h.
_SMRAM_LOCKED: Final = 0x12


@register_type("q35-pcihost", description="PCI host bridge of the Q35: ports, memory and bus 0")
class Q35Host(PciHost):
    """Ports 0xcf8 and 0xcfc in front of bus 0, and memory: 4 KiB a function, of which ours have 256 bytes."""

    bus_name: ClassVar[str] = "pcie.0"

    def memory(self) -> list[tuple[int, Region]]:
        """Where configuration space is in memory."""
        return [(MMCONFIG_BASE, Region("mmconfig", MMCONFIG_SIZE, self._read_memory, self._write_memory))]

    def _function(self, offset: int, size: int) -> tuple[int, int] | None:
        """The device and the function that an access is to; None where it ends at nobody."""
        register = offset & _REGISTER_MASK
        if offset >> _BUS_SHIFT != self.bus.number or register + size > CONFIG_SPACE_SIZE:
            return None
        return divmod(offset >> _DEVFN_SHIFT & _DEVFN_MASK, FUNCTIONS)

    def _read_memory(self, offset: int, size: int) -> int:
        found = self._function(offset, size)
        return -1 if found is None else self.bus.read(*found, offset & _REGISTER_MASK, size)

    def _write_memory(self, offset: int, size: int, value: int) -> None:
        found = self._function(offset, size)
        if found is not None:
            self.bus.write(*found, offset & _REGISTER_MASK, size, value)


@register_type("mch", description="82Q35 host bridge")
class Mch(PciFunction):
    """The 82Q35, for device 0 function 0 of bus 0."""

    def realize(self) -> None:
        """Lay out configuration space."""
        self.set_registers(
            (
                Register(Header.VENDOR_ID, 2, VENDOR_INTEL),
                Register(Header.DEVICE_ID, 2, DEVICE_82Q35),
                Register(Header.COMMAND, 2, _COMMAND, writable=_COMMAND_WRITABLE),
                Register(Header.STATUS, 2, _STATUS, write_1_clears=_STATUS_CLEARS),
                Register(Header.CLASS_CODE, 3, CLASS_HOST_BRIDGE),
                Register(Header.SUBSYSTEM_VENDOR_ID, 2, SUBSYSTEM_VENDOR_QEMU),
                Register(Header.SUBSYSTEM_ID, 2, SUBSYSTEM_QEMU),
                Register(_PCIEXBAR, 8, MMCONFIG_BASE | _PCIEXBAR_ENABLE),
                Register(_PAM0, 1, _PAM0_RAM),
                *(Register(_PAM0 + i, 1, _PAM_RAM) for i in range(1, _PAM_REGISTERS)),
                Register(_SMRAM, 1, _SMRAM_LOCKED),
            )
        )
