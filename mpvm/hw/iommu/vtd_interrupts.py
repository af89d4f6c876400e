"""Interrupt remapping: from a request's index to the message that it stands for (Intel's VT-d
specification, order D51397, 5.1 and 9.9).
"""

from typing import Final, NamedTuple

from mpvm.hw.intc.message import MESSAGE_BASE, DeliveryMode, InterruptMessage, msi_message
from mpvm.hw.iommu.vtd_fault import Fault, Reason
from mpvm.memory.dma import BusMemory

# Of a remappable message: what says so, its handle, and whether the data is added to that.
_MESSAGE_REMAPPABLE: Final = 1 << 4
_HANDLE_SHIFT: Final = 5
_HANDLE_BITS: Final = 15
_HANDLE_LAST: Final = 1 << 2
_SUBHANDLE: Final = 1 << 3
# Of a remappable entry of an I/O APIC.
_ENTRY_REMAPPABLE: Final = 1 << 48
_ENTRY_INDEX_SHIFT: Final = 49
_ENTRY_INDEX_LAST: Final = 1 << 11

_ENTRY_BYTES: Final = 16
_PRESENT: Final = 1 << 0
_SILENT: Final = 1 << 1
_LOGICAL: Final = 1 << 2
_HINT: Final = 1 << 3
_LEVEL: Final = 1 << 4
_MODE_SHIFT: Final = 5
_VECTOR_SHIFT: Final = 16
_DESTINATION_SHIFT: Final = 40
# Posted interrupts are among these, for there are none.
_RESERVED: Final = 0xFF00F000 | 0xFFFF00FF << 32
_RESERVED_HIGH: Final = (1 << 64) - (1 << 20)
_QUALIFIER_SHIFT: Final = 16
_VALIDATION_SHIFT: Final = 18
# Which bits of a requester an entry looks at, by its qualifier.
_QUALIFIERS: Final = (0xFFFF, 0xFFFB, 0xFFF9, 0xFFF8)
_ANYONE, _REQUESTER, _BUSES = range(3)
_MODES: Final = frozenset(DeliveryMode)


def message_index(address: int, data: int) -> int | None:
    """The index of a device's message; None for one in compatibility format."""
    if not address & _MESSAGE_REMAPPABLE:
        return None
    handle = address >> _HANDLE_SHIFT & (1 << _HANDLE_BITS) - 1
    handle |= bool(address & _HANDLE_LAST) << _HANDLE_BITS
    return handle + (data & 0xFFFF if address & _SUBHANDLE else 0)


def entry_index(entry: int) -> int | None:
    """The index of an entry of an I/O APIC; None for one in compatibility format."""
    if not entry & _ENTRY_REMAPPABLE:
        return None
    return entry >> _ENTRY_INDEX_SHIFT | bool(entry & _ENTRY_INDEX_LAST) << _HANDLE_BITS


class InterruptTable(NamedTuple):
    """`size` entries from `base` on in `memory`; destinations are xAPICs."""

    memory: BusMemory
    base: int
    size: int

    def find(self, index: int, requester: int | None) -> InterruptMessage | Fault:
        """What entry `index` makes of an interrupt of `requester`, None: of one who does not say."""
        if index >= self.size:
            return Fault(Reason.INDEX_TOO_LARGE)
        data = self.memory.read(self.base + index * _ENTRY_BYTES, _ENTRY_BYTES)
        if data is None:
            return Fault(Reason.NO_INTERRUPT_TABLE_THERE)
        low, high = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
        silent = bool(low & _SILENT)
        if not low & _PRESENT:
            return Fault(Reason.INTERRUPT_NOT_PRESENT, silent)
        validation = high >> _VALIDATION_SHIFT & 3
        mode = low >> _MODE_SHIFT & 7
        if low & _RESERVED or high & _RESERVED_HIGH or validation > _BUSES or mode not in _MODES:
            return Fault(Reason.INTERRUPT_RESERVED, silent)
        if requester is not None and not _may(requester, validation, high):
            return Fault(Reason.WRONG_SOURCE, silent)
        address = MESSAGE_BASE | (low >> _DESTINATION_SHIFT & 0xFF) << 12 | low & (_LOGICAL | _HINT)
        return msi_message(address, low >> _VECTOR_SHIFT & 0xFF | mode << 8 | bool(low & _LEVEL) << 15)


def _may(requester: int, validation: int, high: int) -> bool:
    if validation == _REQUESTER:
        mask = _QUALIFIERS[high >> _QUALIFIER_SHIFT & 3]
        return requester & mask == high & 0xFFFF & mask
    return validation == _ANYONE or high >> 8 & 0xFF <= requester >> 8 <= high & 0xFF
