"""Where a machine's time goes while one row is measured: `perf record` on all its processes.

    python -m benchmarks.profile signal
    python -m benchmarks.profile ipi-running-median --contender qemu

mpvm's translated code is told by the guest's functions, or where it has no symbols by guest addresses; QEMU's
is one line. Needs Linux's perf, and binutils' nm.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import symbols
from benchmarks.contenders import CONTENDERS, MPVM
from benchmarks.machine import Machine
from benchmarks.perf_report import report
from benchmarks.rows import Cell, cells
from benchmarks.runs import Effort, Linux, OwnGuest
from tests.system import debian, program

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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with record(cell, arguments.contender, arguments.seconds, folder) as data:
            print(report(data))


@contextlib.contextmanager
def record(cell: Cell, contender: str, seconds: float, folder: Path) -> Iterator[Path]:
    """Have all processes of `contender` sampled while it is at the work of `cell`; what perf has recorded.

    It is in `folder`. The perf maps that it needs to be read are there as long as the context.
    """
    data = folder / "perf.data"
    pids: list[int] = []
    try:
        with Machine(_command(cell, contender, folder), _LIMIT) as machine:
            if isinstance(cell.run, Linux):
                machine.wait_for(b"bench clock")
            time.sleep(_WARM_UP_SECONDS)
            pids = machine.processes()
            all_pids = ",".join(map(str, pids))
            perf = ["perf", "record", "--quiet", "--freq", str(_FREQUENCY), "--pid", all_pids]
            perf += ["--output", str(data), "--", "sleep", str(seconds)]
            subprocess.run(perf, check=True, stdout=sys.stderr)
        yield data
    finally:
        for pid in pids:
            Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)


def _command(cell: Cell, contender: str, folder: Path) -> list[str]:
    run = cell.run
    table = folder / "symbols"
    options = ("--perfmap", "--symbols", str(table)) if contender == MPVM else ()
    if isinstance(run, Linux):
        kernel = symbols.of_linux(debian.kernel(_EFFORT.kernel))
        table.write_text(kernel + symbols.of_image(program.with_symbols("bench")))
        return run.command(contender, {cell.row.name}, _EFFORT, options, symbols.NO_KASLR)
    assert isinstance(run, OwnGuest)
    table.write_text(symbols.of_image(run.image()))
    return run.command(contender, _EFFORT, options)


if __name__ == "__main__":
    main()
