"""Runs what the chosen rows need, each contender in turn, and gathers the values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.machine import MachineError
from benchmarks.results import Result
from benchmarks.rows import Cell
from benchmarks.runs import Effort, Run


@dataclass
class Outcome:
    """A result a cell, in their order; and what went wrong, a text each."""

    results: list[Result]
    failures: list[str] = field(default_factory=list)


def run_suite(
    cells: Sequence[Cell],
    contenders: Sequence[str],
    turns: int,
    effort: Effort,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Measure `cells`, `turns` times each.

    A turn runs everything once, one contender right after the other, so that what else the host does befalls
    all; who is first changes from turn to turn. What fails leaves a gap and a text in `failures`.
    """
    outcome = Outcome([cell.empty_result() for cell in cells])
    by_run: dict[Run, list[tuple[Cell, Result]]] = {}
    for cell, result in zip(cells, outcome.results, strict=True):
        by_run.setdefault(cell.run, []).append((cell, result))
    for turn in range(turns):
        for run, members in by_run.items():
            for contender in contenders[:: -1 if turn % 2 else 1]:
                progress(f"{turn + 1} of {turns}: {describe(run)} on {contender}")
                try:
                    _measure(run, members, contender, effort)
                except MachineError as error:
                    outcome.failures.append(f"{describe(run)} on {contender}: {error}")
    return outcome


def describe(run: Run) -> str:
    """For people: what is started, with how many vCPUs."""
    name = getattr(run, "name", "") or type(run).__name__
    return f"{name} with {run.smp} vCPU{'s' if run.smp > 1 else ''}"


def _measure(run: Run, members: Sequence[tuple[Cell, Result]], contender: str, effort: Effort) -> None:
    values = run.measure(contender, {cell.row.name for cell, _ in members}, effort)
    missing = [cell.row.name for cell, _ in members if cell.row.name not in values]
    if missing:
        raise MachineError(f"gave no value of {', '.join(missing)}")
    for cell, result in members:
        result.values.setdefault(contender, []).append(values[cell.row.name] * cell.row.scale)
