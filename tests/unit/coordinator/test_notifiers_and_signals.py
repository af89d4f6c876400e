"""The end of a run: clean-ups in reverse, and signals as events."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.exit_notifiers import ExitNotifiers
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.signals import Signals, process_name


def test_clean_ups_run_last_made_first_undone() -> None:
    done: list[str] = []
    notifiers = ExitNotifiers()
    for name in ("first", "second", "third"):
        notifiers.add(name, lambda name=name: done.append(name))  # type: ignore[misc]
    assert notifiers.run() == []
    assert done == ["third", "second", "first"]


def test_a_clean_up_that_fails_is_told_and_stops_none() -> None:
    done: list[str] = []
    notifiers = ExitNotifiers()
    notifiers.add("first", lambda: done.append("first"))
    notifiers.add("closing the door", lambda: [][0])
    notifiers.add("third", lambda: done.append("third"))
    assert notifiers.run() == ["while ending, closing the door: IndexError: list index out of range"]
    assert done == ["third", "first"]


def test_clean_ups_run_once(capsys: pytest.CaptureFixture[str]) -> None:
    notifiers = ExitNotifiers()
    notifiers.add("it", lambda: [][0])
    notifiers.run_and_report()
    notifiers.run_and_report()
    assert capsys.readouterr().err == "mpvm: while ending, it: IndexError: list index out of range\n"


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop(MonotonicClock())
    yield loop
    loop.close()


def test_a_signal_is_an_event_of_the_loop_and_says_who_sent_it(loop: EventLoop) -> None:
    got = list[int]()
    before = signal.getsignal(signal.SIGTERM)
    signals = Signals(loop, {signal.SIGTERM: got.append})
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    assert got == []
    assert loop.run(lambda: bool(got), loop.clock.now() + 10**10)
    assert got == [os.getpid()]
    signals.close()
    signals.close()
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_signal_that_another_thread_has_taken_is_an_event_too(loop: EventLoop) -> None:
    got, end = list[int](), threading.Event()
    # It blocks nothing, as a thread that was there before.
    thread = threading.Thread(target=end.wait)
    thread.start()
    signals = Signals(loop, {signal.SIGTERM: got.append})
    os.kill(os.getpid(), signal.SIGTERM)
    assert loop.run(lambda: bool(got), loop.clock.now() + 10**10)
    end.set()
    thread.join()
    signals.close()


def test_a_signal_that_comes_too_late_is_forgotten(loop: EventLoop) -> None:
    signals = Signals(loop, {signal.SIGTERM: lambda pid: pytest.fail(f"{pid} was heard")})
    os.kill(os.getpid(), signal.SIGTERM)
    signals.close()


def test_a_process_is_named_by_its_first_argument() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        # It runs when it answers: right after the start, it has no arguments yet.
        child.stdin.write(b"x")
        assert child.stdout.read(1) == b"x"
        assert process_name(child.pid) == "/bin/cat"
    assert process_name(1 << 22) == "<unknown process>"
