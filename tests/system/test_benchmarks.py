"""What the benchmarks start gives the values of its rows, however large they are."""

import pytest

from benchmarks.contenders import MPVM
from benchmarks.rows import cells
from benchmarks.runs import Effort, Run
from benchmarks.suite import describe

# The shortest that still runs everything.
_EFFORT = Effort(share=0.01, clock_checked=False)


def _rows_by_run() -> dict[Run, set[str]]:
    """One run of each kind: that of the number of vCPUs on which most rows are."""
    rows: dict[Run, set[str]] = {}
    for cell in cells():
        rows.setdefault(cell.run, set()).add(cell.row.name)
    kinds: dict[tuple[type[Run], str], Run] = {}
    for run in sorted(rows, key=lambda run: (len(rows[run]), -run.smp)):
        kinds[type(run), getattr(run, "name", "")] = run
    return {run: rows[run] for run in kinds.values()}


@pytest.mark.parametrize(
    ("run", "names"), [pytest.param(run, names, id=describe(run)) for run, names in _rows_by_run().items()]
)
def test_a_run_of_the_benchmarks_gives_all_its_values(run: Run, names: set[str]) -> None:
    values = run.measure(MPVM, names, _EFFORT)
    assert names - values.keys() == set()
