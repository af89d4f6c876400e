"""Builds the guests that are written here: assembly and freestanding C to a Multiboot image.

Every folder of a source directory that holds C or assembly is a guest of the folder's name; a folder without
is a group, whose name goes before its guests' (`litmus/order` is `litmus-order`). A guest is linked with
`lib/` (start-up, console, ACPI, APIC, SMP) to ``NAME.elf``: 64-bit code in an ELF32 container, since
Multiboot 1 loaders (section 3.1.3 of its specification; QEMU's `-kernel`) take no ELF64. A folder with a
linker script of its own stands alone, without `lib/`, and becomes ``NAME.bin``, the bare bytes. The same
sources and compiler give the same bytes.

Imports nothing of `mpvm`, so that the package's build can run it before there is a package.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LIBRARY = Path(__file__).resolve().parent / "lib"
LINKER_SCRIPT = LIBRARY / "guest.ld"

WARNINGS = "-Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes"
# General registers only: no guest saves vector registers in an interrupt.
# No red zone: interrupts use the same stack. No strict aliasing: the same bytes are looked at in many widths.
FREESTANDING = (
    "-ffreestanding -mno-red-zone -mgeneral-regs-only -fno-pic -fno-pie -fno-stack-protector "
    "-fno-asynchronous-unwind-tables -fcf-protection=none -fno-common -fno-strict-aliasing "
    "-ffunction-sections -fdata-sections"
)
CFLAGS = ["-m64", "-std=c11", "-O2", *WARNINGS.split(), *FREESTANDING.split()]
LINKER = "--build-id=none,--fatal-warnings,--gc-sections,-z,max-page-size=0x1000"
LDFLAGS = ["-m64", "-nostdlib", "-static", f"-Wl,{LINKER}"]


def _tool(variable: str, default: str) -> list[str]:
    """Return the command of `$variable`, or of `default`; FileNotFoundError when it is not installed."""
    command = shlex.split(os.environ.get(variable, default))
    if not command or shutil.which(command[0]) is None:
        msg = (
            f"guests need {default!r}: ${variable} is {' '.join(command)!r}, which is no command on the PATH"
        )
        raise FileNotFoundError(msg)
    return command


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run(command, check=True)  # noqa: S603 (the compiler the user chose)


def _sources(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix in {".c", ".S"})


def _compile(directory: Path, includes: Sequence[Path], objects: Path) -> list[Path]:
    """Compile every source of `directory`; return the objects in the sources' order."""
    objects.mkdir()
    compiled = []
    for source in _sources(directory):
        target = objects / f"{source.name}.o"
        options = [f"-I{include}" for include in includes]
        _run([*_tool("CC", "cc"), *CFLAGS, *options, "-c", source, "-o", target])
        compiled.append(target)
    return compiled


def _link(objects: Sequence[Path], script: Path, output: Path) -> None:
    _run([*_tool("CC", "cc"), *LDFLAGS, f"-Wl,-T,{script}", *objects, "-o", output])


def folders(source_dir: Path) -> dict[str, Path]:
    """The guests' folders of `source_dir` by the names of their images (without suffix), sorted by name."""
    found = {}
    for path in source_dir.iterdir():
        if not path.is_dir() or path.resolve() == LIBRARY:
            continue
        if _sources(path):
            found[path.name] = path
        else:
            found.update({f"{path.name}-{name}": guest for name, guest in folders(path).items()})
    return dict(sorted(found.items()))


def _build_guest(name: str, directory: Path, source_dir: Path, library: Sequence[Path], work: Path) -> Path:
    parents = [parent for parent in directory.parents if parent.is_relative_to(source_dir)]
    objects = _compile(directory, [directory, *parents, LIBRARY], work / name)
    scripts = list(directory.glob("*.ld"))
    linked = work / f"{name}.linked"
    if scripts:
        _link(objects, scripts[0], linked)
        image, target = work / f"{name}.bin", "binary"
    else:
        _link([*library, *objects], LINKER_SCRIPT, linked)
        image, target = work / f"{name}.elf", "elf32-i386"
    _run([*_tool("OBJCOPY", "objcopy"), "-O", target, linked, image])
    return image


def build_all(source_dir: Path, output_dir: Path) -> list[Path]:
    """Build every guest of `source_dir` into `output_dir`; return the images' paths, sorted by name.

    An image appears whole or not at all, so builds may run side by side. Raises FileNotFoundError when there
    is no compiler and CalledProcessError when a source does not compile; the compiler has then said why on
    stderr.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    images = []
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".build-") as scratch:
        work = Path(scratch)
        library = _compile(LIBRARY, [LIBRARY], work / "lib.objects")
        for name, directory in folders(source_dir).items():
            image = _build_guest(name, directory, source_dir, library, work)
            image.chmod(0o644)
            images.append(image.replace(output_dir / image.name))
    return images


if __name__ == "__main__":
    for built in build_all(Path(sys.argv[1]), Path(sys.argv[2])):
        print(built)
