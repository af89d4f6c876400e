"""Boot protocol `multiboot`: the Multiboot Specification, version 0.6.96.

Takes ELF32 and ELF64 files and any file whose header has address fields (the "a.out kludge"). What a kernel
finds, and where, is as QEMU's `-kernel` has it (hw/i386/multiboot.c, pc-bios/optionrom/multiboot.S): the
memory map and the information structure in low memory; behind the kernel, from a page boundary on, the list
of modules, all strings, and the modules, each on a page of its own. An initrd is the first module. The
kernel's file name stands in front of its command line.
"""

import struct
from pathlib import Path

from mpvm.abi.layout import PAGE_SIZE
from mpvm.boot import e820
from mpvm.boot.elf import is_elf, parse_elf
from mpvm.boot.entry import protected_mode
from mpvm.boot.headers import MultibootHeader, find_header
from mpvm.boot.image import image_error
from mpvm.boot.place import MIB, Arena, align_up, command_line, low_ram_top, memory_advice
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState
from mpvm.memory.ram import GuestRam

LOADER_MAGIC = 0x2BADB002

# Header flags (3.1.2). A loader must fail when one of the low 16 asks for what it does not know.
HEADER_PAGE_ALIGN = 1 << 0
HEADER_MEMORY_INFO = 1 << 1
HEADER_VIDEO_MODE = 1 << 2
HEADER_REQUIRED = 0xFFFF
HEADER_SUPPORTED = HEADER_PAGE_ALIGN | HEADER_MEMORY_INFO

# Information structure flags (3.3).
INFO_MEMORY = 1 << 0
INFO_BOOT_DEVICE = 1 << 1
INFO_CMDLINE = 1 << 2
INFO_MODS = 1 << 3
INFO_MMAP = 1 << 6
INFO_BOOT_LOADER_NAME = 1 << 9

# flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr,
# drives_length, drives_addr, config_table, boot_loader_name, apm_table, then VBE and framebuffer fields.
_INFO = struct.Struct("<18I")
INFO_BYTES = 88
_MODULE = struct.Struct("<IIII")
_MMAP_SIZE_FIELD = 4

# Where QEMU puts the memory map and the structure.
MMAP_ADDRESS = 0x9000
INFO_ADDRESS = 0x9500
_LOW_END = INFO_ADDRESS + INFO_BYTES
# The first hard disk, no partition (3.3, boot_device): what QEMU says.
BOOT_DEVICE = 0x8000FFFF
BOOT_LOADER_NAME = b"qemu"


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
        entry, start, end = _load_by_addresses(data, header, path, machine.ram)
    elif is_elf(data):
        image = parse_elf(path, data)
        start, end = image.load(machine.ram)
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
    behind = max(start + align_up(end - start, PAGE_SIZE), MIB)
    low_is_free = end <= MMAP_ADDRESS or start >= _LOW_END
    state = protected_mode(entry, machine.ram)
    state.rax = LOADER_MAGIC
    state.rbx = _put_information(Arena(machine.ram, behind, path), request, machine, low_is_free)
    return state


def _load_by_addresses(
    data: bytes, header: MultibootHeader, path: Path, ram: GuestRam
) -> tuple[int, int, int]:
    """Load by the header's address fields (3.1.3); returns the entry, the start and the end."""
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
    return entry_addr, load_addr, bss_end


def _put_information(arena: Arena, request: BootRequest, machine: BootMachine, low_is_free: bool) -> int:
    """Put the modules and the information structure (3.3) in place; returns the latter's address."""
    files = [*([] if request.initrd is None else [(request.initrd, "")]), *request.modules]
    strings = [command_line(string, path) or bytes(path) for path, string in files]
    modules_at = arena.reserve(_MODULE.size * len(files), what="module list")
    strings_at = [arena.put_string(string, "module string") for string in strings]
    name = request.kernel if request.argv0 is None else request.argv0
    text = command_line(f"{name} {request.append}", request.kernel)
    command_line_at = arena.put_string(text, "command line")
    loader_at = arena.put_string(BOOT_LOADER_NAME, "boot loader name")
    placed = [arena.put_file("module", path) for path, _string in files]
    modules = b"".join(
        _MODULE.pack(address, address + size, string_at, 0)
        for (address, size), string_at in zip(placed, strings_at, strict=True)
    )
    machine.ram.write(modules_at, modules)
    mmap = b"".join(
        e820.E820_ENTRY_BYTES.to_bytes(_MMAP_SIZE_FIELD, "little") + e820.encode([entry])
        for entry in machine.e820
    )
    low_is_free = low_is_free and len(mmap) <= INFO_ADDRESS - MMAP_ADDRESS

    def put(data: bytes, address: int, what: str) -> int:
        if not low_is_free:
            return arena.put(data, what=what)
        machine.ram.write(address, data)
        return address

    fields = _INFO.pack(
        INFO_MEMORY | INFO_BOOT_DEVICE | INFO_CMDLINE | INFO_MODS | INFO_MMAP | INFO_BOOT_LOADER_NAME,
        e820.base_memory_kib(machine.e820),
        e820.extended_memory_kib(machine.e820),
        BOOT_DEVICE,
        command_line_at,
        len(placed),
        modules_at,
        *(0, 0, 0, 0),
        len(mmap),
        put(mmap, MMAP_ADDRESS, "memory map"),
        *(0, 0, 0),
        loader_at,
        0,
    )
    return put(fields.ljust(INFO_BYTES, b"\0"), INFO_ADDRESS, "Multiboot information")
