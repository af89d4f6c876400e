"""Message signalled interrupts (PCI 3.0, 6.8.1): one message, its address of 64 bits, no mask."""

from typing import Final

from mpvm.hw.pci.function import PciFunction, Register

CAPABILITY_MSI: Final = 0x05
_ID, _NEXT, _CONTROL, _ADDRESS, _DATA = 0x0, 0x1, 0x2, 0x4, 0xC
_ENABLE: Final = 0x0001
# How many messages of those that it can have it may use: kept, and there is one.
_MULTIPLE_ENABLE: Final = 0x0070
_ADDRESS_64: Final = 0x0080
_DATA_MASK: Final = 0xFFFF


class Msi:
    """The capability at `offset` of the configuration space of `function`, the last one of the list."""

    def __init__(self, function: PciFunction, offset: int) -> None:
        self._function = function
        self._offset = offset

    def registers(self) -> tuple[Register, ...]:
        """What `set_registers` needs for it."""
        return (
            Register(self._offset + _ID, 1, CAPABILITY_MSI),
            Register(self._offset + _NEXT, 1, 0),
            Register(self._offset + _CONTROL, 2, _ADDRESS_64, writable=_ENABLE | _MULTIPLE_ENABLE),
            Register(self._offset + _ADDRESS, 8, 0, writable=(1 << 64) - 4),
            Register(self._offset + _DATA, 2, 0, writable=_DATA_MASK),
        )

    @property
    def enabled(self) -> bool:
        """Whether the guest has chosen it; then the function leaves its pin alone."""
        return bool(self._function.read(self._offset + _CONTROL, 2) & _ENABLE)

    def notify(self) -> None:
        """Send the message."""
        config = self._function.config
        address = int.from_bytes(config[self._offset + _ADDRESS : self._offset + _ADDRESS + 8], "little")
        data = self._function.read(self._offset + _DATA, 2)
        self._function.dma_write(address, data.to_bytes(4, "little"))
