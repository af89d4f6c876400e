"""The command lines: what is listed, and what is refused."""

import runpy
import sys

import pytest


def _run(monkeypatch: pytest.MonkeyPatch, module: str, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__")
    return end.value.code


def test_the_chosen_rows_are_listed_and_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "benchmarks.__main__", "--list", "fork-exec") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "fork-exec:2",
        "fork-exec:4",
    ]


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("benchmarks.__main__", ["forkexec"], "no row is called forkexec: --list prints all names"),
        ("benchmarks.__main__", ["--results", "/nowhere.json"], "No such file or directory: '/nowhere.json'"),
        ("benchmarks.profile", ["first-byte"], "first-byte:1 is over before perf has started"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    arguments: list[str],
    message: str,
) -> None:
    assert _run(monkeypatch, module, *arguments) == 2
    assert capsys.readouterr().err.rstrip().endswith(message)
