"""A small encoder for AML, the byte code of ACPI's definition blocks (ACPI 6.5, chapter 20), and for
resource descriptors (chapter 6.4). Every function returns the encoding of one term.
"""

from typing import Final

_ROOT, _DUAL_NAME, _MULTI_NAME, _NULL_NAME = b"\\", b"\x2e", b"\x2f", b"\x00"
_ZERO, _ONE = b"\x00", b"\x01"
_BYTE, _WORD, _DWORD, _STRING, _QWORD = b"\x0a", b"\x0b", b"\x0c", b"\x0d", b"\x0e"
_NAME, _SCOPE, _BUFFER, _PACKAGE = b"\x08", b"\x10", b"\x11", b"\x12"
_DEVICE: Final = b"\x5b\x82"
_PNP_ID_CHARACTERS: Final = 7

# Resource descriptors: small ones have the length in their tag.
_IRQ_NO_FLAGS, _IO, _END_TAG = b"\x22", b"\x47", b"\x79\x00"
_DWORD_SPACE, _WORD_SPACE = 0x87, 0x88
_SPACE_MEMORY, _SPACE_IO, _SPACE_BUS = 0, 1, 2
_MIN_AND_MAX_FIXED: Final = 0x0C
_IO_ENTIRE_RANGE: Final = 0x03
_MEMORY_READ_WRITE: Final = 0x01
_DECODE_16_BITS: Final = b"\x01"


def package_length(size: int) -> bytes:
    """PkgLength of a term whose `size` bytes follow it (20.2.4); the length counts itself."""
    if size + 1 < 0x40:
        return bytes([size + 1])
    count = next(count for count in (2, 3, 4) if size + count < 1 << 4 + 8 * (count - 1))
    total = size + count
    return bytes([count - 1 << 6 | total & 0xF]) + (total >> 4).to_bytes(count - 1, "little")


def name_string(path: str) -> bytes:
    """A path such as ``\\_SB.PCI0``; each name is padded to four characters with underscores."""
    root, rest = (_ROOT, path[1:]) if path.startswith("\\") else (b"", path)
    names = [name.ljust(4, "_").encode() for name in rest.split(".")] if rest else []
    if not names:
        return root + _NULL_NAME
    if len(names) == 1:
        return root + names[0]
    prefix = _DUAL_NAME if len(names) == 2 else _MULTI_NAME + bytes([len(names)])
    return root + prefix + b"".join(names)


def integer(value: int) -> bytes:
    """The shortest encoding of an integer of up to 64 bits."""
    if value < 2:
        return _ONE if value else _ZERO
    prefix, size = next(
        (prefix, size)
        for prefix, size in ((_BYTE, 1), (_WORD, 2), (_DWORD, 4), (_QWORD, 8))
        if value >> 8 * size == 0
    )
    return prefix + value.to_bytes(size, "little")


def string(text: str) -> bytes:
    """An ASCII string."""
    return _STRING + text.encode("ascii") + b"\0"


def eisa_id(text: str) -> bytes:
    """A compressed EISA ID such as ``PNP0501`` as an integer (19.6.36)."""
    letters = 0
    for letter in text[:3]:
        letters = letters << 5 | ord(letter) - 0x40
    return integer(int.from_bytes(letters.to_bytes(2, "big") + bytes.fromhex(text[3:]), "little"))


def hardware_id(text: str) -> bytes:
    """A PNP ID (seven characters) as a compressed EISA ID, an ACPI ID (eight) as a string (6.1.5)."""
    return eisa_id(text) if len(text) == _PNP_ID_CHARACTERS else string(text)


def buffer(data: bytes) -> bytes:
    """A buffer of known content."""
    body = integer(len(data)) + data
    return _BUFFER + package_length(len(body)) + body


def package(*elements: bytes) -> bytes:
    """A package of encoded elements."""
    body = bytes([len(elements)]) + b"".join(elements)
    return _PACKAGE + package_length(len(body)) + body


def name(path: str, value: bytes) -> bytes:
    """``Name (path, value)``."""
    return _NAME + name_string(path) + value


def scope(path: str, *terms: bytes) -> bytes:
    """``Scope (path) { terms }``."""
    body = name_string(path) + b"".join(terms)
    return _SCOPE + package_length(len(body)) + body


def device(path: str, *terms: bytes) -> bytes:
    """``Device (path) { terms }``."""
    body = name_string(path) + b"".join(terms)
    return _DEVICE + package_length(len(body)) + body


def resource_template(*descriptors: bytes) -> bytes:
    """A buffer of resource descriptors, closed by an end tag without checksum."""
    return buffer(b"".join(descriptors) + _END_TAG)


def irq(number: int) -> bytes:
    """IRQNoFlags: an ISA interrupt, edge triggered, active high (6.4.2.1)."""
    return _IRQ_NO_FLAGS + (1 << number).to_bytes(2, "little")


def io(base: int, length: int) -> bytes:
    """IO: `length` ports at `base`, no other place possible (6.4.2.5)."""
    port = base.to_bytes(2, "little")
    return _IO + _DECODE_16_BITS + port + port + bytes([1, length])


def word_bus_number(first: int, last: int) -> bytes:
    """WordBusNumber: the bus numbers that a host bridge hands out (6.4.3.5.3)."""
    return _address_space(_WORD_SPACE, 2, _SPACE_BUS, 0, first, last)


def word_io(first: int, last: int) -> bytes:
    """WordIO: ports that a host bridge hands on."""
    return _address_space(_WORD_SPACE, 2, _SPACE_IO, _IO_ENTIRE_RANGE, first, last)


def dword_memory(first: int, last: int) -> bytes:
    """DWordMemory: uncached memory addresses that a host bridge hands on (6.4.3.5.2)."""
    return _address_space(_DWORD_SPACE, 4, _SPACE_MEMORY, _MEMORY_READ_WRITE, first, last)


def _address_space(tag: int, size: int, kind: int, type_flags: int, first: int, last: int) -> bytes:
    """A producer's address space descriptor: granularity, minimum, maximum, translation, length."""
    fields = b"".join(value.to_bytes(size, "little") for value in (0, first, last, 0, last - first + 1))
    body = bytes([kind, _MIN_AND_MAX_FIXED, type_flags]) + fields
    return bytes([tag]) + len(body).to_bytes(2, "little") + body
