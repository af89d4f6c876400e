"""Finding the subcommand, and errors as one line with an exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mpvm
from mpvm.abi.errors import ExitStatus, GuestCrash, StartError
from mpvm.cli import version
from mpvm.cli.main import COMMANDS, main

REPOSITORY = Path(__file__).resolve().parents[3]


def test_without_a_command_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr()
    assert all(f"  {name} " in shown.out for name in COMMANDS)
    assert shown.err == ""


def test_an_unknown_command_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == ExitStatus.BAD_CONFIGURATION
    assert capsys.readouterr() == (
        "",
        "mpvm: fly: no such command, run or qom or cpu or types or version is right\n",
    )


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_version_names_us_and_what_we_stand_on(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"mpvm {mpvm.__version__}"
    assert "unicorn 2.1.4" in lines


def test_version_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "-v"]) == ExitStatus.BAD_CONFIGURATION
    assert capsys.readouterr().err == "mpvm: version: -v: unexpected, `mpvm version` takes no arguments\n"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (StartError("no room"), ExitStatus.START_FAILURE, "mpvm: no room\n"),
        (GuestCrash("vCPU 0: triple fault"), ExitStatus.GUEST_CRASH, "mpvm: vCPU 0: triple fault\n"),
        (KeyboardInterrupt(), ExitStatus.INTERRUPTED, ""),
        (BrokenPipeError(), ExitStatus.INTERNAL_ERROR, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_with_its_status_and_no_traceback(
    error: BaseException,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(_argv: object) -> int:
        raise error

    # main replaces sys.stdout when its reader is gone.
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(version, "main", fail)
    assert main(["version"]) == status
    assert capfd.readouterr().err == text


def test_a_defect_of_ours_shows_its_traceback_and_no_status_of_a_guest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_argv: object) -> int:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(version, "main", fail)
    assert main(["version"]) == ExitStatus.INTERNAL_ERROR
    assert capsys.readouterr().err.rstrip().endswith("ZeroDivisionError: a defect")


@pytest.mark.parametrize("argv", [["run"], ["run", "absent.yaml"], ["run", "--spm"]])
def test_the_command_itself_says_bad_input_in_one_line_and_leaves_nothing(
    argv: list[str], runtime_dir: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mpvm", *argv],
        cwd=REPOSITORY,
        env={**os.environ, "MPVM_RUNTIME_DIR": str(runtime_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitStatus.BAD_CONFIGURATION
    assert done.stdout == ""
    assert done.stderr.startswith("mpvm: ")
    assert done.stderr.count("\n") == 1
    assert list(runtime_dir.iterdir()) == []


def test_help_for_run_names_every_option_and_starts_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mpvm", "run", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for option in ("--kernel", "--initrd", "--append", "--smp", "--memory", "--timeout", "--quiet", "--json"):
        assert option in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"mpvm.coordinator.forkserver", "pydantic", "yaml", "rich", "zmq"}
