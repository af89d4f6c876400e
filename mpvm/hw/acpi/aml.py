"""A small encoder for AML, the byte code of ACPI's definition blocks (ACPI 6.5, chapter 20), and for
resource descriptors (chapter 6.4). Every function returns the encoding of one term.
"""

from enum import IntEnum
from typing import Final

_ROOT, _DUAL_NAME, _MULTI_NAME, _NULL_NAME = b"\\", b"\x2e", b"\x2f", b"\x00"
_ZERO, _ONE = b"\x00", b"\x01"
_BYTE, _WORD, _DWORD, _STRING, _QWORD = b"\x0a", b"\x0b", b"\x0c", b"\x0d", b"\x0e"
_NAME, _SCOPE, _BUFFER, _PACKAGE = b"\x08", b"\x10", b"\x11", b"\x12"
_DEVICE: Final = b"\x5b\x82"
_METHOD, _MUTEX, _REGION, _FIELD = b"\x14", b"\x5b\x01", b"\x5b\x80", b"\x5b\x81"
_ACQUIRE, _RELEASE, _NOTIFY = b"\x5b\x23", b"\x5b\x27", b"\x86"
_STORE, _EQUAL, _RETURN = b"\x70", b"\x93", b"\xa4"
_IF, _ELSE, _WHILE = b"\xa0", b"\xa1", b"\xa2"
_LOCAL_0, _ARG_0 = 0x60, 0x68
_SERIALIZED: Final = 1 << 3
_REGION_IO: Final = 1
_FOREVER: Final = b"\xff\xff"
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


def method(path: str, arguments: int, *terms: bytes, serialized: bool = True) -> bytes:
    """``Method (path, arguments, Serialized) { terms }``."""
    flags = bytes([arguments | (_SERIALIZED if serialized else 0)])
    body = name_string(path) + flags + b"".join(terms)
    return _METHOD + package_length(len(body)) + body


def mutex(path: str) -> bytes:
    """``Mutex (path, 0)``."""
    return _MUTEX + name_string(path) + b"\0"


def acquire(path: str) -> bytes:
    """``Acquire (path, 0xffff)``: wait as long as it takes."""
    return _ACQUIRE + name_string(path) + _FOREVER


def release(path: str) -> bytes:
    """``Release (path)``."""
    return _RELEASE + name_string(path)


def io_region(path: str, base: int, length: int) -> bytes:
    """``OperationRegion (path, SystemIO, base, length)``."""
    return _REGION + name_string(path) + bytes([_REGION_IO]) + integer(base) + integer(length)


class Access(IntEnum):
    """How wide the accesses to a field's region are (19.6.48)."""

    BYTE = 1
    DWORD = 3


class Update(IntEnum):
    """What a write to a part of a field's unit does to the rest of it (19.6.48)."""

    PRESERVE = 0
    WRITE_AS_ZEROS = 2


def field(region: str, access: Access, update: Update, *units: tuple[str, int]) -> bytes:
    """``Field (region, access, NoLock, update) { units }``: each a name, empty for a gap, and bits."""
    body = name_string(region) + bytes([access | update << 5])
    for unit, bits in units:
        # The length alone, without itself: a PkgLength that counts its own bytes would be one too long.
        body += (unit.ljust(4, "_").encode() if unit else b"\0") + _field_length(bits)
    return _FIELD + package_length(len(body)) + body


def _field_length(bits: int) -> bytes:
    if bits < 0x40:
        return bytes([bits])
    return bytes([1 << 6 | bits & 0xF, bits >> 4])


def local(number: int) -> bytes:
    """``LocalN``."""
    return bytes([_LOCAL_0 + number])


def arg(number: int) -> bytes:
    """``ArgN``."""
    return bytes([_ARG_0 + number])


def path(name: str) -> bytes:
    """A named object as an operand, or the call of a method without arguments."""
    return name_string(name)


def call(method_name: str, *arguments: bytes) -> bytes:
    """``method_name (arguments)``; as many as the method has."""
    return name_string(method_name) + b"".join(arguments)


def store(source: bytes, target: bytes) -> bytes:
    """``target = source``."""
    return _STORE + source + target


def equal(left: bytes, right: bytes) -> bytes:
    """``left == right``."""
    return _EQUAL + left + right


def return_(value: bytes) -> bytes:
    """``Return (value)``."""
    return _RETURN + value


def notify(name: str, value: bytes) -> bytes:
    """``Notify (name, value)``."""
    return _NOTIFY + name_string(name) + value


def if_(condition: bytes, *terms: bytes) -> bytes:
    """``If (condition) { terms }``."""
    body = condition + b"".join(terms)
    return _IF + package_length(len(body)) + body


def else_(*terms: bytes) -> bytes:
    """``Else { terms }``, right behind an If."""
    body = b"".join(terms)
    return _ELSE + package_length(len(body)) + body


def while_(condition: bytes, *terms: bytes) -> bytes:
    """``While (condition) { terms }``."""
    body = condition + b"".join(terms)
    return _WHILE + package_length(len(body)) + body


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
