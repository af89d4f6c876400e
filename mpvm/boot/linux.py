"""Boot protocol `linux`: the 64-bit entry of a bzImage (Linux, Documentation/arch/x86/boot.rst).

Low memory during the hand-over: GDT and boot parameters, page tables, setup data, command line, all
below the EBDA and all only needed until the kernel has copied them. The kernel goes to its preferred
address where that is RAM, else, when it is relocatable, wherever it fits; the initrd goes as high as
the kernel can reach.
"""

import struct
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from mpvm.abi.layout import PAGE_SIZE
from mpvm.boot import e820
from mpvm.boot.entry import long_mode
from mpvm.boot.headers import MAGIC_OFFSET, is_linux
from mpvm.boot.image import file_size, image_error, load_file
from mpvm.boot.place import MIB, align_down, align_up, command_line, low_ram_top, memory_advice
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState, DescriptorTableState
from mpvm.memory.ram import HIGH_RAM_START, GuestRam

GDT_ADDRESS = 0x500
BOOT_PARAMS_ADDRESS = 0x7000
PAGE_TABLE_ADDRESS = 0x9000
SETUP_DATA_ADDRESS = 0x1F000
COMMAND_LINE_ADDRESS = 0x20000

BOOT_CS, BOOT_DS = 0x10, 0x18
# Null, unused, 64-bit code (4 GiB, execute/read), data (4 GiB, read/write): boot.rst, "64-bit Boot Protocol".
GDT = struct.pack("<4Q", 0, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)

SECTOR = 512
HEADER_START = 0x1F1
MIN_VERSION = 0x020C  # Linux 3.8: the first with xloadflags
LONG_MODE_ENTRY = 0x200
LOADER_TYPE_UNDEFINED = 0xFF

LOADED_HIGH = 1 << 0
XLF_KERNEL_64 = 1 << 0
XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1

BOOT_PARAMS_BYTES = 4096
E820_MAX_ENTRIES_ZEROPAGE = 128


class Param(NamedTuple):
    """A field of `struct boot_params` (arch/x86/include/uapi/asm/bootparam.h)."""

    offset: int
    format: str


PARAMS = {
    "acpi_rsdp_addr": Param(0x070, "<Q"),
    "ext_ramdisk_image": Param(0x0C0, "<I"),
    "ext_ramdisk_size": Param(0x0C4, "<I"),
    "ext_cmd_line_ptr": Param(0x0C8, "<I"),
    "e820_entries": Param(0x1E8, "<B"),
    "setup_sects": Param(0x1F1, "<B"),
    "syssize": Param(0x1F4, "<I"),
    "boot_flag": Param(0x1FE, "<H"),
    "version": Param(0x206, "<H"),
    "type_of_loader": Param(0x210, "<B"),
    "loadflags": Param(0x211, "<B"),
    "code32_start": Param(0x214, "<I"),
    "ramdisk_image": Param(0x218, "<I"),
    "ramdisk_size": Param(0x21C, "<I"),
    "cmd_line_ptr": Param(0x228, "<I"),
    "initrd_addr_max": Param(0x22C, "<I"),
    "kernel_alignment": Param(0x230, "<I"),
    "relocatable_kernel": Param(0x234, "<B"),
    "min_alignment": Param(0x235, "<B"),
    "xloadflags": Param(0x236, "<H"),
    "cmdline_size": Param(0x238, "<I"),
    "setup_data": Param(0x250, "<Q"),
    "pref_address": Param(0x258, "<Q"),
    "init_size": Param(0x260, "<I"),
    "e820_table": Param(0x2D0, ""),
}


class SetupDataType(IntEnum):
    """Types of `struct setup_data` (arch/x86/include/uapi/asm/setup_data.h)."""

    E820_EXT = 1
    RNG_SEED = 9


_SETUP_DATA = struct.Struct("<QII")

_PRESENT_WRITABLE = 0x3
_LARGE_PAGE = 0x80
_ENTRIES = 512
_LARGE_PAGE_BYTES = 2 * MIB
_GIB = 1 << 30


class BootParams:
    """The zero page, fields by name."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def get(self, name: str) -> int:
        """The value of a field."""
        offset, layout = PARAMS[name]
        value: int = struct.unpack_from(layout, self.data, offset)[0]
        return value

    def set(self, name: str, value: int) -> None:
        """Set a field."""
        offset, layout = PARAMS[name]
        struct.pack_into(layout, self.data, offset, value)


def load(data: bytes, request: BootRequest, machine: BootMachine) -> CpuState:
    """Load a bzImage; raises `BootImageError` when it is none, is truncated or does not fit."""
    path, ram = request.kernel, machine.ram
    if request.modules:
        raise image_error("kernel", path, "the linux protocol takes no modules; give an initrd")
    params = _boot_params(data, path)
    code = _protected_mode_code(data, params, path)
    address = _place_kernel(params, ram, path)
    kernel_end = address + params.get("init_size")
    ram.write(address, code)

    params.set("type_of_loader", LOADER_TYPE_UNDEFINED)
    params.set("loadflags", params.get("loadflags") | LOADED_HIGH)
    params.set("code32_start", address & 0xFFFFFFFF)
    params.set("acpi_rsdp_addr", machine.rsdp_address)
    _put_command_line(params, request, ram)
    if request.initrd is not None:
        _put_initrd(params, request.initrd, ram, address, kernel_end)
    _put_memory_map(params, machine, path)
    params.set("setup_data", put_setup_data(ram, [(SetupDataType.RNG_SEED, machine.rng_seed)]))
    ram.write(BOOT_PARAMS_ADDRESS, params.data)
    ram.write(GDT_ADDRESS, GDT)
    put_identity_map(ram, address, kernel_end)

    state = long_mode(
        address + LONG_MODE_ENTRY,
        PAGE_TABLE_ADDRESS,
        DescriptorTableState(GDT_ADDRESS, len(GDT) - 1),
        BOOT_CS,
        BOOT_DS,
    )
    state.rsi = BOOT_PARAMS_ADDRESS
    return state


def _boot_params(data: bytes, path: Path) -> BootParams:
    """A zero page with the image's setup header in it; refuses what can't be started in 64 bits."""
    if not is_linux(data):
        raise image_error("kernel", path, "is no Linux kernel (no HdrS header); a bzImage is right")
    # The header's end is the target of the jump at 0x200 (boot.rst, "64-bit Boot Protocol").
    header_end = MAGIC_OFFSET + data[MAGIC_OFFSET - 1]
    if len(data) < header_end:
        raise image_error("kernel", path, f"is truncated: {len(data)} bytes end in its setup header")
    params = BootParams(bytearray(BOOT_PARAMS_BYTES))
    params.data[HEADER_START:header_end] = data[HEADER_START:header_end]
    version = params.get("version")
    if version < MIN_VERSION or not params.get("xloadflags") & XLF_KERNEL_64:
        raise image_error(
            "kernel",
            path,
            f"has no 64-bit entry point (boot protocol {version >> 8}.{version & 0xFF:02});"
            " a 64-bit bzImage of Linux 3.8 or newer is right",
        )
    if not params.get("loadflags") & LOADED_HIGH:
        raise image_error("kernel", path, "is a zImage, loaded below 1 MiB; a bzImage is right")
    return params


def _protected_mode_code(data: bytes, params: BootParams, path: Path) -> memoryview:
    """The part of the image behind its real-mode setup."""
    start = ((params.get("setup_sects") or 4) + 1) * SECTOR
    size = params.get("syssize") * 16
    # syssize counts 16-byte units, the last of which need not be whole in the file.
    if len(data) <= start or start + size - len(data) >= 16:
        raise image_error(
            "kernel", path, f"is truncated: {start + size} bytes by its setup header, {len(data)} in the file"
        )
    return memoryview(data)[start : start + size]


def _place_kernel(params: BootParams, ram: GuestRam, path: Path) -> int:
    """Where the kernel goes: `init_size` bytes of RAM at an address that its header allows."""
    preferred, size = params.get("pref_address"), params.get("init_size")
    above_4g = bool(params.get("xloadflags") & XLF_CAN_BE_LOADED_ABOVE_4G)
    if ram.contains(preferred, size) and (preferred < HIGH_RAM_START or above_4g):
        return preferred
    if params.get("relocatable_kernel"):
        starts = [max(slot.gpa, MIB) for slot in ram.slots if above_4g or slot.gpa < HIGH_RAM_START]
        # The kernel likes its own alignment; it runs at the smallest that its header admits.
        for alignment in (params.get("kernel_alignment"), 1 << params.get("min_alignment")):
            for start in starts:
                address = align_up(start, alignment or 1)
                if ram.contains(address, size):
                    return address
    raise image_error(
        "kernel",
        path,
        f"needs {size} bytes of RAM at {preferred:#x}, RAM ends at {low_ram_top(ram):#x};"
        f" {memory_advice(preferred + size)}",
    )


def _put_command_line(params: BootParams, request: BootRequest, ram: GuestRam) -> None:
    text = command_line(request.append, request.kernel)
    limit = min(params.get("cmdline_size"), e820.EBDA_START - COMMAND_LINE_ADDRESS - 1)
    if len(text) > limit:
        raise image_error(
            "kernel", request.kernel, f"its command line has {len(text)} bytes; it takes {limit} at most"
        )
    ram.write(COMMAND_LINE_ADDRESS, text + b"\0")
    params.set("cmd_line_ptr", COMMAND_LINE_ADDRESS)


def _put_initrd(params: BootParams, path: Path, ram: GuestRam, kernel_start: int, kernel_end: int) -> None:
    """Load the initrd at the top of what RAM below 3 GiB the kernel can reach."""
    size = file_size("initrd", path)
    top = low_ram_top(ram)
    # initrd_addr_max is the highest byte. A kernel that can live above 4 GiB finds its initrd anywhere.
    tops = [min(top, params.get("initrd_addr_max") + 1)]
    if params.get("xloadflags") & XLF_CAN_BE_LOADED_ABOVE_4G:
        tops.append(top)
    floor = align_up(kernel_end, PAGE_SIZE) if kernel_start < HIGH_RAM_START else MIB
    for end in tops:
        address = align_down(end - size, PAGE_SIZE)
        if address >= floor:
            break
    else:
        raise image_error(
            "initrd",
            path,
            f"its {size} bytes do not fit between the kernel's end {floor:#x} and {tops[-1]:#x};"
            f" {memory_advice(align_up(floor + size, PAGE_SIZE))}",
        )
    load_file("initrd", path, ram, address, size)
    params.set("ramdisk_image", address)
    params.set("ramdisk_size", size)


def _put_memory_map(params: BootParams, machine: BootMachine, path: Path) -> None:
    if len(machine.e820) > E820_MAX_ENTRIES_ZEROPAGE:
        raise image_error(
            "kernel",
            path,
            f"can be told of {E820_MAX_ENTRIES_ZEROPAGE} memory ranges, not {len(machine.e820)}",
        )
    table = e820.encode(machine.e820)
    start = PARAMS["e820_table"].offset
    params.data[start : start + len(table)] = table
    params.set("e820_entries", len(machine.e820))


def put_setup_data(ram: GuestRam, items: list[tuple[SetupDataType, bytes]]) -> int:
    """Store a linked list of `struct setup_data`; returns the address of its head, 0 when it is empty."""
    address = SETUP_DATA_ADDRESS
    for index, (kind, data) in enumerate(items):
        following = align_up(address + _SETUP_DATA.size + len(data), 16)
        is_last = index == len(items) - 1
        ram.write(address, _SETUP_DATA.pack(0 if is_last else following, kind, len(data)) + data)
        address = following
    return SETUP_DATA_ADDRESS if items else 0


def put_identity_map(ram: GuestRam, start: int, end: int) -> None:
    """Page tables at `PAGE_TABLE_ADDRESS` that map the first 4 GiB and `start`..`end` to themselves."""
    gibs = sorted({*range(4), *range(start // _GIB, align_up(end, _GIB) // _GIB)})
    directory_pointers = PAGE_TABLE_ADDRESS + PAGE_SIZE
    directories = directory_pointers + PAGE_SIZE
    pointers = [0] * _ENTRIES
    for index, gib in enumerate(gibs):
        directory = directories + index * PAGE_SIZE
        pointers[gib] = directory | _PRESENT_WRITABLE
        ram.write(
            directory,
            struct.pack(
                f"<{_ENTRIES}Q",
                *(
                    gib * _GIB + page * _LARGE_PAGE_BYTES | _LARGE_PAGE | _PRESENT_WRITABLE
                    for page in range(_ENTRIES)
                ),
            ),
        )
    ram.write(
        PAGE_TABLE_ADDRESS, struct.pack("<Q", directory_pointers | _PRESENT_WRITABLE).ljust(PAGE_SIZE, b"\0")
    )
    ram.write(directory_pointers, struct.pack(f"<{_ENTRIES}Q", *pointers))
