"""Which boot protocol an image is for, by its content."""

from pathlib import Path

from mpvm.boot.elf import is_elf, parse_elf
from mpvm.boot.elf_pvh import pvh_entry
from mpvm.boot.flat import is_boot_sector
from mpvm.boot.headers import find_header, is_linux
from mpvm.boot.image import image_error


def detect(data: bytes, path: Path) -> str:
    """The name of the boot protocol; raises `BootImageError` when the image is for none.

    A kernel for two protocols gets the one that tells it more: `linux`, then `multiboot`, then `elf`.
    """
    if is_linux(data):
        return "linux"
    if find_header(data) is not None:
        return "multiboot"
    if is_elf(data):
        if pvh_entry(parse_elf(path, data)) is not None:
            return "elf"
        raise image_error(
            "kernel",
            path,
            "is an ELF file with neither a Multiboot header nor a PVH note; a kernel with one is right",
        )
    if is_boot_sector(data):
        return "flat"
    raise image_error(
        "kernel",
        path,
        "is no kernel known by its content; a bzImage, a Multiboot or PVH kernel or a boot sector is right,"
        " or protocol flat for a raw image",
    )
