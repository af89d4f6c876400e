"""The machines that are compared: the command line with which each starts the same guest."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MPVM = "mpvm"
QEMU = "qemu"

QEMU_PROGRAM = "qemu-system-x86_64"


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
    command = [sys.executable, "-m", "mpvm", "run", "--quiet", *options, *_image("--", guest)]
    return [*command, "--smp", str(guest.smp), "--memory", guest.memory]


def qemu_command(guest: Guest, *options: str) -> list[str]:
    """QEMU's TCG with a thread a vCPU."""
    return [*qemu_machine(guest.smp, guest.memory), *options, *_image("-", guest)]


def qemu_machine(smp: int, memory: str) -> list[str]:
    """The machine without a guest; -nodefaults spares it the devices that mpvm has not got either."""
    command = [QEMU_PROGRAM, "-accel", "tcg,thread=multi", "-nodefaults", "-display", "none"]
    return [*command, "-serial", "stdio", "-no-reboot", "-smp", str(smp), "-m", memory]


def _image(dash: str, guest: Guest) -> list[str]:
    words = [f"{dash}kernel", str(guest.kernel)]
    if guest.initrd is not None:
        words += [f"{dash}initrd", str(guest.initrd)]
    if guest.append:
        words += [f"{dash}append", guest.append]
    return words


#: The device by which our own guests say that they have failed; a machine without it would go on.
ISA_DEBUG_EXIT = {
    MPVM: ("--isa-debug-exit",),
    QEMU: ("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
}

CONTENDERS: dict[str, Callable[..., list[str]]] = {MPVM: mpvm_command, QEMU: qemu_command}
