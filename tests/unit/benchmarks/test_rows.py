"""The table of rows, and how they are chosen."""

import re
from collections import Counter

import pytest

from benchmarks.rows import GROUPS, cells
from benchmarks.runs import Linux
from tests.system import program

_BENCH_ROW = re.compile(r'\.name = "([^"]+)"')
_PRINTED_OUTSIDE = {"init", "resident"}


def test_no_two_rows_have_the_same_name_and_vcpus() -> None:
    assert [name for name, count in Counter(cell.name for cell in cells()).items() if count > 1] == []


def test_the_rows_inside_linux_are_those_of_the_program_that_measures_them() -> None:
    sources = (program.FOLDER / "bench").glob("*.c")
    measured = {name for source in sources for name in _BENCH_ROW.findall(source.read_text())}
    shown = {cell.row.name for cell in cells() if isinstance(cell.run, Linux)} - _PRINTED_OUTSIDE
    assert shown == measured


def test_a_row_is_chosen_by_its_name_on_all_numbers_of_vcpus() -> None:
    assert [cell.name for cell in cells(["init"])] == ["init:1", "init:2", "init:4", "init:8"]


def test_a_row_is_chosen_on_one_number_of_vcpus() -> None:
    assert [cell.name for cell in cells(["init:4"])] == ["init:4"]


def test_a_group_is_chosen_by_its_name() -> None:
    assert {cell.group.name for cell in cells(["ports"])} == {"ports"}
    assert len(list(cells(["ports"]))) == sum(
        len(row.runs) for group in GROUPS if group.name == "ports" for row in group.rows
    )


def test_wildcards_choose_and_nothing_is_chosen_twice() -> None:
    assert [cell.name for cell in cells(["fork*", "fork:2"])] == ["fork:2", "fork-exec:2", "fork-exec:4"]


def test_a_name_that_no_row_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no row is called forkexec: --list"):
        list(cells(["fork", "forkexec"]))
