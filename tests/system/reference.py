"""The reference: QEMU's TCG with a thread a vCPU, to which our results and our speed are held."""

import shutil
import subprocess
from pathlib import Path

from tests.system.runner import Run

PROGRAM = "qemu-system-x86_64"
ISA_DEBUG_EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=4")


def machine(smp: int, memory: str) -> list[str]:
    """The command of a machine without a guest; -nodefaults spares it the devices that mpvm has not got."""
    command = [PROGRAM, "-accel", "tcg,thread=multi", "-nodefaults", "-display", "none"]
    return [*command, "-serial", "stdio", "-no-reboot", "-smp", str(smp), "-m", memory]


def image(kernel: Path, initrd: Path | None = None, append: str = "") -> list[str]:
    """The options that name a guest."""
    words = ["-kernel", str(kernel)]
    if initrd is not None:
        words += ["-initrd", str(initrd)]
    return [*words, "-append", append]


def run(smp: int, memory: str, *options: str, seconds: int) -> Run:
    """Run a machine with `options` to its end; status 124 when it takes longer than so many `seconds`."""
    assert shutil.which(PROGRAM), f"{PROGRAM} is missing: apt-get install qemu-system-x86 is right on Debian"
    done = subprocess.run(
        ["timeout", str(seconds), *machine(smp, memory), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return Run(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
