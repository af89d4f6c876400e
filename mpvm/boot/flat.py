"""Boot protocol `flat`: a raw image, started at its first byte.

Loaded below 1 MiB it starts in 16-bit real mode, by default as a BIOS starts a boot sector: at
0000:7c00 with the first hard disk's number in DL. Loaded at 1 MiB or above it starts in 32-bit
protected mode with flat segments.
"""

from mpvm.boot.entry import protected_mode, real_mode
from mpvm.boot.image import image_error
from mpvm.boot.place import MIB, low_ram_top, memory_advice
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState

DEFAULT_LOAD_ADDRESS = 0x7C00
BOOT_SECTOR_BYTES = 512
BOOT_SIGNATURE = b"\x55\xaa"
FIRST_HARD_DISK = 0x80
REAL_MODE_SEGMENT_LIMIT = 0x10000


def is_boot_sector(data: bytes) -> bool:
    """Whether the image ends its first 512 bytes with the boot signature."""
    return data[BOOT_SECTOR_BYTES - 2 : BOOT_SECTOR_BYTES] == BOOT_SIGNATURE


def load(data: bytes, request: BootRequest, machine: BootMachine) -> CpuState:
    """Load a raw image; raises `BootImageError` when it does not fit or is given more than it can take."""
    path = request.kernel
    for given, what in ((request.initrd, "initrd"), (request.modules, "modules"), (request.append, "append")):
        if given:
            raise image_error("kernel", path, f"the flat protocol has no way to pass {what}; leave it out")
    address = DEFAULT_LOAD_ADDRESS if request.load_address is None else request.load_address
    if not machine.ram.contains(address, len(data)):
        raise image_error(
            "kernel",
            path,
            f"its {len(data)} bytes do not lie in RAM at {address:#x}; a load address in RAM, which ends at"
            f" {low_ram_top(machine.ram):#x}, or {memory_advice(address + len(data))}",
        )
    machine.ram.write(address, data)
    if address >= 1 << 32:
        raise image_error(
            "kernel", path, f"its load address {address:#x} is beyond 4 GiB; it starts in 32 bits"
        )
    if address >= MIB:
        return protected_mode(address, machine.ram)
    if address < REAL_MODE_SEGMENT_LIMIT:
        state = real_mode(0, address)
    else:
        state = real_mode(address >> 4, address & 0xF)
    state.rsp = DEFAULT_LOAD_ADDRESS
    state.rdx = FIRST_HARD_DISK
    return state
