"""The registers of a remapping unit (Intel's VT-d specification, order D51397, chapter 10)."""

from typing import Final, NamedTuple

REGISTERS_BYTES: Final = 0x230

VERSION, CAPABILITIES, EXTENDED_CAPABILITIES = 0x00, 0x08, 0x10
COMMAND, STATUS, ROOT_TABLE, CONTEXT_COMMAND = 0x18, 0x1C, 0x20, 0x28
FAULT_STATUS, FAULT_EVENT, QUEUE_HEAD, QUEUE_TAIL, QUEUE_ADDRESS = 0x34, 0x38, 0x80, 0x88, 0x90
COMPLETION_STATUS, COMPLETION_EVENT, INTERRUPT_TABLE = 0x9C, 0xA0, 0xB8
INVALIDATE_ADDRESS, IOTLB_INVALIDATE, FAULT_RECORD = 0xF0, 0xF8, 0x220
# Beside a control register of an event: the data and the address of its message.
EVENT_DATA, EVENT_ADDRESS = 4, 8


class Bits(NamedTuple):
    """A register: `writable` bits take what is written, those of `write_1_clears` go to 0, others stay.

    One that is `write_only` reads as 0.
    """

    offset: int
    size: int
    value: int = 0
    writable: int = 0
    write_1_clears: int = 0
    write_only: bool = False


_DWORD: Final = 0xFFFFFFFF
_PAGE: Final = 0xFFFFFFFFFFFFF000
_EVENT_MASKED: Final = 1 << 31


def _event(offset: int) -> tuple[Bits, ...]:
    return (
        Bits(offset, 4, _EVENT_MASKED, writable=_EVENT_MASKED),
        Bits(offset + EVENT_DATA, 4, writable=0xFFFF),
        Bits(offset + EVENT_ADDRESS, 4, writable=0xFFFFFFFC),
    )


# Those that do something by themselves, COMMAND and QUEUE_TAIL, are here for the bits that are kept.
REGISTERS: Final = (
    Bits(VERSION, 4, 0x10),
    Bits(ROOT_TABLE, 8, writable=_PAGE),
    Bits(CONTEXT_COMMAND, 8, writable=0x60000003FFFFFFFF),
    Bits(FAULT_STATUS, 4, write_1_clears=0x71),
    *_event(FAULT_EVENT),
    Bits(QUEUE_TAIL, 8, writable=0x7FFF0),
    Bits(QUEUE_ADDRESS, 8, writable=_PAGE | 7),
    Bits(COMPLETION_STATUS, 4, write_1_clears=1),
    *_event(COMPLETION_EVENT),
    Bits(INTERRUPT_TABLE, 8, writable=_PAGE | 0xF),
    Bits(INVALIDATE_ADDRESS, 8, writable=_PAGE | 0x7F, write_only=True),
    Bits(IOTLB_INVALIDATE, 8, writable=0x3003FFFF00000000),
    Bits(FAULT_RECORD + 8, 8, write_1_clears=1 << 63),
)


class RegisterFile:
    """The registers' bytes. Accesses are of 4 or 8 bytes at a multiple of 4; others are none."""

    def __init__(self, registers: tuple[Bits, ...]) -> None:
        self._reset, self._writable, self._clearing = (bytearray(REGISTERS_BYTES) for _ in range(3))
        self._shown = bytearray(b"\xff" * REGISTERS_BYTES)
        for offset, size, *values, write_only in registers:
            for target, value in zip((self._reset, self._writable, self._clearing), values, strict=True):
                target[offset : offset + size] = value.to_bytes(size, "little")
            if write_only:
                self._shown[offset : offset + size] = bytes(size)
        self.data = bytearray(self._reset)

    def reset(self) -> None:
        """As after power-up."""
        self.data[:] = self._reset

    def show(self, offset: int, size: int) -> int:
        """What a guest reads at `offset`."""
        return self.read(offset, size) & int.from_bytes(self._shown[offset : offset + size], "little")

    def read(self, offset: int, size: int) -> int:
        """The value at `offset`; 0 beyond the last."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def put(self, offset: int, size: int, value: int) -> None:
        """Have it read `value`, whoever's its bits are."""
        self.data[offset : offset + size] = value.to_bytes(size, "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """A guest's write, as far as the bits are its."""
        for i in range(offset, min(offset + size, REGISTERS_BYTES)):
            byte = value >> 8 * (i - offset) & 0xFF
            kept = self.data[i] & ~self._writable[i] & ~(byte & self._clearing[i])
            self.data[i] = kept | byte & self._writable[i]
