"""The summary at the end of a run: a table for people and the same data as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpvm.coordinator.outcome import Outcome, VcpuSummary

JSON_VERSION = 1

_COLUMNS = ("vCPU", "process", "in guest", "halted", "stolen", "interrupts", "halts", "exits", "by reason")
_LEFT = len(_COLUMNS) - 1
_SECOND = 1_000_000_000


def table(vcpus: Sequence[VcpuSummary]) -> str:
    """A line a vCPU under a heading, columns aligned, no newline at the end."""
    rows = [_COLUMNS, *(_row(vcpu) for vcpu in vcpus)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def to_json(outcome: Outcome) -> str:
    """How the run ended and the table's data in full, as one JSON object (docs/run.md)."""
    plain = outcome.as_dict()
    return json.dumps({"version": JSON_VERSION, **plain, "status": int(outcome.status)}, indent=2)


def _row(vcpu: VcpuSummary) -> tuple[str, ...]:
    by_count = sorted(vcpu.exits.items(), key=lambda item: (-item[1], item[0]))
    return (
        str(vcpu.index),
        str(vcpu.pid),
        _seconds(vcpu.guest_ns),
        _seconds(vcpu.halted_ns),
        _seconds(vcpu.stolen_ns),
        str(vcpu.interrupts),
        str(vcpu.halts),
        str(sum(vcpu.exits.values())),
        ", ".join(f"{name} {count}" for name, count in by_count if count) or "none",
    )


def _seconds(ns: int) -> str:
    return f"{ns / _SECOND:.3f} s"
