"""What is seen of a machine from the outside; any process will do for one."""

import sys

import pytest

from benchmarks.machine import Machine, MachineError

_LIMIT = 60.0


def _python(script: str, limit: float = _LIMIT) -> Machine:
    return Machine([sys.executable, "-S", "-c", script], limit)


def test_texts_are_found_in_order_and_their_times_never_go_back() -> None:
    with _python("print('one'); print('two')") as machine:
        assert 0 < machine.wait_for(b"one") <= machine.wait_for(b"two")


def test_the_lines_have_the_times_at_which_they_came() -> None:
    with _python("print('one\\r\\ntwo', flush=True); print('three')") as machine:
        machine.wait_for(b"two")
        assert [line for _, line in machine.lines()] == ["one", "two"]


def test_an_end_before_the_text_is_told_with_the_last_lines() -> None:
    with _python("print('panic')") as machine, pytest.raises(MachineError, match=r"no b'ready'.*\npanic"):
        machine.wait_for(b"ready")


def test_a_machine_that_says_nothing_is_given_up() -> None:
    silent = _python("import time; time.sleep(60)", limit=0.0)
    with silent as machine, pytest.raises(MachineError, match="time is up"):
        machine.wait_for(b"ready")


def test_another_status_than_0_is_told() -> None:
    with _python("raise SystemExit(3)") as machine, pytest.raises(MachineError, match="status 3"):
        machine.wait_for_end()


def test_the_memory_is_that_of_all_processes() -> None:
    big = "kept = b'1' * 2**25; print('ready', flush=True); input()"
    # The child's input ends with its parent, and the child with it.
    parent = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {big!r}], stdin=subprocess.PIPE)\n"
        "time.sleep(60)"
    )
    with _python(parent) as machine:
        machine.wait_for(b"ready")
        assert machine.resident_bytes() > 2**25
