"""Boots of Linux in a row, each looked at as the tests look at theirs, with a report of what went wrong.

    python -m tests.system.soak --boots 20 --smp 4                 a shell that answers, every time
    python -m tests.system.soak --boots 50 --smp 4 --job check     with all the work of `check` in each

The console of a boot that failed is kept in the folder that the report names. Ends with status 1 if any did.
"""

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pexpect

from tests.system import linux
from tests.system.runner import Launcher

_SHELL_SECONDS = 300.0


class Boot(NamedTuple):
    """One boot: how long it took and what was wrong, if anything; `console` is all that the guest wrote."""

    seconds: float
    problems: list[str]
    console: str


def boot_to_shell(launcher: Launcher, smp: int, flavour: str) -> tuple[list[str], str]:
    """Boot to a shell on a terminal, have it answer, power off. Returns what was wrong, and the console."""
    command = [sys.executable, "-m", "mpvm", "run", *map(str, linux.arguments("shell", smp, flavour))]
    terminal = launcher.terminal(command, _SHELL_SECONDS)
    console = ""
    try:
        for wanted, answer in (
            (r"/ # ", "nproc; echo $((6 * 7))"),
            (rf"\n{smp}\r*\n42\r*\n", "poweroff -f"),
            (r"reboot: Power down", None),
            (pexpect.EOF, None),
        ):
            terminal.expect(wanted)
            console += f"{terminal.before}{terminal.after}"
            launcher.remember_processes()
            if answer is not None:
                terminal.sendline(answer)
    except (pexpect.TIMEOUT, pexpect.EOF) as error:
        return [f"{type(error).__name__} instead of {wanted!r}"], console + str(terminal.before)
    terminal.close()
    return ([] if terminal.exitstatus == 0 else [f"status {terminal.exitstatus}"]), console


def boot_with_job(launcher: Launcher, job: str, smp: int, flavour: str) -> tuple[list[str], str]:
    """Boot, do `job`, power off. Returns what was wrong, and the console with mpvm's own words."""
    run = linux.boot(launcher, job, smp, flavour)
    problems = [] if run.status == 0 else [f"status {run.status}"]
    if job == "check" and "check: all right" not in run.console:
        problems.append("the check did not end right")
    return problems, run.console + run.messages


def boot(job: str, smp: int, flavour: str) -> Boot:
    """One boot in a runtime directory of its own, and whether anything of it is left."""
    with tempfile.TemporaryDirectory(prefix="mpvm-") as folder:
        launcher = Launcher(Path(folder))
        started = time.monotonic()
        try:
            if job == "shell":
                problems, console = boot_to_shell(launcher, smp, flavour)
            else:
                problems, console = boot_with_job(launcher, job, smp, flavour)
            seconds = time.monotonic() - started
            if not re.search(rf"Brought up 1 node, {smp} CPUs?\b", console):
                problems.append(f"not all {smp} CPUs came up")
            problems += linux.trouble(console)
            problems += [f"left behind: {what}" for what in launcher.leftovers()]
        finally:
            launcher.end()
    return Boot(seconds, problems, console)


def main() -> int:
    """Boot as often as asked and say what was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boots", type=int, default=20, metavar="N")
    parser.add_argument("--smp", type=int, default=4, metavar="N")
    parser.add_argument("--kernel", choices=("cloud", "generic"), default="cloud")
    parser.add_argument("--job", choices=("shell", "check", "forkexec", "none"), default="shell")
    arguments = parser.parse_args()
    kept = Path(tempfile.mkdtemp(prefix="mpvm-soak-"))
    failed = 0
    for number in range(1, arguments.boots + 1):
        one = boot(arguments.job, arguments.smp, arguments.kernel)
        verdict = "; ".join(one.problems) if one.problems else "right"
        print(f"boot {number} of {arguments.boots}: {one.seconds:.1f} s: {verdict}", flush=True)
        if one.problems:
            failed += 1
            (kept / f"boot-{number}.log").write_text(one.console)
    print(f"{arguments.boots - failed} of {arguments.boots} boots were right")
    if failed:
        print(f"consoles of the others: {kept}")
    else:
        kept.rmdir()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
