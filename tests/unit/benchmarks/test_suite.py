"""Who is run when, and what becomes of a run that fails."""

from collections.abc import Set
from dataclasses import dataclass, field

from benchmarks.machine import MachineError
from benchmarks.rows import Cell, Group, Row
from benchmarks.runs import Effort
from benchmarks.suite import run_suite

_EFFORT = Effort()


@dataclass(frozen=True)
class _Run:
    """Gives what it is told to; notes who asked for what."""

    smp: int
    values: dict[str, float] = field(hash=False)
    broken_on: str = ""
    asked: list[tuple[str, frozenset[str]]] = field(default_factory=list, hash=False, compare=False)

    def measure(self, contender: str, wanted: Set[str], effort: Effort) -> dict[str, float]:
        self.asked.append((contender, frozenset(wanted)))
        if contender == self.broken_on:
            raise MachineError("hung")
        return self.values


def _cells(run: _Run, *names: str, scale: float = 1) -> list[Cell]:
    rows = [Row(name, name, "s", (run,), scale) for name in names]
    return [Cell(row, Group("group", rows), run) for row in rows]


def test_rows_of_one_run_share_its_starts() -> None:
    run = _Run(1, {"a": 1.0, "b": 2.0})
    outcome = run_suite(_cells(run, "a", "b"), ["mpvm"], 1, _EFFORT)
    assert run.asked == [("mpvm", frozenset({"a", "b"}))]
    assert [result.values for result in outcome.results] == [{"mpvm": [1.0]}, {"mpvm": [2.0]}]


def test_who_is_first_changes_from_turn_to_turn() -> None:
    run = _Run(1, {"a": 1.0})
    run_suite(_cells(run, "a"), ["mpvm", "qemu"], 2, _EFFORT)
    assert [contender for contender, _ in run.asked] == ["mpvm", "qemu", "qemu", "mpvm"]


def test_values_come_in_the_unit_of_their_row() -> None:
    outcome = run_suite(_cells(_Run(1, {"a": 2500.0}), "a", scale=1e-3), ["mpvm"], 1, _EFFORT)
    assert outcome.results[0].values == {"mpvm": [2.5]}


def test_a_run_that_fails_is_told_and_the_others_go_on() -> None:
    run = _Run(2, {"a": 1.0}, broken_on="qemu")
    outcome = run_suite(_cells(run, "a"), ["qemu", "mpvm"], 1, _EFFORT)
    assert outcome.results[0].values == {"mpvm": [1.0]}
    assert outcome.failures == ["_Run with 2 vCPUs on qemu: hung"]


def test_a_value_that_did_not_come_is_told() -> None:
    outcome = run_suite(_cells(_Run(1, {}), "a"), ["mpvm"], 1, _EFFORT)
    assert outcome.failures == ["_Run with 1 vCPU on mpvm: gave no value of a"]
