"""What a run says on stderr, in QEMU's words: warnings, and which signal has ended it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mpvm.coordinator.observer import Observer

if TYPE_CHECKING:
    from mpvm.cpu.models import CpuModel

# What QEMU calls who lacks a feature.
_WHO = {"unicorn": "TCG", "kvm": "host"}


class Messages(Observer):
    """Says no more than QEMU does; `program` is who says it."""

    def __init__(self, program: str) -> None:
        self._program = program

    def warning(self, text: str) -> None:
        """One line."""
        print(f"{self._program}: warning: {text}", file=sys.stderr, flush=True)

    def cpu_resolved(self, model: CpuModel) -> None:
        """A line for each feature that was asked for and can't be had."""
        if model.check:
            for name, reason in model.unavailable:
                self.warning(feature_warning(name, reason))

    def signalled(self, number: int, pid: int) -> None:
        """One line, by which scripts tell such an end from others: its status is 0."""
        from mpvm.coordinator.signals import process_name

        sender = f" from pid {pid} ({process_name(pid)})" if pid else ""
        print(f"{self._program}: terminating on signal {number}{sender}", file=sys.stderr, flush=True)


def feature_warning(name: str, reason: str) -> str:
    """Why feature `name` is not there, `reason` being the accelerator's name or "needs" what it needs."""
    # Imported here: few command lines ask for what can't be had.
    from mpvm.cpu.features import FEATURES, WORD_SOURCES

    feature = FEATURES[name]
    where = f"{WORD_SOURCES[feature.word]}.{name} [bit {feature.bit}]"
    if reason.startswith("needs "):
        return f"This feature depends on other features that were not requested: {where}"
    return f"{_WHO.get(reason, reason)} doesn't support requested feature: {where}"
