"""What a boot protocol is asked for, and what it is given to do it with."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mpvm.boot.e820 import E820Entry
from mpvm.memory.ram import GuestRam

RNG_SEED_BYTES = 32


class BootRequest(NamedTuple):
    """The images to load. `protocol` None or "auto": look at the kernel.

    `modules` are pairs of a file and its command line. `argv0` is what a Multiboot kernel is told as its
    file's name, None for its path. `load_address` is for the `flat` protocol alone.
    """

    protocol: str | None
    kernel: Path
    initrd: Path | None = None
    append: str = ""
    modules: tuple[tuple[Path, str], ...] = ()
    load_address: int | None = None
    argv0: str | None = None


class BootMachine:
    """The machine as its firmware would have left it: RAM, memory map, ACPI's root pointer (0: none).

    `rng_seed` is handed to kernels that take one; without one it is random.
    """

    def __init__(
        self,
        ram: GuestRam,
        e820: Sequence[E820Entry],
        rsdp_address: int = 0,
        rng_seed: bytes | None = None,
    ) -> None:
        self.ram = ram
        self.e820 = e820
        self.rsdp_address = rsdp_address
        self.rng_seed = os.urandom(RNG_SEED_BYTES) if rng_seed is None else rng_seed
