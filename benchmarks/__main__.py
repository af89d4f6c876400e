"""Measures mpvm beside QEMU's TCG, in turn, with the same guests, and prints one table.

python -m benchmarks                        everything, three times
python -m benchmarks --quick                everything once, shorter
python -m benchmarks 'fork*' syscall init:4 --runs 5
"""

import argparse
import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import plot, report
from benchmarks.contenders import CONTENDERS
from benchmarks.rows import GROUPS, Cell, cells
from benchmarks.runs import Effort
from benchmarks.suite import Outcome, run_suite
from tests.system.debian import METAPACKAGES

_QUICK = 0.25


def main() -> int:
    """Measure or read, then report; 1 when something could not be measured."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.output and importlib.util.find_spec("matplotlib") is None:
        parser.error("--output needs matplotlib: pip install -e '.[benchmarks]' is right")
    try:
        chosen = list(cells(arguments.rows or ["*"]))
    except ValueError as error:
        parser.error(str(error))
    if arguments.list:
        _list(chosen)
        return 0
    effort = Effort(_QUICK if arguments.quick else 1.0, arguments.kernel)
    runs = arguments.runs or (1 if arguments.quick else 3)
    contenders = arguments.only or list(CONTENDERS)
    if arguments.results:
        results, host = report.from_json(arguments.results.read_text())
        names = {(cell.row.name, cell.run.smp) for cell in chosen}
        outcome = Outcome([result for result in results if (result.name, result.smp) in names])
    else:
        outcome, host = _measure(chosen, contenders, runs, effort), report.host()
    _report(outcome, host, {"runs": runs, **asdict(effort)}, arguments)
    return 1 if outcome.failures else 0


def _measure(chosen: list[Cell], contenders: list[str], runs: int, effort: Effort) -> Outcome:
    with Console(stderr=True).status("") as status:
        return run_suite(chosen, contenders, runs, effort, status.update)


def _report(
    outcome: Outcome, host: dict[str, Any], settings: dict[str, Any], arguments: argparse.Namespace
) -> None:
    document = report.to_json(outcome.results, outcome.failures, settings)
    counting = [group.name for group in GROUPS if group.counts]
    if arguments.json:
        print(document)
    else:
        report.print_table(outcome.results, counting)
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "benchmarks.json").write_text(document + "\n")
        (arguments.output / "benchmarks.md").write_text(report.markdown(outcome.results, counting))
        pictures = [arguments.output / f"benchmarks.{suffix}" for suffix in ("svg", "png")]
        plot.save(outcome.results, _title(host), pictures)


def _title(host: dict[str, Any]) -> str:
    return f"mpvm {host['mpvm']} beside {host['qemu']}\n{host['processor']}, {host['cpus']} CPUs"


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
        "--results", type=Path, metavar="FILE", help="measure nothing: report on this benchmarks.json"
    )
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
