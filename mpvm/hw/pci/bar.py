"""Base address registers: how a function asks for addresses, and where it answers (PCI 3.0, 6.2.5.1)."""

from typing import Final, NamedTuple

from mpvm.abi.errors import DeviceError
from mpvm.memory.region import Region

BARS: Final = 6
BAR0: Final = 0x10
BAR_BYTES: Final = 4

_SPACE_IO: Final = 0x1
_TYPE_64: Final = 0x4
_PREFETCHABLE: Final = 0x8
_IO_FLAGS: Final = 0x3
_MEMORY_FLAGS: Final = 0xF
_SMALLEST: Final = 16
_IO_LIMIT: Final = 0x10000
_LIMIT_32: Final = 0xFFFFFFFF


class Bar(NamedTuple):
    """`size` bytes of ports (`io`) or memory that the function decodes from where its register says.

    `region` is what answers there; None: nobody, the function merely has the addresses. A 64-bit one has two
    registers, `number` and the next.
    """

    number: int
    size: int
    region: Region | None
    io: bool = False
    is_64_bit: bool = False
    prefetchable: bool = False

    @property
    def offset(self) -> int:
        """Where its register is in configuration space."""
        return BAR0 + BAR_BYTES * self.number

    @property
    def bytes(self) -> int:
        """How long that is."""
        return 2 * BAR_BYTES if self.is_64_bit else BAR_BYTES

    @property
    def flags(self) -> int:
        """The bits that say what it is, which no write changes."""
        if self.io:
            return _SPACE_IO
        return (_TYPE_64 if self.is_64_bit else 0) | (_PREFETCHABLE if self.prefetchable else 0)

    @property
    def writable(self) -> int:
        """The address bits; those below its size read 0, by which software learns the size."""
        return (1 << 8 * self.bytes) - self.size

    def check(self) -> None:
        """Raise `DeviceError` for one that can't be."""
        if self.size < _SMALLEST or self.size & self.size - 1:
            raise DeviceError(f"BAR {self.number}: {self.size:#x} bytes, a power of 2 from 16 on is right")
        if not 0 <= self.number <= BARS - self.bytes // BAR_BYTES or (self.io and self.is_64_bit):
            raise DeviceError(f"BAR {self.number}: no place for {self.bytes} bytes of register")
        if self.size > (_IO_LIMIT >> 1 if self.io else 1 << 8 * self.bytes - 1):
            raise DeviceError(f"BAR {self.number}: {self.size:#x} bytes are too many for its kind")

    def address(self, value: int) -> int | None:
        """Where it answers while its register reads `value`; None when nowhere.

        All ones, which asks for the size, is no address, and neither is 0.
        """
        base = value & ~(_IO_FLAGS if self.io else _MEMORY_FLAGS) & ~(self.size - 1)
        last = base + self.size - 1
        if self.io:
            return base if base and last < _IO_LIMIT else None
        limit = (1 << 52) - 1 if self.is_64_bit else _LIMIT_32 - 1
        return base if base and last <= limit else None
