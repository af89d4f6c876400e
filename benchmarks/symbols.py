"""Symbol tables for `mpvm run --symbols`, as nm(1) prints them: of the guests that are measured."""

import base64
import binascii
import bz2
import hashlib
import subprocess
from pathlib import Path

from benchmarks.contenders import Guest, mpvm_command
from benchmarks.machine import Machine, MachineError
from tests.system import debian
from tests.system.initramfs import initramfs

#: What a Linux guest has to be started with: at a random address nothing is where its table says.
NO_KASLR = "nokaslr"

_LIMIT = 300.0
_FIRST_LINE, _LAST_LINE = "init: hello", "init: poweroff"


def of_image(image: Path) -> str:
    """The symbols of an ELF image or program."""
    return subprocess.run(["nm", image], check=True, capture_output=True, text=True).stdout


def of_linux(kernel: Path) -> str:
    """The functions of the kernel image `kernel`, which has no symbols itself: the running kernel tells them.

    Half a minute the first time, for they come through the serial line; then from the cache.
    """
    folder = debian.cache_folder() / "symbols"
    target = folder / f"{hashlib.sha256(kernel.read_bytes()).hexdigest()[:16]}.map"
    with debian.locked(folder):
        if not target.exists():
            target.write_text(_ask(kernel))
    return target.read_text()


def _ask(kernel: Path) -> str:
    guest = Guest(kernel, 1, "512M", initramfs(), f"console=ttyS0 quiet {NO_KASLR} mpvm.job=kallsyms")
    with Machine(mpvm_command(guest), _LIMIT) as machine:
        machine.wait_for(_LAST_LINE.encode())
        lines = [line for _, line in machine.lines()]
    first = next(number for number, line in enumerate(lines) if line.startswith(_FIRST_LINE))
    try:
        return bz2.decompress(base64.b64decode("".join(lines[first + 1 : -1]), validate=True)).decode()
    except (binascii.Error, OSError, ValueError) as error:
        raise MachineError(f"no symbols from {kernel}: {error}") from error
