"""An address space: which region answers at which address."""

import bisect

from mpvm.abi.errors import DeviceError
from mpvm.abi.log import LogItem
from mpvm.memory.region import Region
from mpvm.trace.log import log_mask

_NOBODY = "%s: a %s of %d bytes at %#x, where nothing answers"


class AddressSpace:
    """Regions that do not overlap. Reads of nobody's address give all ones, writes there vanish."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._starts: list[int] = []
        self._regions: list[tuple[int, Region]] = []

    def map(self, base: int, region: Region) -> None:
        """Put `region` at `base`; raises `DeviceError` when it overlaps another or leaves the space."""
        end = base + region.size
        if base < 0 or region.size <= 0 or end > self.size:
            raise DeviceError(f"{self.name}: {region.name} at {base:#x} does not fit into {self.size:#x}")
        position = bisect.bisect_right(self._starts, base)
        for start, other in self._regions[max(0, position - 1) : position + 1]:
            if base < start + other.size and start < end:
                raise DeviceError(
                    f"{self.name}: {region.name} at {base:#x} overlaps {other.name} at {start:#x}"
                )
        self._starts.insert(position, base)
        self._regions.insert(position, (base, region))

    def unmap(self, base: int) -> None:
        """Take away the region that was mapped at `base`."""
        position = bisect.bisect_left(self._starts, base)
        if position == len(self._starts) or self._starts[position] != base:
            raise DeviceError(f"{self.name}: nothing is mapped at {base:#x}")
        del self._starts[position]
        del self._regions[position]

    def find(self, address: int) -> tuple[int, Region] | None:
        """The base and the region that answer at `address`."""
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        base, region = self._regions[position]
        return (base, region) if address < base + region.size else None

    def regions(self) -> list[tuple[int, Region]]:
        """Every mapping, in the order of addresses."""
        return list(self._regions)

    def read(self, address: int, size: int) -> int:
        """Read `size` bytes at `address`, byte by byte where it leaves a region."""
        found = self.find(address)
        if found is not None and address + size <= found[0] + found[1].size:
            return found[1].read(address - found[0], size) & ((1 << 8 * size) - 1)
        if found is None:
            log_mask(LogItem.GUEST_ERRORS, _NOBODY, self.name, "read", size, address)
        return sum(self._read_byte(address + i) << 8 * i for i in range(size))

    def _read_byte(self, address: int) -> int:
        found = self.find(address)
        return 0xFF if found is None else found[1].read(address - found[0], 1) & 0xFF

    def write(self, address: int, size: int, value: int) -> None:
        """Write `size` bytes at `address`, byte by byte where it leaves a region."""
        found = self.find(address)
        if found is not None and address + size <= found[0] + found[1].size:
            found[1].write(address - found[0], size, value)
            return
        if found is None:
            log_mask(LogItem.GUEST_ERRORS, _NOBODY, self.name, "write", size, address)
        for i in range(size):
            self._write_byte(address + i, value >> 8 * i & 0xFF)

    def _write_byte(self, address: int, value: int) -> None:
        found = self.find(address)
        if found is not None:
            found[1].write(address - found[0], 1, value)
