"""The native part of the build: the C engine core and the guests that come with the package.

All else is in pyproject.toml. The files land beside their sources for an editable install, in the
wheel for others; `python setup.py build_native --inplace` makes them again during development.
"""

import compileall
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
ENGINE = ROOT / "workers" / "engine"
LIBRARY = Path("workers", "engine", "libmpvm-engine.so")
GUESTS = Path("mpvm", "guests")
PACKAGES = ("mpvm", "workers")

CFLAGS = ("-std=c11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")

# A build backend does not have the project's folder on its path (PEP 517).
sys.path.insert(0, str(ROOT))


class BuildNative(Command):
    """Generate the C header of the shared layouts, compile the engine core, build the guests."""

    description = "build the C engine core and the guests"
    user_options: ClassVar = [
        ("inplace", "i", "put the files beside their sources"),
        ("build-lib=", "b", "folder that the package is built in"),
        ("build-temp=", "t", "folder for object files"),
    ]
    boolean_options: ClassVar = ["inplace"]

    # Set by setuptools for `pip install -e` (its sub-command protocol).
    editable_mode = False

    def initialize_options(self) -> None:
        """Set every option to its default."""
        self.inplace = False
        self.build_lib: str | None = None
        self.build_temp: str | None = None

    def finalize_options(self) -> None:
        """Take the folders from the `build` command."""
        self.set_undefined_options("build", ("build_lib", "build_lib"), ("build_temp", "build_temp"))

    def run(self) -> None:
        """Build it all into the source tree or the build folder."""
        target = ROOT if self.inplace or self.editable_mode else Path(self.build_lib or "")
        _write_header(ENGINE / "abi.h")
        _compile(sorted(ENGINE.glob("*.c")), Path(self.build_temp or ""), target / LIBRARY)
        _build_guests(target / GUESTS)
        if target == ROOT:
            _compile_modules()

    def get_source_files(self) -> list[str]:
        """Return what a source distribution must have for this command."""
        sources = [*ENGINE.glob("*.[ch]"), *(ROOT / GUESTS).rglob("*.[chS]"), *(ROOT / GUESTS).rglob("*.ld")]
        return [str(path.relative_to(ROOT)) for path in sources if path.name != "abi.h"]

    def get_outputs(self) -> list[str]:
        """Return the files that this command makes."""
        folder = Path(self.build_lib or "")
        return [str(folder / LIBRARY), *map(str, sorted((folder / GUESTS).glob("*.elf")))]

    def get_output_mapping(self) -> dict[str, str]:
        """Return which output is a plain copy of which source: none is."""
        return {}


def _write_header(path: Path) -> None:
    from mpvm.abi import cheader

    text = cheader.generate()
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _compile(sources: list[Path], objects: Path, library: Path) -> None:
    """Compile `sources` side by side and link them to `library`."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        raise CompileError(f"no C compiler {' '.join(compiler)!r}: install gcc or clang, or set CC")
    objects.mkdir(parents=True, exist_ok=True)
    library.parent.mkdir(parents=True, exist_ok=True)

    def compile_one(source: Path) -> Path:
        target = objects / f"engine-{source.stem}.o"
        _run([*compiler, *CFLAGS, "-c", str(source), "-o", str(target)])
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compiled = list(pool.map(compile_one, sources))
    # Replaced at once: a worker that has the old one mapped keeps it.
    linked = library.with_suffix(".tmp")
    _run([*compiler, *CFLAGS, "-shared", "-Wl,-z,defs", *map(str, compiled), "-ldl", "-o", str(linked)])
    linked.replace(library)


def _compile_modules() -> None:
    """Compile every module in place, as pip does with what it copies.

    Where PYTHONDONTWRITEBYTECODE is set no start would keep what it compiles, and each would compile it all.
    """
    for package in PACKAGES:
        compileall.compile_dir(ROOT / package, quiet=2)


def _build_guests(folder: Path) -> None:
    from mpvm.guests.build import build_all

    try:
        build_all(ROOT / GUESTS, folder)
    except FileNotFoundError as error:
        raise CompileError(str(error)) from error
    except subprocess.CalledProcessError as error:
        raise CompileError(f"guest: {shlex.join(map(str, error.cmd))} failed") from error


def _run(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - the compiler the user chose
        raise CompileError(f"{shlex.join(command)} failed")


class Build(build):
    """`build` with the native part."""

    sub_commands: ClassVar = [*build.sub_commands, ("build_native", None)]


class PlatformWheel(bdist_wheel):
    """A wheel for this platform and any Python: the library is loaded by ctypes."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the wheel's tag."""
        return "py3", "none", super().get_tag()[2]


class PlatformDistribution(Distribution):
    """Goes to platlib, though setuptools knows of no extension module."""

    def has_ext_modules(self) -> bool:
        """Return that files depend on the platform."""
        return True


if __name__ == "__main__":
    setup(
        cmdclass={"build": Build, "build_native": BuildNative, "bdist_wheel": PlatformWheel},
        distclass=PlatformDistribution,
    )
