"""Seconds to the first line of /init, and to the end of 200 fork+execs after it: mpvm beside QEMU's TCG.

Both get the same kernel, initramfs and command line, in turn, so that what else the host does befalls both.

    python -m benchmarks.boot --runs 5 --smp 1 4
"""

import argparse
import sys
from pathlib import Path

from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import CONTENDERS, Guest
from benchmarks.measure import Sample, seconds_to
from benchmarks.report import Row, print_table, to_json
from tests.system import debian
from tests.system.initramfs import initramfs

_LIMIT = 300.0
_MILESTONES = {
    "first line of /init": b"init: hello from /init",
    "and 200 fork+execs": b"forkexec: 200 of 200",
}


def measure(guest: Guest, contenders: list[str], runs: int) -> list[Row]:
    """A row a milestone, from `runs` boots of each contender."""
    texts = list(_MILESTONES.values())
    times: dict[str, list[list[float]]] = {contender: [] for contender in contenders}
    for turn in track(range(runs), f"{guest.smp} vCPUs", transient=True, disable=not sys.stdout.isatty()):
        # The order turns about: neither is always the one that follows the other.
        for contender in contenders[:: -1 if turn % 2 else 1]:
            times[contender].append(seconds_to(CONTENDERS[contender](guest), texts, _LIMIT))
    return [
        Row(
            what,
            guest.smp,
            {name: Sample.of([run[milestone] for run in boots]) for name, boots in times.items()},
        )
        for milestone, what in enumerate(_MILESTONES)
    ]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    kernel = Path(arguments.kernel) if "/" in arguments.kernel else debian.kernel(arguments.kernel)
    append = " ".join(["console=ttyS0", *arguments.append.split(), "mpvm.job=forkexec"])
    rows = []
    for smp in arguments.smp:
        guest = Guest(kernel, smp, arguments.memory, initramfs(), append)
        rows += measure(guest, arguments.only or list(CONTENDERS), arguments.runs)
    version = kernel_version(kernel)
    if arguments.json:
        print(to_json(rows, kernel=version, append=append, memory=arguments.memory))
    else:
        print_table(f"Linux {version}, {append}", rows)


def kernel_version(kernel: Path) -> str:
    """The version string of a bzImage (the kernel's Documentation/x86/boot.rst, field kernel_version)."""
    with kernel.open("rb") as file:
        head = file.read(0x10000)
    start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    return head[start : head.index(b"\0", start)].decode("ascii", "replace").split()[0]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="boots of each contender (5)")
    parser.add_argument("--smp", type=int, nargs="+", default=[1, 4], metavar="N", help="vCPUs (1 4)")
    parser.add_argument("--memory", default="512M", metavar="SIZE", help="guest memory (512M)")
    parser.add_argument("--kernel", default="cloud", help="cloud, generic or a bzImage's path (cloud)")
    parser.add_argument("--append", default="", help="more words for the kernel's command line")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), help="leave the others out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
