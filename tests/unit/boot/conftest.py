"""Images for the loaders, made by the real tools, and a small machine to load them into."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.boot.e820 import e820_map
from mpvm.boot.request import BootMachine
from mpvm.memory.ram import GuestRam, ram_slots

MIB = 1 << 20

MULTIBOOT_ASM = """
    .set FLAGS, {flags}
    .section .multiboot, "a"
    .balign 4
header:
    .long 0x1BADB002, FLAGS, -(0x1BADB002 + FLAGS)
    .long header, load_start, load_end, bss_end, start
    .text
    .globl start
start:
    hlt
    jmp start
    .data
    .asciz "data of the kernel"
    .bss
    .skip 8192
"""

PVH_ASM = """
    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .long start
    .text
    .globl start
start:
    hlt
    .bss
    .skip 64
"""

PLAIN_ASM = """
    .text
    .globl start
start:
    hlt
"""

# Linked 3 GiB above where it is loaded, as kernels are: the entry of the file is a virtual address.
LINKER_SCRIPT = """
ENTRY(start)
PHDRS {{ text PT_LOAD FLAGS(7); note PT_NOTE FLAGS(4); }}
OFFSET = {offset};
SECTIONS
{{
    . = 0x200000 + OFFSET;
    load_start = . - OFFSET;
    .multiboot : AT(ADDR(.multiboot) - OFFSET) {{ *(.multiboot) }} :text
    .note.Xen : AT(ADDR(.note.Xen) - OFFSET) {{ *(.note.Xen) }} :text :note
    .text : AT(ADDR(.text) - OFFSET) {{ *(.text) }} :text
    .data : AT(ADDR(.data) - OFFSET) {{ *(.data) }} :text
    load_end = . - OFFSET;
    .bss : AT(ADDR(.bss) - OFFSET) {{ *(.bss) }} :text
    bss_end = . - OFFSET;
    /DISCARD/ : {{ *(.note.gnu.property) }}
}}
"""


def run(*command: str | Path) -> None:
    """Run a build tool; its complaints are the failure."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`build(assembly, bits=32, offset=0)`: an ELF file by GNU as and ld."""
    folder = tmp_path_factory.mktemp("images")

    def make(assembly: str, bits: int = 32, offset: int = 0) -> Path:
        name = f"{abs(hash((assembly, bits, offset))):x}"
        source, script, objects, image = (folder / f"{name}{end}" for end in (".s", ".ld", ".o", ".elf"))
        if not image.exists():
            source.write_text(assembly)
            script.write_text(LINKER_SCRIPT.format(offset=offset))
            run("as", f"--{bits}", source, "-o", objects)
            emulation = "elf_i386" if bits == 32 else "elf_x86_64"
            run(
                "ld",
                "-m",
                emulation,
                "-z",
                "max-page-size=4096",
                "--build-id=none",
                "-T",
                script,
                objects,
                "-o",
                image,
            )
        return image

    return make


@pytest.fixture(scope="session")
def multiboot_elf(build: Callable[..., Path]) -> Callable[..., Path]:
    """`multiboot_elf(bits, offset)`: a Multiboot kernel at 2 MiB, linked `offset` bytes higher."""
    return lambda bits, offset: build(MULTIBOOT_ASM.format(flags=3), bits, offset)


@pytest.fixture(scope="session")
def multiboot_elf32(multiboot_elf: Callable[..., Path]) -> Path:
    """A Multiboot kernel as ELF32."""
    return multiboot_elf(32, 0)


@pytest.fixture(scope="session")
def multiboot_binary(build: Callable[..., Path]) -> Path:
    """A Multiboot kernel as a raw file with address fields."""
    source = build(MULTIBOOT_ASM.format(flags=0x10003))
    target = source.with_suffix(".bin")
    run("objcopy", "-O", "binary", source, target)
    return target


@pytest.fixture(scope="session")
def pvh_elf(build: Callable[..., Path]) -> Path:
    """A 64-bit kernel with the PVH entry note."""
    return build(PVH_ASM, bits=64)


@pytest.fixture(scope="session")
def plain_elf(build: Callable[..., Path]) -> Path:
    """An executable that no boot protocol takes."""
    return build(PLAIN_ASM)


@pytest.fixture
def machine_of() -> Callable[[int], BootMachine]:
    """`machine_of(megabytes)`: a machine whose RAM is dirty, so that forgotten zeros show."""

    def make(megabytes: int) -> BootMachine:
        slots = ram_slots(megabytes * MIB)
        ram = GuestRam(memoryview(bytearray(b"\xee") * (megabytes * MIB)), slots)
        return BootMachine(ram, e820_map(slots), rsdp_address=0xE0000, rng_seed=bytes(range(32)))

    return make


@pytest.fixture
def machine(machine_of: Callable[[int], BootMachine]) -> BootMachine:
    """A machine with 16 MiB of RAM."""
    return machine_of(16)


@pytest.fixture
def initrd(tmp_path: Path) -> Path:
    """An initrd of 5000 bytes."""
    path = tmp_path / "initrd.img"
    path.write_bytes(bytes(n * 7 & 0xFF for n in range(5000)))
    return path
