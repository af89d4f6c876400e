"""Guest RAM: which part of guest-physical memory it fills, and access to it.

The PC's layout: RAM below the VGA hole, RAM from 0xc0000 to the end of low memory (3 GiB at most, or what
the board has; the rest below 4 GiB belongs to devices), and what is left from 4 GiB on. Inside the RAM block
an address below 4 GiB is its own offset, so the VGA hole is merely a part of the block that no slot shows.
"""

import bisect
import mmap
from collections.abc import Sequence
from typing import NamedTuple

from mpvm.abi.errors import ConfigError, DeviceError
from mpvm.abi.layout import PAGE_SIZE

VGA_HOLE_START = 0xA0000
VGA_HOLE_END = 0xC0000
LOW_RAM_LIMIT = 3 << 30
# No board splits as little.
SAME_RAM_LIMIT = 2 << 30
HIGH_RAM_START = 4 << 30
MIN_RAM_BYTES = 1 << 20


class Slot(NamedTuple):
    """`size` bytes of RAM at guest-physical `gpa`, found at `offset` of the RAM block."""

    gpa: int
    size: int
    offset: int


def ram_slots(memory_bytes: int, low_limit: int = LOW_RAM_LIMIT) -> list[Slot]:
    """The slots of a machine with `memory_bytes` of RAM, in the order of addresses; below 4 GiB `low_limit`.

    Raises `ConfigError` when that is less than 1 MiB or no whole number of pages.
    """
    if memory_bytes < MIN_RAM_BYTES or memory_bytes % PAGE_SIZE:
        raise ConfigError(
            f"memory: {memory_bytes} bytes is not possible; it must be a multiple of {PAGE_SIZE}"
            " and 1 MiB or more"
        )
    low_end = min(memory_bytes, low_limit)
    slots = [Slot(0, VGA_HOLE_START, 0), Slot(VGA_HOLE_END, low_end - VGA_HOLE_END, VGA_HOLE_END)]
    if memory_bytes > low_limit:
        slots.append(Slot(HIGH_RAM_START, memory_bytes - low_limit, low_limit))
    return slots


class GuestRam:
    """Guest-physical memory as bytes; each access must lie inside one slot.

    Its stores are for before the vCPUs run: what is stored while they do goes through `DmaMemory`.
    `block` is the writable RAM block, from the start of its mapping; whoever made it closes it, after
    `release()` and after every memoryview that `view` has given out is gone.
    """

    def __init__(self, block: memoryview, slots: Sequence[Slot]) -> None:
        self._block = block
        self.slots = tuple(sorted(slots))
        self._starts = [slot.gpa for slot in self.slots]
        for slot in self.slots:
            if slot.offset + slot.size > len(block):
                raise DeviceError(
                    f"guest RAM: the slot at {slot.gpa:#x} ends at {slot.offset + slot.size:#x} of a block"
                    f" of {len(block):#x} bytes"
                )

    def contains(self, gpa: int, size: int) -> bool:
        """Whether `size` bytes at `gpa` are RAM, all in one slot."""
        return self.offset(gpa, size) is not None

    def offset(self, gpa: int, size: int) -> int | None:
        """Where `size` bytes at `gpa` lie in the RAM block; None when they are not RAM, all in one slot."""
        slot = self._slot(gpa)
        if slot is None or size < 0 or gpa + size > slot.gpa + slot.size:
            return None
        return slot.offset + gpa - slot.gpa

    def read(self, gpa: int, size: int) -> bytes:
        """`size` bytes at `gpa`; raises `DeviceError` where that is not RAM."""
        return bytes(self.view(gpa, size))

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at `gpa`; raises `DeviceError` where that is not RAM."""
        self.view(gpa, len(data))[:] = data

    def zero(self, gpa: int, size: int) -> None:
        """Store `size` zero bytes at `gpa`; raises `DeviceError` where that is not RAM.

        Whole pages of shared memory are given back instead: they read as zeros, and take neither a fault nor
        memory before somebody touches them.
        """
        view, offset = self.view(gpa, size), self.offset(gpa, size) or 0
        first, last = -(-offset // PAGE_SIZE) * PAGE_SIZE, (offset + size) // PAGE_SIZE * PAGE_SIZE
        if first < last and self._give_back(first, last - first):
            view[: first - offset] = bytes(first - offset)
            view[last - offset :] = bytes(offset + size - last)
        else:
            view[:] = bytes(size)

    def _give_back(self, offset: int, size: int) -> bool:
        """Free pages of the block, which then read as zeros; whether that could be done."""
        mapping = self._block.obj
        if not isinstance(mapping, mmap.mmap):
            return False
        try:
            mapping.madvise(mmap.MADV_REMOVE, offset, size)
        except OSError:
            # No file system with holes, or locked pages.
            return False
        return True

    def view(self, gpa: int, size: int) -> memoryview:
        """The `size` bytes at `gpa` themselves, no copy; raises `DeviceError` where that is not RAM."""
        offset = self.offset(gpa, size)
        if offset is None:
            raise DeviceError(f"guest RAM: {size:#x} bytes at {gpa:#x} do not lie in RAM ({self._ranges()})")
        return self._block[offset : offset + size]

    def end_of_slot(self, gpa: int) -> int:
        """The first address behind the slot that holds `gpa`; raises `DeviceError` when none does."""
        slot = self._slot(gpa)
        if slot is None:
            raise DeviceError(f"guest RAM: {gpa:#x} is not RAM ({self._ranges()})")
        return slot.gpa + slot.size

    def release(self) -> None:
        """Let go of the block; the RAM can't be used any more."""
        self._block.release()

    def _slot(self, gpa: int) -> Slot | None:
        position = bisect.bisect_right(self._starts, gpa) - 1
        if position < 0:
            return None
        slot = self.slots[position]
        return slot if gpa < slot.gpa + slot.size else None

    def _ranges(self) -> str:
        return ", ".join(f"{slot.gpa:#x}-{slot.gpa + slot.size - 1:#x}" for slot in self.slots)
