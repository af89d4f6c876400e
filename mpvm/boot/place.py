"""Where things go in guest RAM, and what to say when they do not fit."""

from collections.abc import Sequence
from pathlib import Path

from mpvm.abi.layout import PAGE_SIZE
from mpvm.boot.image import file_size, image_error, load_file
from mpvm.memory.ram import LOW_RAM_LIMIT, GuestRam

MIB = 1 << 20


def align_up(value: int, unit: int) -> int:
    """The next multiple of `unit`, a power of two."""
    return (value + unit - 1) & -unit


def align_down(value: int, unit: int) -> int:
    """The last multiple of `unit`, a power of two."""
    return value & -unit


def low_ram_top(ram: GuestRam) -> int:
    """The end of RAM below 4 GiB; where there is none above 1 MiB, 1 MiB."""
    return max((slot.gpa + slot.size for slot in ram.slots if slot.gpa < LOW_RAM_LIMIT), default=MIB)


def memory_advice(end: int) -> str:
    """What `memory` would be right for something that ends at `end`."""
    if end <= LOW_RAM_LIMIT:
        return f"memory of {-(-end // MIB)} MiB or more is right"
    return "it must lie below 3 GiB"


class Arena:
    """Places things one after the other, upwards from `start`, in the RAM that `start` is in.

    `path` is the kernel's: it is the one to name when there is no room.
    """

    def __init__(self, ram: GuestRam, start: int, path: Path) -> None:
        self.ram = ram
        self._next = start
        self._path = path

    def reserve(self, size: int, align: int = 16, what: str = "boot information") -> int:
        """Room for `size` bytes at a multiple of `align`; raises `BootImageError` when there is none."""
        address = align_up(self._next, align)
        if not self.ram.contains(address, size):
            raise image_error(
                "kernel",
                self._path,
                f"no room for the {what} of {size} bytes at {address:#x}, RAM ends at"
                f" {low_ram_top(self.ram):#x}; {memory_advice(address + size)}",
            )
        self._next = address + size
        return address

    def put(self, data: bytes, align: int = 16, what: str = "boot information") -> int:
        """Store `data`; returns its address."""
        address = self.reserve(len(data), align, what)
        self.ram.write(address, data)
        return address

    def put_string(self, text: bytes, what: str) -> int:
        """Store a C string; returns its address."""
        return self.put(text + b"\0", 1, what)

    def put_file(self, what: str, path: Path) -> tuple[int, int]:
        """Load a file to a page of its own; returns its address and its size."""
        size = file_size(what, path)
        address = align_up(self._next, PAGE_SIZE)
        if not self.ram.contains(address, size):
            raise image_error(
                what,
                path,
                f"its {size} bytes do not fit at {address:#x}, RAM ends at {low_ram_top(self.ram):#x};"
                f" {memory_advice(address + size)}",
            )
        load_file(what, path, self.ram, address, size)
        self._next = address + size
        return address, size

    def put_modules(
        self, initrd: Path | None, modules: Sequence[tuple[Path, str]]
    ) -> list[tuple[tuple[int, int], Path, str]]:
        """Load the initial RAM disk, if any, and the modules: of each, `put_file`, its path and string."""
        files = [*([] if initrd is None else [(initrd, "")]), *modules]
        return [(self.put_file("module", path), path, string) for path, string in files]


def command_line(append: str, path: Path) -> bytes:
    """A kernel's command line as bytes; raises `BootImageError` when it holds a NUL."""
    if "\0" in append:
        raise image_error("kernel", path, "its command line holds a NUL character; leave it out")
    return append.encode("utf-8", "surrogateescape")
