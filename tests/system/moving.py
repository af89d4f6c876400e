"""Moves the vCPUs of a running guest from worker process to worker process (docs/moving.md).

    python -m tests.system.moving --moves 1000 --smp 4           the guest `moving`: is its checksum right?
    python -m tests.system.moving --moves 200 --smp 2 --linux    a Linux under load: is its log clean?

Ends with status 1 if anything was wrong.
"""

import argparse
import statistics
import subprocess
from pathlib import Path
from typing import NamedTuple

from mpvm.accel import accelerator
from mpvm.tools.qmp.client import Client
from tests.system import linux, litmus
from tests.system.runner import Launcher, Run, launcher, read_until

_NS_PER_MS = 1_000_000
_LOAD = "loads,together,{seconds}"


class Moved(NamedTuple):
    """A run whose vCPUs were moved, and what each move took, in ns: in all, and the vCPU's standing still."""

    run: Run
    total_ns: list[int]
    gap_ns: list[int]


def move_guest(launch: Launcher, image: Path, moves: int, smp: int) -> Moved:
    """Start the guest `moving`, move its vCPUs in turn and back to back, then have it come to its end."""
    guest = ("--kernel", image, "--append", "rounds=0", "--isa-debug-exit")
    child = _start(launch, *guest, "--smp", str(smp), "--memory", "64M")
    head = read_until(child, b"computing")
    client = Client(_socket(launch))
    took = [_move(client, {"cpu-index": i % smp}) for i in range(moves)]
    client.execute("system_powerdown")
    return _finish(child, head, client, took)


def move_between_accelerators(launch: Launcher, moves: int, smp: int) -> Moved:
    """Start the smp guest, and move all its vCPUs to KVM and back, back to back, while it computes.

    Its CPU has what both accelerators can be.
    """
    both = accelerator("unicorn").supported_features() & accelerator("kvm").supported_features()
    cpu = ",".join(["base", *(f"+{name}" for name in sorted(both))])
    guest = ("configs/4cpu.yaml", "--append", "rounds=20 primes=1000 locks=300 adds=300")
    child = _start(launch, *guest, "--smp", str(smp), "--cpu", cpu)
    head = read_until(child, b"CPUs online")
    client = Client(_socket(launch))
    took = [_move(client, {"accel": ("kvm", "unicorn")[i % 2]}) for i in range(moves)]
    return _finish(child, head, client, took)


def move_linux(launch: Launcher, moves: int, smp: int, seconds: int = 2) -> Moved:
    """Boot Linux, and move its vCPUs in turn and back to back while it does loads that check themselves."""
    words = linux.arguments("none", smp, runs=[_LOAD.format(seconds=seconds)])
    child = _start(launch, *words)
    head = read_until(child, linux.FIRST_LINE.encode())
    client = Client(_socket(launch))
    return _finish(child, head, client, [_move(client, {"cpu-index": i % smp}) for i in range(moves)])


def problems(moved: Moved, *, of_linux: bool) -> list[str]:
    """What was wrong with a run."""
    run = moved.run
    if not of_linux:
        wrong = [line for line in run.console.splitlines() if "FAIL" in line]
        return wrong + ([] if run.status == litmus.PASSED else [f"status {run.status}", run.messages])
    wrong = linux.trouble(run.console)
    wrong += [f"{load}: status {status}" for load, status in linux.statuses(run.console).items() if status]
    wrong += [] if linux.statuses(run.console) else ["the loads have not ended"]
    return wrong + ([] if run.status == 0 else [f"status {run.status}", run.messages])


def _start(launch: Launcher, *words: str | Path) -> "subprocess.Popen[bytes]":
    options = ["--quiet", "--timeout", str(linux.TIME_LIMIT), "--qmp", f"unix:{_socket(launch)}"]
    return launch.start("run", *words, *options)


def _socket(launch: Launcher) -> Path:
    return launch.folder / "qmp"


def _move(client: Client, arguments: dict[str, object]) -> tuple[int, int]:
    took = client.execute("x-move-vcpu", **arguments)
    return took["total-ns"], took["gap-ns"]


def _finish(
    child: "subprocess.Popen[bytes]", head: bytes, client: Client, took: list[tuple[int, int]]
) -> Moved:
    console, messages = child.communicate(timeout=2 * linux.TIME_LIMIT)
    client.close()
    text = (head + console).decode(errors="replace")
    run = Run(child.returncode, text, messages.decode(errors="replace"))
    return Moved(run, [total for total, _ in took], [gap for _, gap in took])


def _figures(name: str, ns: list[int]) -> str:
    return (
        f"{name}: median {statistics.median(ns) / _NS_PER_MS:.1f} ms, longest {max(ns) / _NS_PER_MS:.1f} ms"
    )


def main() -> int:
    """Move as often as asked, say how long it took and what was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moves", type=int, default=1000, metavar="N")
    parser.add_argument("--smp", type=int, default=4, metavar="N")
    parser.add_argument("--linux", action="store_true")
    parser.add_argument("--seconds", type=int, default=5, metavar="N", help="of Linux's loads")
    arguments = parser.parse_args()
    with launcher() as one:
        if arguments.linux:
            moved = move_linux(one, arguments.moves, arguments.smp, arguments.seconds)
        else:
            image = litmus.guest_images()["moving"]
            moved = move_guest(one, image, arguments.moves, arguments.smp)
    wrong = problems(moved, of_linux=arguments.linux)
    print(moved.run.console if wrong else "\n".join(moved.run.console.splitlines()[-10:]))
    print(_figures("a move", moved.total_ns), _figures("of it standing still", moved.gap_ns), sep="\n")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
