"""Memory of a process that guests can be given."""

import ctypes
import mmap
from typing import Any


class Memory:
    """Page-aligned memory: `view` is its bytes, `address` where it lies in this process, for a slot."""

    def __init__(self, block: "mmap.mmap | memoryview") -> None:
        self._block = block
        self.view = memoryview(block)
        # Keeps the memory there as long as somebody has the address from us.
        self._anchor: Any = ctypes.c_char.from_buffer(block)
        self.address = ctypes.addressof(self._anchor)

    def __len__(self) -> int:
        return len(self.view)

    def write(self, offset: int, data: bytes) -> None:
        """Store `data` at `offset`."""
        self.view[offset : offset + len(data)] = data

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`."""
        return bytes(self.view[offset : offset + size])
