"""Guest memory as a device sees it: loads and stores of a bus master, while vCPUs run."""

from collections.abc import Callable
from typing import Protocol

from mpvm.abi.log import LogItem
from mpvm.memory.ram import GuestRam
from mpvm.trace.log import log_mask


class BusMemory(Protocol):
    """Memory as a bus master sees it."""

    def read(self, address: int, size: int, /) -> bytes | None:
        """`size` bytes at `address`; None when not all of them are memory."""
        ...

    def write(self, address: int, data: bytes, /) -> bool:
        """Store `data` at `address`; False when not all of it would go to memory."""
        ...


class DmaMemory:
    """Access to guest RAM by guest-physical address; nothing but RAM answers.

    `store(offset, data)` puts data into the RAM block so that no vCPU goes on running what it has translated
    from the bytes that were there (docs/coherence.md). Where a guest tells a device to go is the guest's
    choice: a wrong address is no defect of the device, which hears of it and tells the guest.
    """

    def __init__(self, ram: GuestRam, store: Callable[[int, bytes], None]) -> None:
        self._ram = ram
        self._store = store

    def read(self, gpa: int, size: int) -> bytes | None:
        """`size` bytes at `gpa`; None when not all of them are RAM."""
        if not self._ram.contains(gpa, size):
            log_mask(LogItem.GUEST_ERRORS, "DMA: a read of %d bytes at %#x, which is no RAM", size, gpa)
            return None
        return self._ram.read(gpa, size)

    def write(self, gpa: int, data: bytes) -> bool:
        """Store `data` at `gpa`; False, and nothing is stored, when not all of it would go to RAM.

        Stores are seen in the order in which they are made, each of 1, 2, 4 or 8 bytes at a multiple of its
        size at once.
        """
        offset = self._ram.offset(gpa, len(data))
        if offset is None:
            log_mask(LogItem.GUEST_ERRORS, "DMA: a write of %d bytes at %#x, which is no RAM", len(data), gpa)
            return False
        self._store(offset, data)
        return True
