"""Trace events: which are on, and what they look like."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.trace import control
from mpvm.trace.control import find_events, trace, trace_enable, trace_enabled
from mpvm.trace.events import EVENTS

_MPVM = Path(control.__file__).parents[1]


@pytest.fixture(autouse=True)
def off() -> Iterator[None]:
    yield
    trace_enable([])


def test_nothing_is_traced_unless_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    trace("init_vcpu", 0)
    assert not trace_enabled("init_vcpu")
    assert capfd.readouterr().err == ""


def test_an_event_is_a_line_with_its_time_and_its_arguments(capfd: pytest.CaptureFixture[str]) -> None:
    trace_enable(["init_vcpu", "vcpu_exit"])
    control.set_origin(1_000_000_000)
    trace("init_vcpu", 3, at_ns=1_500_000_000)
    trace("vcpu_exit", 0, "KVM_EXIT_IO in 0x60 size 1", at_ns=1_000_001_000)
    trace("start_vcpu", 3, 4711)
    assert capfd.readouterr().err == (
        "mpvm: trace: 0.500000 init_vcpu vcpu=3\n"
        "mpvm: trace: 0.000001 vcpu_exit vcpu=0 exit='KVM_EXIT_IO in 0x60 size 1'\n"
    )


def test_a_pattern_means_names_and_groups() -> None:
    startup = {event.name for event in EVENTS.values() if event.group == "startup"}
    assert find_events("startup") == startup
    assert find_events("vcpu_r*") == {"vcpu_ready"}
    assert find_events("*") == set(EVENTS)
    trace_enable(["vcpu_ready", "run"])
    assert [name for name in EVENTS if trace_enabled(name)] == ["vcpu_ready", "runstate_set", "exit_notifier"]


def test_a_pattern_that_matches_nothing_is_named() -> None:
    with pytest.raises(ConfigError, match="trace: 'strtup' matches no event, startup or run or"):
        trace_enable(["strtup"])


def test_every_event_is_traced_somewhere_and_every_trace_is_in_the_table() -> None:
    texts = [path.read_text() for path in _MPVM.rglob("*.py")]
    traced = {name for text in texts for name in re.findall(r'\btrace\(\s*"(\w+)"', text)}
    assert traced == set(EVENTS)
