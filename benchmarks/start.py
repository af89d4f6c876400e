"""From the start of `mpvm run` to the guest's first instruction, and to its first byte on the serial line.

The guest is a multiboot image of some fifty bytes that writes one byte and stays. QEMU's first byte is
beside it: its firmware runs before the guest, mpvm has none to run.

    python -m benchmarks.start --runs 5 --smp 4 64
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import CONTENDERS, MPVM, Guest, mpvm_command
from benchmarks.measure import REPOSITORY, GuestError, Sample, seconds_to
from benchmarks.report import Row, print_table, to_json
from tests.system import tiny

_LIMIT = 60.0
_NANO = 1_000_000_000
# What mpvm may take to the first instruction on the machine that it was built on, by vCPUs.
_GOALS = {4: 0.150, 64: 1.0}


def first_instruction(guest: Guest, folder: Path) -> float | None:
    """Seconds to the first vCPU's entry into the guest, which the worker notes and the summary tells.

    Both clocks are CLOCK_MONOTONIC. `guest` ends by itself. None where the summary does not tell.
    """
    summary = folder / "summary.json"
    started = time.monotonic_ns()
    command = mpvm_command(guest, "--isa-debug-exit", f"--json={summary}", "--timeout", str(_LIMIT))
    done = subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 1:
        raise GuestError(
            f"status {done.returncode}, not 1, from: {' '.join(command)}\n{done.stderr.decode()}"
        )
    entered: int | None = json.loads(summary.read_text())["summary"][0].get("first_entry_ns")
    return None if entered is None else (entered - started) / _NANO


def measure(smp: int, contenders: list[str], runs: int, memory: str) -> list[Row]:
    """The rows of `smp` vCPUs."""
    entries: list[float] = []
    bytes_: dict[str, list[float]] = {contender: [] for contender in contenders}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ends").write_bytes(tiny.image(tiny.debug_exit(0)))
        (folder / "stays").write_bytes(tiny.image(tiny.HALT))
        ends, stays = (Guest(folder / kernel, smp, memory) for kernel in ("ends", "stays"))
        for _ in range(runs):
            if MPVM in contenders:
                entry = first_instruction(ends, folder)
                entries += [] if entry is None else [entry]
            for contender in contenders:
                bytes_[contender] += seconds_to(CONTENDERS[contender](stays), [tiny.GREETING], _LIMIT)
    rows = [Row("first byte", smp, {name: Sample.of(times) for name, times in bytes_.items()})]
    if entries:
        goal = f" (goal {_GOALS[smp]:.3f})" if smp in _GOALS else ""
        rows.insert(0, Row(f"first instruction{goal}", smp, {MPVM: Sample.of(entries)}))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="starts of each contender (5)")
    parser.add_argument("--smp", type=int, nargs="+", default=[4, 64], metavar="N", help="vCPUs (4 64)")
    parser.add_argument("--memory", default="128M", metavar="SIZE", help="guest memory (128M)")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), help="leave the others out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for smp in arguments.smp:
        rows += measure(smp, arguments.only or list(CONTENDERS), arguments.runs, arguments.memory)
    if arguments.json:
        print(to_json(rows, memory=arguments.memory))
    else:
        print_table("Start to guest", rows)


if __name__ == "__main__":
    main()
