"""Results as a table: on the terminal, and in Markdown for the manual."""

import math
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CONTENDERS
from benchmarks.document import Document
from benchmarks.results import Result, Sample, geometric_mean

HEADINGS = ("row", "vCPUs", "unit", *CONTENDERS, "ratio")
_CAPTION = "median (lowest to highest); ratio: how many times as good as QEMU mpvm is, above 1 it is ahead"
_COUNTING = "all that counts"


def print_table(results: Sequence[Result], counting: Iterable[str]) -> None:
    """On stdout. `counting` are the groups that the mean over all takes in."""
    table = Table(title=None, caption=_CAPTION)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number in (0, 2) else "right", no_wrap=number == 0)
    for group, rows in by_group(results).items():
        for result in rows:
            style = "red" if result.ratio is not None and result.ratio < 1 else None
            table.add_row(*_cells(result), style=style)
        table.add_row(f"[bold]{group}[/]", "", "", "", "", _ratio(geometric_mean(rows)), end_section=True)
    table.add_row(f"[bold]{_COUNTING}[/]", "", "", "", "", _ratio(overall(results, counting)))
    Console(file=sys.stdout, width=max(110, Console().width)).print(table)


def title(document: Document) -> str:
    """What was compared, on what."""
    host = document.host
    return f"mpvm {host['mpvm']} beside {host['qemu']}, on {host['processor']}, {host['cpus']} CPUs"


def markdown(document: Document, counting: Iterable[str], picture: str) -> str:
    """A page with the file `picture` and the same table."""
    results = document.results
    runs = max((len(values) for result in results for values in result.values.values()), default=0)
    lines = [
        "# Results",
        "",
        f"{title(document)}, Linux {document.host['kernel']}. Runs of each: {runs}. "
        f"The host's load at the end: {document.host['load']:.1f}.",
        "",
        f"![ratios by row]({picture})",
        "",
        f"| {' | '.join(('row', 'what', *HEADINGS[1:]))} |",
        "|---|---|--:|---|--:|--:|--:|",
    ]
    for group, rows in by_group(results).items():
        for result in rows:
            name, *cells = _cells(result)
            lines.append(f"| {' | '.join((f'`{name}`', result.what, *cells))} |")
        lines.append(f"| **{group}** | geometric mean | | | | | **{_ratio(geometric_mean(rows))}** |")
    lines.append(f"| **{_COUNTING}** | geometric mean | | | | | **{_ratio(overall(results, counting))}** |")
    return "\n".join([*lines, "", f"Values: {_CAPTION}.", ""])


def by_group(results: Iterable[Result]) -> dict[str, list[Result]]:
    """In the order in which they come."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.group, []).append(result)
    return groups


def overall(results: Iterable[Result], counting: Iterable[str]) -> float | None:
    """The geometric mean over the groups `counting`."""
    names = set(counting)
    return geometric_mean(result for result in results if result.group in names)


def figure(value: float) -> str:
    """Three digits that count, and never an exponent; whole numbers keep all theirs."""
    if not value:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _cells(result: Result) -> list[str]:
    samples = [_sample(result.sample(contender)) for contender in CONTENDERS]
    return [result.name, str(result.smp), result.unit, *samples, _ratio(result.ratio)]


def _sample(sample: Sample | None) -> str:
    if sample is None:
        return ""
    if sample.runs == 1:
        return figure(sample.median)
    return f"{figure(sample.median)} ({figure(sample.low)} to {figure(sample.high)})"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else figure(ratio)
