"""The end of a run: clean-ups in reverse, and signals as events."""

import os
import signal

import pytest

from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.exit_notifiers import ExitNotifiers
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.signals import Signals


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


def test_a_signal_is_an_event_of_the_loop() -> None:
    loop, got = EventLoop(MonotonicClock()), list[str]()
    before = signal.getsignal(signal.SIGTERM)
    signals = Signals(loop, {signal.SIGTERM: lambda: got.append("TERM")})
    os.kill(os.getpid(), signal.SIGTERM)
    assert got == []
    assert loop.run(lambda: bool(got), loop.clock.now() + 10**10)
    signals.close()
    signals.close()
    assert signal.getsignal(signal.SIGTERM) == before
    loop.close()
