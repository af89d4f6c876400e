"""The machines that are compared: the command line with which each starts the same guest."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.system import reference

MPVM = "mpvm"
QEMU = "qemu"


@dataclass(frozen=True)
class Guest:
    """What every contender is given: `smp` vCPUs, `memory` as in 512M, and what to boot."""

    kernel: Path
    smp: int
    memory: str
    initrd: Path | None = None
    append: str = ""


def mpvm_command(guest: Guest, *options: str) -> list[str]:
    """`mpvm run`, with the interpreter that runs the benchmark."""
    command = [sys.executable, "-m", "mpvm", "run", "--quiet", *options, "--kernel", str(guest.kernel)]
    if guest.initrd is not None:
        command += ["--initrd", str(guest.initrd)]
    return [*command, "--append", guest.append, "--smp", str(guest.smp), "--memory", guest.memory]


def qemu_command(guest: Guest, *options: str) -> list[str]:
    """QEMU's TCG with a thread a vCPU."""
    image = reference.image(guest.kernel, guest.initrd, guest.append)
    return [*reference.machine(guest.smp, guest.memory), *options, *image]


#: The device by which our own guests say that they have failed; a machine without it would go on.
ISA_DEBUG_EXIT = {
    MPVM: ("--isa-debug-exit",),
    QEMU: reference.ISA_DEBUG_EXIT,
}

CONTENDERS: dict[str, Callable[..., list[str]]] = {MPVM: mpvm_command, QEMU: qemu_command}
