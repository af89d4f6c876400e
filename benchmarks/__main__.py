"""Measures mpvm beside QEMU's TCG, in turn, with the same guests, and prints one table.

python -m benchmarks                        everything, three times
python -m benchmarks --quick                everything once, shorter
python -m benchmarks 'fork*' syscall init:4 --runs 5
"""

import argparse
import importlib.util
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from benchmarks import plot, report
from benchmarks.contenders import CONTENDERS, MPVM, QEMU
from benchmarks.document import Document, describe_host, merge
from benchmarks.rows import GROUPS, Cell, cells
from benchmarks.runs import Effort
from benchmarks.suite import run_suite
from tests.system import reference
from tests.system.debian import METAPACKAGES

_QUICK = 0.25


def main() -> int:
    """Measure or read, then report; 1 when something could not be measured."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.output and importlib.util.find_spec("matplotlib") is None:
        parser.error("--output needs matplotlib: pip install -e '.[benchmarks]' is right")
    contenders = arguments.only or list(CONTENDERS)
    if QEMU in contenders and not arguments.results and shutil.which(reference.PROGRAM) is None:
        parser.error(f"{reference.PROGRAM} is not installed: its package, or --only {MPVM}, is right")
    try:
        chosen = list(cells(arguments.rows or ["*"]))
        earlier = [Document.from_json(file.read_text()) for file in arguments.results or []]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if arguments.list:
        _list(chosen)
        return 0
    document = _choose(merge(earlier), chosen) if earlier else _measure(arguments, chosen, contenders)
    _report(document, arguments)
    return 1 if document.failures else 0


def _measure(arguments: argparse.Namespace, chosen: list[Cell], contenders: list[str]) -> Document:
    effort = Effort(_QUICK if arguments.quick else 1.0, arguments.kernel)
    runs = arguments.runs or (1 if arguments.quick else 3)
    with Console(stderr=True).status("") as status:
        outcome = run_suite(chosen, contenders, runs, effort, status.update)
    return Document(outcome.results, outcome.failures, describe_host(), {"runs": runs, **asdict(effort)})


def _choose(document: Document, chosen: list[Cell]) -> Document:
    known = {(result.name, result.smp): result for result in document.results}
    names = [(cell.row.name, cell.run.smp) for cell in chosen]
    return replace(document, results=[known[name] for name in names if name in known])


def _report(document: Document, arguments: argparse.Namespace) -> None:
    counting = [group.name for group in GROUPS if group.counts]
    if arguments.json:
        print(document.to_json())
    else:
        report.print_table(document.results, counting)
    for failure in document.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        pictures = [arguments.output / f"benchmarks.{suffix}" for suffix in ("svg", "png")]
        page = report.markdown(document, counting, pictures[0].name)
        (arguments.output / "benchmarks.json").write_text(document.to_json() + "\n")
        (arguments.output / "benchmarks.md").write_text(page)
        plot.save(document.results, report.title(document), pictures)


def _list(chosen: list[Cell]) -> None:
    for cell in chosen:
        print(f"{cell.name:24} {cell.row.what}, {cell.row.unit}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help="a row, row:vCPUs or a group, with wildcards (all)"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="starts of each contender (3; 1 if --quick)")
    parser.add_argument("--quick", action="store_true", help="a quarter of the time for each row")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), help="leave the others out")
    parser.add_argument(
        "--kernel", choices=list(METAPACKAGES), default="cloud", help="Debian's kernel (cloud)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write benchmarks.json, .md, .svg and .png there, too"
    )
    parser.add_argument(
        "--results",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="measure nothing: report on what these benchmarks.json have together",
    )
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
