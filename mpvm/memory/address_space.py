"""An address space: which region answers at which address."""

import bisect
from collections.abc import Callable
from typing import Final, NamedTuple

from mpvm.abi.errors import DeviceError
from mpvm.abi.log import LogItem
from mpvm.memory.region import Region
from mpvm.trace.log import log_mask

_NOBODY = "%s: a %s of %d bytes at %#x, where nothing answers"

# Of two regions at an address, the one of the higher priority answers (QEMU's docs/devel/memory.rst): a
# device of the board, then one that lets others have a part of what is its own, then a PCI function, to which
# the host bridge hands on what nobody in front of it claims.
BOARD_PRIORITY: Final = 0
BEHIND_PRIORITY: Final = -1
PCI_PRIORITY: Final = -2


class Mapping(NamedTuple):
    """`region` at `base`, before what has a lower `priority`."""

    base: int
    region: Region
    priority: int


class Range(NamedTuple):
    """From `start` up to `end`, `region`, whose own start is `base`, is what answers."""

    start: int
    end: int
    base: int
    region: Region


class AddressSpace:
    """Regions by priority. Reads of nobody's address give all ones, writes there vanish."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        # The latest first, which of one priority is the one that answers.
        self._mappings: list[Mapping] = []
        # What answers where, in the order of addresses (QEMU's FlatView), and the starts of that.
        self._flat: list[Range] = []
        self._starts: list[int] = []
        # Whether these are behind the mappings: a board maps many regions before anybody looks for one.
        self._stale = False
        # Who hears of each change of the mappings.
        self.changed: Callable[[], None] = _nobody_listens

    def map(self, base: int, region: Region, priority: int = BOARD_PRIORITY) -> None:
        """Put `region` at `base`; `DeviceError` when it leaves the space, or overlaps another of the board's.

        Regions of another priority may overlap; of several functions' the later one answers.
        """
        end = base + region.size
        if base < 0 or region.size <= 0 or end > self.size:
            raise DeviceError(f"{self.name}: {region.name} at {base:#x} does not fit into {self.size:#x}")
        if priority >= BOARD_PRIORITY:
            for other in self._mappings:
                overlaps = base < other.base + other.region.size and other.base < end
                if overlaps and other.priority == priority:
                    raise DeviceError(
                        f"{self.name}: {region.name} at {base:#x} overlaps {other.region.name} at"
                        f" {other.base:#x}"
                    )
        self._mappings.insert(0, Mapping(base, region, priority))
        self._stale = True
        self.changed()

    def unmap(self, base: int, region: Region | None = None) -> None:
        """Take away `region`, or whatever was mapped last, at `base`."""
        for position, mapping in enumerate(self._mappings):
            if mapping.base == base and region in (None, mapping.region):
                del self._mappings[position]
                self._stale = True
                self.changed()
                return
        raise DeviceError(f"{self.name}: nothing is mapped at {base:#x}")

    def _flatten(self) -> None:
        flat: list[Range] = []
        for mapping in sorted(self._mappings, key=lambda each: -each.priority):
            flat = _below(flat, mapping)
        self._flat = flat
        self._starts = [each.start for each in flat]
        self._stale = False

    def _find(self, address: int) -> Range | None:
        if self._stale:
            self._flatten()
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        found = self._flat[position]
        return found if address < found.end else None

    def find(self, address: int) -> tuple[int, Region] | None:
        """The base and the region that answer at `address`."""
        found = self._find(address)
        return None if found is None else (found.base, found.region)

    def ranges(self) -> list[Range]:
        """What answers where, in the order of addresses; nobody does in between."""
        if self._stale:
            self._flatten()
        return self._flat

    def regions(self) -> list[tuple[int, Region]]:
        """Every mapping, in the order of addresses."""
        return [(each.base, each.region) for each in sorted(self._mappings, key=lambda each: each.base)]

    def read(self, address: int, size: int) -> int:
        """Read `size` bytes at `address`, byte by byte where it leaves a region."""
        found = self._find(address)
        if found is not None and address + size <= found.end:
            return found.region.read(address - found.base, size) & ((1 << 8 * size) - 1)
        if found is None:
            log_mask(LogItem.GUEST_ERRORS, _NOBODY, self.name, "read", size, address)
        return sum(self._read_byte(address + i) << 8 * i for i in range(size))

    def _read_byte(self, address: int) -> int:
        found = self._find(address)
        return 0xFF if found is None else found.region.read(address - found.base, 1) & 0xFF

    def write(self, address: int, size: int, value: int) -> None:
        """Write `size` bytes at `address`, byte by byte where it leaves a region."""
        found = self._find(address)
        if found is not None and address + size <= found.end:
            found.region.write(address - found.base, size, value)
            return
        if found is None:
            log_mask(LogItem.GUEST_ERRORS, _NOBODY, self.name, "write", size, address)
        for i in range(size):
            self._write_byte(address + i, value >> 8 * i & 0xFF)

    def write_string(self, address: int, data: bytes) -> None:
        """Write the bytes of `data`, one after the other, at `address` itself."""
        found = self._find(address)
        if found is not None and (take := found.region.strings.get(address - found.base)) is not None:
            take(data)
            return
        for value in data:
            self.write(address, 1, value)

    def _write_byte(self, address: int, value: int) -> None:
        found = self._find(address)
        if found is not None:
            found.region.write(address - found.base, 1, value)


def _nobody_listens() -> None:
    pass


def _below(flat: list[Range], mapping: Mapping) -> list[Range]:
    """`flat` with the parts of `mapping` that it leaves free, all in the order of addresses."""
    base, end = mapping.base, mapping.base + mapping.region.size
    merged: list[Range] = []
    start = base
    for each in flat:
        if start < min(end, each.start):
            merged.append(Range(start, min(end, each.start), base, mapping.region))
        start = max(start, min(end, each.end))
        merged.append(each)
    if start < end:
        merged.append(Range(start, end, base, mapping.region))
    return sorted(merged)
