"""How a kernel says by which protocol it wants to be booted: headers in its first 8 KiB.

Imports next to nothing: a command line asks before anything is started.
"""

import struct
from typing import NamedTuple

# Linux (Documentation/arch/x86/boot.rst): the boot sector's flag and the setup header's magic.
BOOT_FLAG_OFFSET, BOOT_FLAG = 0x1FE, b"\x55\xaa"
MAGIC_OFFSET, MAGIC = 0x202, b"HdrS"

# Multiboot 0.6.96, section 3.1.
HEADER_MAGIC = 0x1BADB002
HEADER_ADDRESSES = 1 << 16
SEARCH_BYTES = 8192

_HEADER = struct.Struct("<III")
_ADDRESSES = struct.Struct("<IIIII")


def is_linux(data: bytes) -> bool:
    """Whether the image has a Linux/x86 setup header."""
    return data.startswith(MAGIC, MAGIC_OFFSET) and data.startswith(BOOT_FLAG, BOOT_FLAG_OFFSET)


class MultibootHeader(NamedTuple):
    """A header found at `offset` of a file; `addresses` when its flag says that they are valid."""

    offset: int
    flags: int
    addresses: tuple[int, int, int, int, int] | None


def find_header(data: bytes) -> MultibootHeader | None:
    """The Multiboot header in the first 8 KiB (3.1), or None."""
    end = min(len(data), SEARCH_BYTES)
    for offset in range(0, end - _HEADER.size + 1, 4):
        magic, flags, checksum = _HEADER.unpack_from(data, offset)
        if magic == HEADER_MAGIC and (magic + flags + checksum) & 0xFFFFFFFF == 0:
            addresses = None
            if flags & HEADER_ADDRESSES:
                if offset + _HEADER.size + _ADDRESSES.size > end:
                    return None
                addresses = _ADDRESSES.unpack_from(data, offset + _HEADER.size)
            return MultibootHeader(offset, flags, addresses)
    return None
