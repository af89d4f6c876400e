"""A Debian kernel as a guest: the command line that starts it, and what its log must not say.

`python -m tests.system.linux FOLDER` puts such a kernel and its initramfs into FOLDER.
"""

import re
import shutil
import sys
from pathlib import Path

from tests.system import debian
from tests.system.initramfs import initramfs
from tests.system.runner import Launcher, Run

CONFIG = "configs/linux-4cpu.yaml"
FIRST_LINE = "init: hello from /init"

# Long, as several guests share two cores; a guest that hangs still ends.
TIME_LIMIT = 400

_TROUBLE = re.compile(
    r"soft lockup|hard LOCKUP|rcu: INFO|kthread starved|BUG:|Oops|WARNING:|Kernel panic|Call Trace"
    r"|general protection|invalid opcode|segfault|traps:|nobody cared|spurious (?:APIC|8259A)|Unknown NMI"
    r"|TSC warp|do_IRQ: |failed to (?:come|boot)|IO-APIC.*doesn't work|MP-BIOS bug"
)


def arguments(job: str, smp: int, flavour: str = "cloud", memory: str = "512M") -> list[str | Path]:
    """Of `mpvm run`, for a Linux that does `job` (one of init.sh) and powers off."""
    return [
        CONFIG,
        *("--kernel", debian.kernel(flavour)),
        *("--initrd", initramfs()),
        *("--append", f"console=ttyS0 mpvm.job={job}"),
        *("--smp", str(smp)),
        *("--memory", memory),
        *("--timeout", str(TIME_LIMIT)),
    ]


def boot(launcher: Launcher, job: str, smp: int, flavour: str = "cloud") -> Run:
    """Boot Linux, have it do `job` and power off."""
    return launcher.run("run", "--quiet", *arguments(job, smp, flavour))


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
