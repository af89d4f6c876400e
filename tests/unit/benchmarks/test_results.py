"""Medians, ratios, means, and what is read from a guest's console."""

import pytest

from benchmarks.contenders import MPVM, QEMU
from benchmarks.machine import MachineError
from benchmarks.results import Result, Sample, check_clock, geometric_mean, parse


def _result(mpvm: list[float], qemu: list[float], *, more_is_better: bool = True) -> Result:
    values = {MPVM: mpvm, QEMU: qemu}
    return Result("row", 2, "group", "what", "unit", more_is_better, values)


def test_a_sample_has_the_median_and_the_extremes() -> None:
    assert Sample.of([3.0, 1.0, 9.0]) == Sample(median=3.0, low=1.0, high=9.0, runs=3)


def test_a_contender_without_values_has_no_sample() -> None:
    assert _result([], [1.0]).sample(MPVM) is None


def test_twice_the_rate_is_twice_as_good() -> None:
    assert _result([10.0, 20.0, 30.0], [10.0]).ratio == 2.0


def test_half_the_time_is_twice_as_good() -> None:
    assert _result([1.0], [2.0], more_is_better=False).ratio == 2.0


def test_the_spread_holds_the_worst_runs_against_the_best() -> None:
    assert _result([2.0, 4.0], [1.0, 2.0], more_is_better=True).spread == (1.0, 4.0)
    assert _result([1.0, 2.0], [2.0, 4.0], more_is_better=False).spread == (1.0, 4.0)


@pytest.mark.parametrize(("mpvm", "qemu"), [([], [1.0]), ([1.0], []), ([1.0], [0.0]), ([0.0], [1.0])])
def test_what_cannot_be_compared_has_no_ratio(mpvm: list[float], qemu: list[float]) -> None:
    assert _result(mpvm, qemu).ratio is None


def test_twice_as_good_and_half_as_good_are_level_on_average() -> None:
    assert geometric_mean([_result([2.0], [1.0]), _result([1.0], [2.0])]) == pytest.approx(1.0)


def test_rows_without_a_ratio_do_not_count_in_the_mean() -> None:
    assert geometric_mean([_result([], [1.0]), _result([3.0], [1.0])]) == pytest.approx(3.0)
    assert geometric_mean([_result([], [1.0])]) is None


def test_values_are_read_from_the_lines_that_a_guest_prints_for_them() -> None:
    lines = [
        (1.0, "[    0.1] Linux version"),
        (2.0, "bench syscall 1.5e+06 /s"),
        (3.0, "a bench fork 1 /s"),
        (4.0, "bench failed: mmap: Cannot allocate memory"),
        (5.0, "bench port-read-median 160 ns"),
    ]
    assert parse(lines) == {"syscall": 1.5e6, "port-read-median": 160.0}


def test_a_guest_whose_clock_is_right_is_believed() -> None:
    lines = [(10.0, "bench clock 3.5 s"), (15.0, "bench fork 100 /s"), (20.1, "bench clock 13.5 s")]
    check_clock(lines)
    assert parse(lines) == {"fork": 100.0}


@pytest.mark.parametrize("end", [13.0, 14.0])
def test_a_guest_whose_clock_is_slow_or_fast_is_not_believed(end: float) -> None:
    with pytest.raises(MachineError, match=r"the host's went 10\.000 s"):
        check_clock([(10.0, "bench clock 3.5 s"), (20.0, f"bench clock {end} s")])
