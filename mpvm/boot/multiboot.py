"""Boot protocol `multiboot`: the Multiboot Specification, version 0.6.96.

Takes ELF32 and ELF64 files and any file whose header has address fields (the "a.out kludge"). Modules,
their strings and the information structure go behind the kernel, modules first. An initrd is the first
module, as in QEMU.
"""

import struct
from pathlib import Path
from typing import NamedTuple

from mpvm import __version__
from mpvm.boot import e820
from mpvm.boot.elf import is_elf, parse_elf
from mpvm.boot.entry import protected_mode
from mpvm.boot.image import image_error
from mpvm.boot.place import MIB, Arena, command_line, low_ram_top, memory_advice
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState
from mpvm.memory.ram import GuestRam

HEADER_MAGIC = 0x1BADB002
LOADER_MAGIC = 0x2BADB002
SEARCH_BYTES = 8192

# Header flags (3.1.2). A loader must fail when one of the low 16 asks for what it does not know.
HEADER_PAGE_ALIGN = 1 << 0
HEADER_MEMORY_INFO = 1 << 1
HEADER_VIDEO_MODE = 1 << 2
HEADER_ADDRESSES = 1 << 16
HEADER_REQUIRED = 0xFFFF
HEADER_SUPPORTED = HEADER_PAGE_ALIGN | HEADER_MEMORY_INFO

# Information structure flags (3.3).
INFO_MEMORY = 1 << 0
INFO_CMDLINE = 1 << 2
INFO_MODS = 1 << 3
INFO_MMAP = 1 << 6
INFO_BOOT_LOADER_NAME = 1 << 9

_HEADER = struct.Struct("<III")
_ADDRESSES = struct.Struct("<IIIII")
# flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr,
# drives_length, drives_addr, config_table, boot_loader_name, apm_table, then VBE and framebuffer fields.
_INFO = struct.Struct("<18I")
INFO_BYTES = 116
_MODULE = struct.Struct("<IIII")
_MMAP_SIZE_FIELD = 4


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


def load(data: bytes, request: BootRequest, machine: BootMachine) -> CpuState:
    """Load a Multiboot kernel; raises `BootImageError` when it is none or does not fit."""
    path = request.kernel
    header = find_header(data)
    if header is None:
        raise image_error(
            "kernel", path, "has no Multiboot header in its first 8192 bytes; a Multiboot 1 kernel is right"
        )
    unknown = header.flags & HEADER_REQUIRED & ~HEADER_SUPPORTED
    if unknown & HEADER_VIDEO_MODE:
        raise image_error("kernel", path, "wants a video mode (Multiboot flag 2) and there is no display")
    if unknown:
        raise image_error(
            "kernel",
            path,
            f"wants unknown Multiboot features (flags {unknown:#x}); only bits 0 and 1 are known",
        )
    if header.addresses is not None:
        entry, end = _load_by_addresses(data, header, path, machine.ram)
    elif is_elf(data):
        image = parse_elf(path, data)
        _, end = image.load(machine.ram)
        entry = image.physical_entry()
    else:
        raise image_error(
            "kernel", path, "has a Multiboot header but is neither ELF nor says where to load it (flag 16)"
        )
    if entry >= 1 << 32:
        raise image_error(
            "kernel", path, f"its entry point {entry:#x} is beyond 4 GiB; Multiboot starts in 32 bits"
        )
    # Information behind a kernel in base memory would run into the EBDA and the VGA hole.
    info = _put_information(Arena(machine.ram, max(end, MIB), path), request, machine)
    state = protected_mode(entry)
    state.rax = LOADER_MAGIC
    state.rbx = info
    return state


def _load_by_addresses(data: bytes, header: MultibootHeader, path: Path, ram: GuestRam) -> tuple[int, int]:
    """Load by the header's address fields (3.1.3); returns the entry and the first free address."""
    assert header.addresses is not None
    header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr = header.addresses
    start = header.offset - (header_addr - load_addr)
    size = load_end_addr - load_addr if load_end_addr else len(data) - start
    if header_addr < load_addr or start < 0 or size <= 0:
        raise image_error("kernel", path, "the address fields of its Multiboot header contradict each other")
    if start + size > len(data):
        raise image_error(
            "kernel",
            path,
            f"is truncated: {start + size} bytes by its Multiboot header, {len(data)} in the file",
        )
    end = load_addr + size
    bss_end = max(end, bss_end_addr)
    if not ram.contains(load_addr, bss_end - load_addr):
        raise image_error(
            "kernel",
            path,
            f"its image {load_addr:#x}-{bss_end - 1:#x} does not lie in RAM, which ends at"
            f" {low_ram_top(ram):#x}; {memory_advice(bss_end)}",
        )
    ram.write(load_addr, data[start : start + size])
    ram.zero(end, bss_end - end)
    return entry_addr, bss_end


def _put_information(arena: Arena, request: BootRequest, machine: BootMachine) -> int:
    """Put the modules and the information structure (3.3) in place; returns the latter's address."""
    placed = arena.put_modules(request.initrd, request.modules)
    modules = b"".join(
        _MODULE.pack(
            address,
            address + size,
            arena.put_string(command_line(string, path) or bytes(path), "module string"),
            0,
        )
        for (address, size), path, string in placed
    )
    mmap = b"".join(
        e820.E820_ENTRY_BYTES.to_bytes(_MMAP_SIZE_FIELD, "little") + e820.encode([entry])
        for entry in machine.e820
    )
    fields = _INFO.pack(
        INFO_MEMORY | INFO_CMDLINE | INFO_MODS | INFO_MMAP | INFO_BOOT_LOADER_NAME,
        e820.base_memory_kib(machine.e820),
        e820.extended_memory_kib(machine.e820),
        0,
        arena.put_string(command_line(request.append, request.kernel), "command line"),
        len(placed),
        arena.put(modules, what="module list"),
        *(0, 0, 0, 0),
        len(mmap),
        arena.put(mmap, what="memory map"),
        *(0, 0, 0),
        arena.put_string(f"mpvm {__version__}".encode(), "boot loader name"),
        0,
    )
    return arena.put(fields.ljust(INFO_BYTES, b"\0"), what="Multiboot information")
