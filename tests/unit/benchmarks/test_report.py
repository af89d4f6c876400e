"""The tables and the picture of the same results."""

from pathlib import Path

import pytest

from benchmarks import plot, report
from benchmarks.contenders import MPVM, QEMU
from benchmarks.document import Document, describe_host
from benchmarks.results import Result

RESULTS = [
    Result("fork", 2, "kernel", "fork, exit, wait", "/s", True, {MPVM: [800.0, 900.0, 700.0], QEMU: [400.0]}),
    Result("init", 4, "start", "boot", "s", False, {MPVM: [3.0], QEMU: [1.5]}),
    Result("port", 1, "ports", "port", "µs", False, {MPVM: [60.0], QEMU: [0.06]}),
    Result("lonely", 1, "ports", "no ratio", "µs", False, {MPVM: [60.0]}),
]
COUNTING = ("kernel", "start")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12346"),
        (123.4, "123"),
        (1.0, "1.00"),
        (0.0612, "0.0612"),
        (0.0000174, "0.0000174"),
        (0, "0"),
    ],
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert report.figure(value) == text


def test_the_mean_over_all_takes_only_the_groups_that_count() -> None:
    assert report.overall(RESULTS, COUNTING) == pytest.approx(1.0)


def test_markdown_has_a_line_a_row_and_a_mean_a_group() -> None:
    document = Document(RESULTS, [], describe_host(), {})
    lines = report.markdown(document, COUNTING, "picture.svg").splitlines()
    assert "![ratios by row](picture.svg)" in lines
    assert "| `fork` | fork, exit, wait | 2 | /s | 800 (700 to 900) | 400 | 2.00 |" in lines
    assert "| `lonely` | no ratio | 1 | µs | 60.0 |  |  |" in lines
    assert "| **start** | geometric mean | | | | | **0.500** |" in lines
    assert "| **all that counts** | geometric mean | | | | | **1.00** |" in lines


def test_the_table_shows_medians_spread_and_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_table(RESULTS, COUNTING)
    [line] = [line for line in capsys.readouterr().out.splitlines() if "fork" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        *("fork", "2", "/s", "800 (700 to 900)", "400", "2.00")
    ]


def test_the_picture_names_every_row_that_has_a_ratio_and_is_the_same_again(tmp_path: Path) -> None:
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        plot.save(RESULTS, "title", [file])
    drawn = files[0].read_text()
    assert all(name in drawn for name in ("fork:2", "init:4", "port:1"))
    assert "lonely" not in drawn
    assert files[1].read_text() == drawn
