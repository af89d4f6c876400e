"""Boot protocol `elf`: the PVH entry of an ELF kernel (Xen, docs/misc/pvh.pandoc, and
xen/include/public/arch-x86/hvm/start_info.h).

The note XEN_ELFNOTE_PHYS32_ENTRY names the physical address at which the kernel starts in 32-bit
protected mode, EBX pointing to `hvm_start_info`. That, the initrd and the modules go behind the kernel;
an initrd is the first module.
"""

import struct

from mpvm.boot.elf import ElfImage, parse_elf
from mpvm.boot.entry import protected_mode
from mpvm.boot.image import image_error
from mpvm.boot.place import MIB, Arena, command_line
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState

NOTE_NAME = b"Xen"
XEN_ELFNOTE_PHYS32_ENTRY = 18

START_MAGIC = 0x336EC578
START_VERSION = 1

# magic, version, flags, nr_modules, modlist, cmdline, rsdp, memmap, memmap_entries, reserved
_START_INFO = struct.Struct("<IIIIQQQQII")
_MODULE = struct.Struct("<QQQQ")
_MEMMAP = struct.Struct("<QQII")


def pvh_entry(image: ElfImage) -> int | None:
    """The physical address of the PVH entry, or None; raises `BootImageError` for a malformed note."""
    for note in image.notes():
        if note.name == NOTE_NAME and note.type == XEN_ELFNOTE_PHYS32_ENTRY:
            entry = int.from_bytes(note.desc, "little")
            if len(note.desc) not in (4, 8) or entry >= 1 << 32:
                raise image_error(
                    "kernel", image.path, "its PVH note is malformed; a 32-bit physical address is right"
                )
            return entry
    return None


def load(data: bytes, request: BootRequest, machine: BootMachine) -> CpuState:
    """Load an ELF kernel by its PVH note; raises `BootImageError` when it has none or does not fit."""
    image = parse_elf(request.kernel, data)
    entry = pvh_entry(image)
    if entry is None:
        raise image_error(
            "kernel",
            request.kernel,
            "is an ELF file without the PVH entry note (Xen, type 18); a kernel with CONFIG_PVH is right",
        )
    _, end = image.load(machine.ram)
    state = protected_mode(entry, machine.ram)
    state.rbx = _put_start_info(Arena(machine.ram, max(end, MIB), request.kernel), request, machine)
    return state


def _put_start_info(arena: Arena, request: BootRequest, machine: BootMachine) -> int:
    """Put the modules and `hvm_start_info` in place; returns the latter's address."""
    placed = arena.put_modules(request.initrd, request.modules)
    modules = b"".join(
        _MODULE.pack(
            address, size, arena.put_string(command_line(string, path), "module string") if string else 0, 0
        )
        for (address, size), path, string in placed
    )
    memmap = b"".join(_MEMMAP.pack(*entry, 0) for entry in machine.e820)
    start_info = _START_INFO.pack(
        START_MAGIC,
        START_VERSION,
        0,
        len(placed),
        arena.put(modules, what="module list") if placed else 0,
        arena.put_string(command_line(request.append, request.kernel), "command line"),
        machine.rsdp_address,
        arena.put(memmap, what="memory map"),
        len(machine.e820),
        0,
    )
    return arena.put(start_info, what="PVH start information")
