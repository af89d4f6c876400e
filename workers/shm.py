"""Addresses of shared-memory blocks in this process, for the engine core."""

import ctypes
from multiprocessing.shared_memory import SharedMemory


def view(block: SharedMemory) -> memoryview:
    """The bytes of an open block."""
    buffer = block.buf
    if buffer is None:
        raise ValueError(f"shared memory {block.name} is closed")
    return buffer


def address(block: SharedMemory) -> int:
    """Where `block` is mapped. The mapping stays until the block is closed."""
    anchor = ctypes.c_char.from_buffer(view(block))
    return ctypes.addressof(anchor)
