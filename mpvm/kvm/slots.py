"""Memory slots: KVM's rules for them, and their way into the VM block.

Every byte of host memory that slots show has one page number, however many slots show it, so that code is
coherent across all of them (docs/coherence.md). `Backends` hands these numbers out.
"""

import errno
from dataclasses import dataclass
from typing import Final

from mpvm.abi.kvm.constants import MemFlag
from mpvm.abi.layout import MAX_MEMORY_SLOTS, PAGE_SIZE, MemoryBackend, MemorySlot, VmPage
from mpvm.kvm.handle import fail

_CALL: Final = "SET_USER_MEMORY_REGION"
#: The engine has 40 bits of guest-physical address.
PHYSICAL_BYTES: Final = 1 << 40
_USER_BYTES: Final = 1 << 47
_FLAGS: Final = int(MemFlag.LOG_DIRTY_PAGES | MemFlag.READONLY)
_MAX_PAGES: Final = (1 << 31) - 1


@dataclass(frozen=True)
class Region:
    """What user space has said of a slot."""

    slot: int
    flags: int
    gpa: int
    size: int
    address: int

    def overlaps(self, other: "Region") -> bool:
        """Whether the two share guest-physical addresses."""
        return self.gpa < other.gpa + other.size and other.gpa < self.gpa + self.size


def changed(regions: dict[int, Region], wanted: Region) -> dict[int, Region]:
    """`regions` by slot after KVM_SET_USER_MEMORY_REGION; `OSError` as KVM's, which checks in this order."""
    if wanted.flags & ~_FLAGS:
        fail(errno.EINVAL, _CALL, f"flags {wanted.flags:#x} are unknown")
    if wanted.size % PAGE_SIZE or wanted.gpa % PAGE_SIZE or wanted.address % PAGE_SIZE:
        fail(errno.EINVAL, _CALL, f"size and addresses are multiples of {PAGE_SIZE}")
    if not 0 <= wanted.slot < MAX_MEMORY_SLOTS:
        fail(errno.EINVAL, _CALL, f"slots are 0 to {MAX_MEMORY_SLOTS - 1}")
    if wanted.gpa + wanted.size > PHYSICAL_BYTES or wanted.address + wanted.size > _USER_BYTES:
        fail(errno.EINVAL, _CALL, "the memory ends beyond what can be addressed")
    if wanted.size // PAGE_SIZE > _MAX_PAGES:
        fail(errno.EINVAL, _CALL, "the slot is too large")
    old = regions.get(wanted.slot)
    others = {number: region for number, region in regions.items() if number != wanted.slot}
    if wanted.size == 0:
        if old is None:
            fail(errno.EINVAL, _CALL, f"there is no slot {wanted.slot} to delete")
        return others
    if old is not None and (
        wanted.address != old.address
        or wanted.size != old.size
        or (wanted.flags ^ old.flags) & MemFlag.READONLY
    ):
        fail(errno.EINVAL, _CALL, "a slot's memory, size and READONLY stay; delete it first")
    if (old is None or wanted.gpa != old.gpa) and any(wanted.overlaps(other) for other in others.values()):
        fail(errno.EEXIST, _CALL, "another slot is there")
    return others | {wanted.slot: wanted}


@dataclass(frozen=True)
class Backend:
    """Host memory that slots show, and its place in the page map."""

    address: int
    size: int
    offset: int

    def holds(self, address: int, size: int) -> bool:
        """Whether all of that memory is here."""
        return self.address <= address and address + size <= self.address + self.size


class Backends:
    """Page numbers for host memory, `size` bytes of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._all: list[Backend] = []

    def take(self, regions: dict[int, Region]) -> list[Backend]:
        """Backends for the memory of all `regions`; what is in use keeps its place. ENOMEM without room."""
        kept: list[Backend] = []
        for address, size in _merged(regions):
            same = next((b for b in self._all if b.address == address and b.size == size), None)
            if same is not None:
                kept.append(same)
        for address, size in _merged(regions):
            if not any(backend.holds(address, size) for backend in kept):
                kept.append(Backend(address, size, self._free(kept, size)))
        self._all = kept
        return kept

    def _free(self, kept: list[Backend], size: int) -> int:
        start = 0
        for backend in sorted(kept, key=lambda backend: backend.offset):
            if backend.offset - start >= size:
                return start
            start = backend.offset + backend.size
        if start + size > self._size:
            fail(errno.ENOMEM, _CALL, f"a VM has {self._size >> 30} GiB of memory at most")
        return start


def _merged(regions: dict[int, Region]) -> list[tuple[int, int]]:
    """The host memory of all regions, as address and size of pieces that do not overlap."""
    pieces: list[tuple[int, int]] = []
    for address, end in sorted((region.address, region.address + region.size) for region in regions.values()):
        if pieces and address < pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(end, pieces[-1][1]))
        else:
            pieces.append((address, end))
    return [(address, end - address) for address, end in pieces]


def shared(block_address: int, block_size: int) -> list[Backend]:
    """The one backend of a VM whose workers see nothing but the RAM block."""
    return [Backend(block_address, block_size, 0)]


def publish(page: VmPage, regions: dict[int, Region], backends: list[Backend], *, by_host: bool) -> None:
    """Write slots and backends to the VM page; no vCPU runs."""
    for number, backend in enumerate(backends):
        page.backend[number] = MemoryBackend(backend.offset, backend.size, backend.address if by_host else 0)
    page.backend_count = len(backends)
    for number, region in enumerate(regions.values()):
        page.slot[number] = MemorySlot(region.gpa, region.size, offset_of(region, backends), region.flags)
    page.slot_count = len(regions)
    page.dirty_logging = any(region.flags & MemFlag.LOG_DIRTY_PAGES for region in regions.values())
    page.memory_generation += 1


def offset_of(region: Region, backends: list[Backend]) -> int:
    """Where the memory of `region` stands in the page map."""
    backend = next(backend for backend in backends if backend.holds(region.address, region.size))
    return backend.offset + region.address - backend.address
