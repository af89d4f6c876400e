"""Where a machine's time goes while one row is measured: `perf record` on all its processes.

    python -m benchmarks.profile signal
    python -m benchmarks.profile ipi-running-median --contender qemu

Translated code has no symbols: all of it together is one line of the first table. Needs Linux's perf.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.contenders import CONTENDERS, MPVM
from benchmarks.machine import Machine
from benchmarks.rows import Cell, cells
from benchmarks.runs import Effort, Linux, OwnGuest

_LIMIT = 300.0
# Long enough, whatever the row, to go on until perf has seen its seconds.
_EFFORT = Effort(share=100.0)
_WARM_UP_SECONDS = 1.0
_FREQUENCY = 999


def main() -> None:
    """Record one row and print two tables, by library and by function."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("row", help="a row, or row:vCPUs; of several numbers of vCPUs the lowest")
    parser.add_argument("--contender", choices=list(CONTENDERS), default=MPVM)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to record (5)")
    arguments = parser.parse_args()
    try:
        cell = next(cells([arguments.row]))
    except ValueError as error:
        parser.error(str(error))
    if not isinstance(cell.run, Linux | OwnGuest):
        parser.error(f"{cell.name} is over before perf has started")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "perf.data"
        record(cell, arguments.contender, arguments.seconds, data)
        for keys in ("dso", "dso,symbol"):
            print(report(data, keys))


def record(cell: Cell, contender: str, seconds: float, data: Path) -> None:
    """Have all processes of `contender` sampled into `data` while it is at the work of `cell`."""
    run = cell.run
    if isinstance(run, Linux):
        command = run.command(contender, {cell.row.name}, _EFFORT)
    else:
        assert isinstance(run, OwnGuest)
        command = run.command(contender, _EFFORT)
    with Machine(command, _LIMIT) as machine:
        if isinstance(run, Linux):
            machine.wait_for(b"bench clock")
        time.sleep(_WARM_UP_SECONDS)
        pids = ",".join(map(str, machine.processes()))
        perf = ["perf", "record", "--quiet", "--freq", str(_FREQUENCY), "--pid", pids, "--output", str(data)]
        subprocess.run([*perf, "--", "sleep", str(seconds)], check=True, stdout=sys.stderr)


def report(data: Path, keys: str) -> str:
    """What took more than 1 % of the samples in `data`, by `keys` of perf report(1)."""
    command = ["perf", "report", "--stdio", "--sort", keys, "--percent-limit", "1", "--input", str(data)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line.rstrip() for line in told.splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join([f"-- {keys}", *lines, ""])


if __name__ == "__main__":
    main()
