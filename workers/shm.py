"""The coordinator's shared-memory blocks, as this process maps them.

`mpvm.coordinator.shm` made them and owns their names; a worker only maps them.
"""

import ctypes
import mmap
import os
from pathlib import Path

_SHM_DIRECTORY = Path("/dev/shm")  # noqa: S108  (where shm_open() looks, shm_overview(7))


def attach(name: str) -> mmap.mmap:
    """Map the whole block `name`, shared, for reading and writing."""
    fd = os.open(_SHM_DIRECTORY / name, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, 0)
    finally:
        os.close(fd)


def address(block: mmap.mmap) -> int:
    """Where `block` is mapped. The mapping stays until the block is closed."""
    anchor = ctypes.c_char.from_buffer(block)
    return ctypes.addressof(anchor)
