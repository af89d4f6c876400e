"""Which trace events are on, and what becomes of one that happens (QEMU's trace/control.c)."""

import time
from collections.abc import Iterable
from typing import Final

from mpvm.abi.errors import ConfigError
from mpvm.trace import log
from mpvm.trace.events import EVENTS

_NS: Final = 1_000_000_000

_enabled: set[str] = set()
_origin_ns = time.monotonic_ns()


def set_origin(ns: int) -> None:
    """Have times count from `ns` of CLOCK_MONOTONIC, when the command began."""
    global _origin_ns
    _origin_ns = ns


def find_events(pattern: str) -> set[str]:
    """The events whose name or group `pattern` matches, with * and ?; `ConfigError` when none does."""
    # Only here: a run that traces nothing does without it.
    from fnmatch import fnmatchcase

    found = {
        event.name
        for event in EVENTS.values()
        if fnmatchcase(event.name, pattern) or fnmatchcase(event.group, pattern)
    }
    if not found:
        groups = " or ".join(dict.fromkeys(event.group for event in EVENTS.values()))
        raise ConfigError(
            f"trace: {pattern!r} matches no event, {groups} is right, or a name of `mpvm run --trace help`"
        )
    return found


def trace_enable(patterns: Iterable[str]) -> None:
    """Trace the events that `patterns` match, and no others."""
    global _enabled
    _enabled = {name for pattern in patterns for name in find_events(pattern)}


def trace_enabled(name: str) -> bool:
    """Whether the event `name` is on, for who would not even call `trace`."""
    return name in _enabled


def trace(name: str, *values: object, at_ns: int | None = None) -> None:
    """The event `name` happens, now or at `at_ns` of CLOCK_MONOTONIC. One line, if it is on."""
    if name not in _enabled:
        return
    seconds = ((time.monotonic_ns() if at_ns is None else at_ns) - _origin_ns) / _NS
    told = zip(EVENTS[name].arguments, values, strict=True)
    fields = "".join(f" {argument}={_text(value)}" for argument, value in told)
    log.write(f"trace: {seconds:.6f} {name}{fields}")


def _text(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text else text
