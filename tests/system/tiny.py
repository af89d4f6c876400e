"""Guests of a few bytes: multiboot images with one thing to do, so that a run takes no longer than it must.

All write GREETING to the first serial port before anything else: the guest runs.
"""

import struct

GREETING = b"!"

_LOAD_ADDRESS = 0x100000
_MAGIC = 0x1BADB002
_HAS_ADDRESSES = 1 << 16  # multiboot 1 specification, 3.1.1: the address fields of the header are valid
_HEADER = struct.Struct("<8I")

_GREET = b"\x66\xba\xf8\x03\xb0" + GREETING + b"\xee"  # mov dx, 0x3f8; mov al, '!'; out dx, al

HALT = b"\xfa\xf4\xeb\xfd"  # cli; again: hlt; jmp again
SPIN = b"\xeb\xfe"  # again: jmp again
PORT_STORM = b"\x66\xba\xf9\x03" + b"\xec\xeb\xfd"  # mov dx, 0x3f9; again: in al, dx; jmp again
# An IDT with no entry: push 0; push 0; lidt [esp]; int3
TRIPLE_FAULT = b"\x6a\x00\x6a\x00\x0f\x01\x1c\x24\xcc"


def debug_exit(value: int) -> bytes:
    """Write `value` to isa-debug-exit's port 0xf4, then stay."""
    return b"\xb0" + bytes([value]) + b"\xe6\xf4" + SPIN


def image(code: bytes) -> bytes:
    """A multiboot kernel (the a.out kludge) that greets and then runs `code` in 32-bit protected mode."""
    entry = _LOAD_ADDRESS + _HEADER.size
    stack = b"\xbc" + struct.pack("<I", 0x90000)  # mov esp, 0x90000: multiboot gives none
    checksum = -(_MAGIC + _HAS_ADDRESSES) & 0xFFFFFFFF
    header = _HEADER.pack(_MAGIC, _HAS_ADDRESSES, checksum, _LOAD_ADDRESS, _LOAD_ADDRESS, 0, 0, entry)
    return header + stack + _GREET + code
