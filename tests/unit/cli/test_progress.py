"""What a person sees while the machine comes up."""

import io
import subprocess
import sys

import pytest

from mpvm.cli.progress import LiveLine, Plain, choose
from mpvm.coordinator.observer import Observer

MS = 1_000_000


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def _bring_up(observer: Observer, smp: int) -> None:
    for index in range(smp):
        observer.vcpu_created(index, 100 + index, (30 + index) * MS)
    for index in range(smp):
        observer.vcpu_ready(index, (40 + index) * MS)
    observer.machine_started(60 * MS)
    observer.machine_stopped()


def test_a_stream_that_is_no_terminal_gets_plain_lines() -> None:
    stream = io.StringIO()
    _bring_up(choose(stream, 2, quiet=False), 2)
    assert stream.getvalue().splitlines() == [
        "mpvm: vCPU 0 created, process 100, 30 ms",
        "mpvm: vCPU 1 created, process 101, 31 ms",
        "mpvm: vCPU 0 ready, 40 ms",
        "mpvm: vCPU 1 ready, 41 ms",
        "mpvm: 2 vCPUs running, 60 ms",
    ]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["pipe", "terminal"])
def test_quiet_shows_nothing(stream: io.StringIO) -> None:
    _bring_up(choose(stream, 2, quiet=True), 2)
    assert stream.getvalue() == ""


def test_the_live_line_says_of_each_vcpu_how_far_it_is() -> None:
    line = LiveLine(Terminal(), 3)
    line.vcpu_created(0, 100, 30 * MS)
    line.vcpu_created(1, 101, 31 * MS)
    line.vcpu_ready(1, 45 * MS)
    line.machine_stopped()
    assert (
        line.text() == "mpvm: 3 vCPUs created 2/3, ready 1/3  0: created 30 ms  1: ready 45 ms  2: starting"
    )


def test_the_live_line_of_a_large_machine_says_how_long_the_slowest_took() -> None:
    line = LiveLine(Terminal(), 64)
    _bring_up(line, 64)
    assert line.text(started=120 * MS) == "mpvm: 64 vCPUs running after 120 ms  slowest 103 ms"


@pytest.fixture
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that rich takes for a wide one, whatever the tests run in."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_the_live_line_ends_as_one_line_before_the_guest_speaks(plain_terminal: Terminal) -> None:
    observer = choose(plain_terminal, 2, quiet=False)
    assert isinstance(observer, LiveLine)
    observer.vcpu_created(0, 100, 300 * MS)
    observer.vcpu_created(1, 101, 310 * MS)
    observer.vcpu_ready(0, 400 * MS)
    observer.vcpu_ready(1, 410 * MS)
    assert (
        "mpvm: 2 vCPUs created 2/2, ready 1/2  0: ready 400 ms  1: created 310 ms"
        in plain_terminal.getvalue()
    )
    observer.machine_started(600 * MS)
    shown = plain_terminal.getvalue()
    before = shown.removesuffix("\x1b[?25h").removesuffix("\n")
    assert "running after 600 ms  0: ready 400 ms  1: ready 410 ms" in before.rpartition("\r")[2]
    assert _shows_the_cursor(shown)
    assert shown.count("\n") == 1


def test_a_machine_that_comes_up_at_once_gets_the_last_line_alone(plain_terminal: Terminal) -> None:
    _bring_up(choose(plain_terminal, 2, quiet=False), 2)
    assert plain_terminal.getvalue() == "mpvm: 2 vCPUs running after 60 ms  0: ready 40 ms  1: ready 41 ms\n"


def test_a_failure_leaves_the_line_and_the_cursor_as_they_should_be(plain_terminal: Terminal) -> None:
    observer = choose(plain_terminal, 2, quiet=False)
    observer.vcpu_created(0, 100, 300 * MS)
    observer.vcpu_failed(1, "died")
    shown = plain_terminal.getvalue()
    assert _shows_the_cursor(shown)
    observer.machine_stopped()
    assert plain_terminal.getvalue() == shown


def _shows_the_cursor(shown: str) -> bool:
    """Whether the cursor, hidden while the line lives, is shown again."""
    return -1 < shown.rfind("\x1b[?25l") < shown.rfind("\x1b[?25h")


@pytest.mark.parametrize("observer", ["Plain", "LiveLine"])
def test_a_quick_start_costs_no_import_of_rich(observer: str) -> None:
    script = (
        f"import sys; from mpvm.cli.progress import {observer}; progress = {observer}(sys.stderr, 1); "
        "progress.vcpu_ready(0, 40_000_000); progress.machine_started(60_000_000); "
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_one_vcpu_is_not_called_many() -> None:
    stream = io.StringIO()
    Plain(stream, 1).machine_started(5 * MS)
    assert stream.getvalue() == "mpvm: 1 vCPU running, 5 ms\n"
