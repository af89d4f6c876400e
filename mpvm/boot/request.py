"""What a boot protocol is asked for, and what it is given to do it with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mpvm.boot.e820 import E820Entry
from mpvm.memory.ram import GuestRam

RNG_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class BootRequest:
    """The images to load. `protocol` None or "auto": look at the kernel.

    `modules` are pairs of a file and its command line. `load_address` is for the `flat` protocol alone.
    """

    protocol: str | None
    kernel: Path
    initrd: Path | None = None
    append: str = ""
    modules: tuple[tuple[Path, str], ...] = ()
    load_address: int | None = None


@dataclass(frozen=True, slots=True)
class BootMachine:
    """The machine as its firmware would have left it: RAM, memory map, ACPI's root pointer (0: none).

    `rng_seed` is handed to kernels that take one.
    """

    ram: GuestRam
    e820: Sequence[E820Entry]
    rsdp_address: int = 0
    rng_seed: bytes = field(default_factory=lambda: os.urandom(RNG_SEED_BYTES))
