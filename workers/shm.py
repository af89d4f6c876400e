"""The coordinator's shared-memory blocks, as this process maps them.

`mpvm.coordinator.shm` made them and owns their names; a worker only maps them.
"""

import ctypes
import mmap
import os
from pathlib import Path

_SHM_DIRECTORY = Path("/dev/shm")  # noqa: S108  (where shm_open() looks, shm_overview(7))


# x86's huge page. A mapping that begins at a multiple of it can have them.
_HUGE_PAGE = 2 << 20
_MAP_FIXED = 0x10
_MAP_FAILED = ctypes.c_void_p(-1).value


def attach(name: str) -> mmap.mmap:
    """Map the whole block `name`, shared, for reading and writing."""
    fd = os.open(_SHM_DIRECTORY / name, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, 0)
    finally:
        os.close(fd)


def attach_ram(name: str) -> int:
    """Map the block `name` as `attach` does, until the process ends, where huge pages can be; its address."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    number = ctypes.c_int
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, number, number, number, ctypes.c_ssize_t)
    fd = os.open(_SHM_DIRECTORY / name, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        room = libc.mmap(None, size + _HUGE_PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if room != _MAP_FAILED:
            place = -(-room // _HUGE_PAGE) * _HUGE_PAGE
            access = mmap.PROT_READ | mmap.PROT_WRITE
            room = libc.mmap(place, size, access, mmap.MAP_SHARED | _MAP_FIXED, fd, 0)
        if room == _MAP_FAILED:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    finally:
        os.close(fd)
    return int(room)


def address(block: mmap.mmap) -> int:
    """Where `block` is mapped. The mapping stays until the block is closed."""
    anchor = ctypes.c_char.from_buffer(block)
    return ctypes.addressof(anchor)
