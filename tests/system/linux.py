"""A Debian kernel as a guest: the command line that starts it, and what its log must not say.

`python -m tests.system.linux FOLDER` puts such a kernel and its initramfs into FOLDER.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.system import debian, reference
from tests.system.initramfs import initramfs
from tests.system.runner import Launcher, Run

CONFIG = "configs/linux-4cpu.yaml"
FIRST_LINE = "init: hello from /init"

MEMORY = "512M"

# Long, as several guests share two cores; a guest that hangs still ends.
TIME_LIMIT = 400

_TROUBLE = re.compile(
    r"soft lockup|hard LOCKUP|rcu: INFO|kthread starved|BUG:|Oops|WARNING:|Kernel panic|Call Trace"
    r"|general protection|invalid opcode|segfault|traps:|nobody cared|spurious (?:APIC|8259A)|Unknown NMI"
    r"|TSC warp|do_IRQ: |failed to (?:come|boot)|IO-APIC.*doesn't work|MP-BIOS bug"
)

_STATUS = re.compile(r"^run: (\S+) status (\d+)\s*$", re.MULTILINE)


def arguments(
    job: str,
    smp: int,
    flavour: str = "cloud",
    memory: str = MEMORY,
    *,
    runs: Sequence[str] = (),
    seconds: int = TIME_LIMIT,
) -> list[str | Path]:
    """Of `mpvm run`, for a Linux that does `job` (one of init.sh), then `runs`, and powers off.

    Each of `runs` is a program of `programs/` and its arguments, with commas between: ``loads,pipe,5``.
    """
    return [
        CONFIG,
        *("--kernel", debian.kernel(flavour)),
        *("--initrd", _initrd(runs)),
        *("--append", _command_line(job, runs)),
        *("--smp", str(smp)),
        *("--memory", memory),
        *("--timeout", str(seconds)),
    ]


def boot(
    launch: Launcher,
    job: str,
    smp: int,
    flavour: str = "cloud",
    *,
    runs: Sequence[str] = (),
    seconds: int = TIME_LIMIT,
    append: str = "",
    options: Sequence[str] = (),
) -> Run:
    """Boot Linux, have it do `job` and `runs` and power off, all within so many `seconds`.

    `append` is more of its command line, `options` are more of `mpvm run`.
    """
    words = [*arguments(job, smp, flavour, runs=runs, seconds=seconds), *options]
    if append:
        words += ["--append", f"{_command_line(job, runs)} {append}"]
    return launch.run("run", "--quiet", *words, seconds=2 * seconds)


def boot_on_reference(
    job: str, smp: int, flavour: str = "cloud", *, runs: Sequence[str] = (), seconds: int = TIME_LIMIT
) -> Run:
    """The same on the reference; status 124 when it takes longer."""
    return reference.run(smp, MEMORY, *image(job, flavour, runs), seconds=seconds)


def image(job: str, flavour: str = "cloud", runs: Sequence[str] = ()) -> list[str]:
    """The options of QEMU's command line that name such a guest."""
    return reference.image(debian.kernel(flavour), _initrd(runs), _command_line(job, runs))


def _initrd(runs: Sequence[str]) -> Path:
    return initramfs(*sorted({run.split(",")[0] for run in runs}))


def _command_line(job: str, runs: Sequence[str]) -> str:
    return " ".join(["console=ttyS0", f"mpvm.job={job}", *(f"mpvm.run={run}" for run in runs)])


def statuses(console: str) -> dict[str, int]:
    """The exit status of each of `runs` that came to its end."""
    return {run: int(status) for run, status in _STATUS.findall(console)}


def trouble(console: str) -> list[str]:
    """The lines of a kernel's log that tell of a machine that does not work as a PC does."""
    return [line for line in console.splitlines() if _TROUBLE.search(line)]


def main() -> None:
    """Fill the folder that `configs/linux-4cpu.yaml` names, or another."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(debian.kernel("cloud"), folder / "vmlinuz")
    shutil.copy(initramfs(), folder / "initramfs.cpio")


if __name__ == "__main__":
    main()
