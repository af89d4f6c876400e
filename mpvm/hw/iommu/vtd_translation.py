"""DMA remapping: from a requester and its address to memory (Intel's VT-d specification, order
D51397, 3.4 to 3.7, 9.1, 9.3 and 9.8).

Nothing is cached: each request walks the tables as they are, so that there is nothing to invalidate.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from mpvm.hw.intc.message import MESSAGE_BASE, MESSAGE_MASK
from mpvm.hw.iommu.vtd_fault import Fault, Reason
from mpvm.memory.dma import BusMemory

_PAGE_BITS: Final = 12
_PAGE_MASK: Final = (1 << _PAGE_BITS) - 1
_INDEX_BITS: Final = 9
_ENTRY_BYTES: Final = 16
_TABLE_ENTRY_BYTES: Final = 8

_PRESENT: Final = 1 << 0
# Of a context entry.
_SILENT: Final = 1 << 1
_TYPE_SHIFT, _TYPE_MASK = 2, 3
_TYPE_TRANSLATED, _TYPE_PASS_THROUGH = 0, 2
_WIDTH_MASK: Final = 7
# Its address width, as levels of tables: 39 bits have three.
_LEVELS: Final = {1: 3, 2: 4}
_CONTEXT_RESERVED: Final = 0xFF0
_CONTEXT_RESERVED_HIGH: Final = 0xFFFFFFFFFF000080
_ROOT_RESERVED: Final = 0xFFE

# Of a second-level entry; what is neither, nor an address, is software's or reserved.
_READ: Final = 1 << 0
_WRITE: Final = 1 << 1
_LARGE: Final = 1 << 7
_RESERVED: Final = 1 << 11
_LARGEST_LEVEL: Final = 3
_SOFTWARE_SHIFT: Final = 52


class Page(NamedTuple):
    """`address` is what a request's address is in memory, and `room` how far it goes on like this."""

    address: int
    room: int


class Tables(NamedTuple):
    """Where the tables are: `root` in `memory`. Addresses have `width` bits; `pass_through` is allowed."""

    memory: BusMemory
    root: int
    width: int
    pass_through: bool

    def find(self, requester: int, address: int, write: bool) -> Page | Fault:
        """What `requester` (bus, device and function number) has at `address`."""
        root = self._entry(self.root, requester >> 8)
        if root is None:
            return Fault(Reason.NO_ROOT_TABLE_THERE)
        if not root[0] & _PRESENT:
            return Fault(Reason.ROOT_NOT_PRESENT)
        if root[0] & _ROOT_RESERVED or root[0] >> self.width or root[1]:
            return Fault(Reason.ROOT_RESERVED)
        context = self._entry(root[0] & ~_PAGE_MASK, requester & 0xFF)
        if context is None:
            return Fault(Reason.NO_CONTEXT_TABLE_THERE)
        return self._in_context(*context, address, write)

    def _in_context(self, low: int, high: int, address: int, write: bool) -> Page | Fault:
        silent = bool(low & _SILENT)
        kind = low >> _TYPE_SHIFT & _TYPE_MASK
        levels = _LEVELS.get(high & _WIDTH_MASK)
        if not low & _PRESENT:
            return Fault(Reason.CONTEXT_NOT_PRESENT, silent)
        if low & _CONTEXT_RESERVED or low >> self.width or high & _CONTEXT_RESERVED_HIGH:
            return Fault(Reason.CONTEXT_RESERVED, silent)
        known = kind == _TYPE_TRANSLATED or (kind == _TYPE_PASS_THROUGH and self.pass_through)
        if levels is None or _bits(levels) > self.width or not known:
            return Fault(Reason.CONTEXT_INVALID, silent)
        if address >> _bits(levels):
            return Fault(Reason.ADDRESS_TOO_WIDE, silent)
        if kind == _TYPE_PASS_THROUGH:
            return Page(address, (1 << self.width) - address)
        found = self._walk(low & ~_PAGE_MASK, levels, address, write)
        return Fault(found, silent) if isinstance(found, Reason) else found

    def _walk(self, table: int, levels: int, address: int, write: bool) -> Page | Reason:
        for level in range(levels, 0, -1):
            shift = _PAGE_BITS + _INDEX_BITS * (level - 1)
            index = address >> shift & (1 << _INDEX_BITS) - 1
            data = self.memory.read(table + index * _TABLE_ENTRY_BYTES, _TABLE_ENTRY_BYTES)
            if data is None:
                return Reason.CONTEXT_INVALID if level == levels else Reason.NO_TABLE_THERE
            entry = int.from_bytes(data, "little")
            if not entry & (_WRITE if write else _READ):
                return Reason.NOT_WRITABLE if write else Reason.NOT_READABLE
            large = bool(entry & _LARGE) and level > 1
            if self._is_reserved(entry, level, large):
                return Reason.ENTRY_RESERVED
            table = entry & (1 << self.width) - 1 & ~_PAGE_MASK
            if large or level == 1:
                if table <= MESSAGE_BASE | MESSAGE_MASK and table + (1 << shift) > MESSAGE_BASE:
                    return Reason.INTERRUPT_ADDRESS
                inside = address & (1 << shift) - 1
                return Page(table | inside, (1 << shift) - inside)
        raise AssertionError(levels)

    def _is_reserved(self, entry: int, level: int, large: bool) -> bool:
        beyond = entry & (1 << _SOFTWARE_SHIFT) - 1
        if beyond >> self.width or ((level == 1 or large) and entry & _RESERVED):
            return True
        if not large:
            return False
        below = (1 << _PAGE_BITS + _INDEX_BITS * (level - 1)) - 1 & ~_PAGE_MASK
        return level > _LARGEST_LEVEL or bool(entry & below)

    def _entry(self, table: int, index: int) -> tuple[int, int] | None:
        data = self.memory.read(table + index * _ENTRY_BYTES, _ENTRY_BYTES)
        return None if data is None else (_quad(data, 0), _quad(data, 8))


class RemappedMemory:
    """Memory as one requester sees it. `find(address, write)` translates; None where that is refused."""

    def __init__(self, memory: BusMemory, find: Callable[[int, bool], Page | None]) -> None:
        self._memory = memory
        self._find = find

    def read(self, address: int, size: int) -> bytes | None:
        """`size` bytes at `address`; None when not all of them are there."""
        parts = self._parts(address, size, write=False)
        if parts is None:
            return None
        found = [self._memory.read(at, count) for at, count in parts]
        return None if None in found else b"".join(part for part in found if part is not None)

    def write(self, address: int, data: bytes) -> bool:
        """Store `data`; False where not all of it is memory that the requester may write."""
        parts = self._parts(address, len(data), write=True)
        if parts is None:
            return False
        start = 0
        for at, count in parts:
            if not self._memory.write(at, data[start : start + count]):
                return False
            start += count
        return True

    def _parts(self, address: int, size: int, *, write: bool) -> list[tuple[int, int]] | None:
        parts = []
        while size:
            page = self._find(address, write)
            if page is None:
                return None
            count = min(page.room, size)
            parts.append((page.address, count))
            address, size = address + count, size - count
        return parts


def _bits(levels: int) -> int:
    return _PAGE_BITS + _INDEX_BITS * levels


def _quad(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "little")
