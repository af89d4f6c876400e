"""Boots of Linux in a row, each looked at as the tests look at theirs, with a report of what went wrong.

    python -m tests.system.soak --boots 20 --smp 4                 a shell that answers, every time
    python -m tests.system.soak --boots 50 --smp 4 --job check     with all the work of `check` in each
    python -m tests.system.soak --boots 1 --smp 1 2 4 8 --run loads,all,5 --run loads,together,60
                                                                   the loads of programs/loads, 5 s each, then
                                                                   all at once
    python -m tests.system.soak --boots 1 --smp 4 --run loads,all,5 --on reference

The console of a boot that failed is kept in the folder that the report names. Ends with status 1 if any did.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pexpect

from tests.system import linux
from tests.system.runner import Launcher, Run, launcher

_SHELL_SECONDS = 300.0


class Boot(NamedTuple):
    """One boot: how long it took and what was wrong, if anything; `console` is all that the guest wrote."""

    seconds: float
    problems: list[str]
    console: str


def boot_to_shell(launch: Launcher, smp: int, flavour: str) -> tuple[list[str], str]:
    """Boot to a shell on a terminal, have it answer, power off. Returns what was wrong, and the console."""
    command = [sys.executable, "-m", "mpvm", "run", *map(str, linux.arguments("shell", smp, flavour))]
    terminal = launch.terminal(command, _SHELL_SECONDS)
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
            launch.remember_processes()
            if answer is not None:
                terminal.sendline(answer)
    except (pexpect.TIMEOUT, pexpect.EOF) as error:
        return [f"{type(error).__name__} instead of {wanted!r}"], console + str(terminal.before)
    terminal.close()
    return ([] if terminal.exitstatus == 0 else [f"status {terminal.exitstatus}"]), console


def job_problems(job: str, runs: Sequence[str], run: Run) -> list[str]:
    """What was wrong with the work of a guest that has powered off."""
    problems = [] if run.status == 0 else [f"status {run.status}"]
    if job == "check" and "check: all right" not in run.console:
        problems.append("the check did not end right")
    statuses = linux.statuses(run.console)
    problems += [f"{one}: status {statuses.get(one, 'none')}" for one in runs if statuses.get(one) != 0]
    return problems


def boot(arguments: argparse.Namespace, smp: int) -> Boot:
    """One boot in a runtime directory of its own, and whether anything of it is left."""
    job, flavour, runs, seconds = arguments.job, arguments.kernel, arguments.run, arguments.seconds
    with launcher() as launch:
        started = time.monotonic()
        if job == "shell":
            problems, console = boot_to_shell(launch, smp, flavour)
        else:
            if arguments.on == "reference":
                run = linux.boot_on_reference(job, smp, flavour, runs=runs, seconds=seconds)
            else:
                run = linux.boot(launch, job, smp, flavour, runs=runs, seconds=seconds)
            problems, console = job_problems(job, runs, run), run.console + run.messages
        took = time.monotonic() - started
        if not re.search(rf"Brought up 1 node, {smp} CPUs?\b", console):
            problems.append(f"not all {smp} CPUs came up")
        problems += linux.trouble(console)
        problems += [f"left behind: {what}" for what in launch.leftovers()]
    return Boot(took, problems, console)


def main() -> int:
    """Boot as often as asked and say what was wrong."""
    arguments = _arguments()
    kept = Path(tempfile.mkdtemp(prefix="mpvm-soak-"))
    boots = [smp for smp in arguments.smp for _ in range(arguments.boots)]
    failed = 0
    for number, smp in enumerate(boots, 1):
        one = boot(arguments, smp)
        verdict = "; ".join(one.problems) if one.problems else "right"
        print(f"boot {number} of {len(boots)}, {smp} CPUs: {one.seconds:.1f} s: {verdict}", flush=True)
        for line in one.console.splitlines():
            if line.startswith("loads: "):
                print(f"    {line}", flush=True)
        if one.problems:
            failed += 1
            (kept / f"boot-{number}.log").write_text(one.console)
    print(f"{len(boots) - failed} of {len(boots)} boots were right")
    if failed:
        print(f"consoles of the others: {kept}")
    else:
        kept.rmdir()
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = ("shell", "check", "forkexec", "none")
    parser.add_argument("--boots", type=int, default=20, metavar="N", help="with each number of CPUs (20)")
    parser.add_argument("--smp", type=int, nargs="+", default=[4], metavar="N", help="CPUs (4)")
    parser.add_argument("--kernel", choices=("cloud", "generic"), default="cloud")
    parser.add_argument("--job", choices=jobs, help="of init.sh (shell, or none where there is --run)")
    parser.add_argument(
        "--run", action="append", default=[], metavar="PROGRAM,ARG,...", help="a program of programs/, then"
    )
    parser.add_argument("--on", choices=("mpvm", "reference"), default="mpvm")
    limit = linux.TIME_LIMIT
    parser.add_argument("--seconds", type=int, default=limit, metavar="N", help=f"for a boot ({limit})")
    arguments = parser.parse_args()
    if arguments.job is None:
        arguments.job = "none" if arguments.run or arguments.on == "reference" else "shell"
    elif arguments.job == "shell" and (arguments.run or arguments.on == "reference"):
        parser.error("--job shell goes neither with --run nor with --on reference")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
