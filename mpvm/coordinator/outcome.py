"""How a run ended, and what each vCPU did in it."""

import sys
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

from mpvm.abi.exits import ExitReason
from mpvm.coordinator.vcpu import Vcpu


class VcpuSummary(SimpleNamespace):
    """One vCPU's counters (`layout.Counters`); `exits` by KVM's name of the reason, times in ns.

    `moves` counts the workers that were this vCPU before process `pid`. `created_ns` and `ready_ns` are what
    its worker measured of its own start, `first_entry_ns` is CLOCK_MONOTONIC when the vCPU first entered the
    guest (0: never). `code_drops` and `write_watches` are the coherence protocol's requests.

    No dataclass: to import what makes them takes as long as a short run's end.
    """

    index: int
    pid: int
    exits: dict[str, int]
    interrupts: int
    nmis: int
    halts: int
    pauses: int
    yields: int
    kicks: int
    ipis_sent: int
    posted_writes: int
    shadowed_reads: int
    exclusive_steps: int
    code_drops: int
    write_watches: int
    guest_ns: int
    halted_ns: int
    run_ns: int
    stolen_ns: int
    moves: int
    created_ns: int
    ready_ns: int
    first_entry_ns: int


class Outcome(NamedTuple):
    """`status` is the exit status of `mpvm run`, `cause` says in a few words why the run ended.

    `reason` is the same as QAPI's ShutdownCause.
    """

    status: int
    cause: str
    summary: list[VcpuSummary]
    reason: str = "none"

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON types."""
        return {**self._asdict(), "summary": [dict(vars(vcpu)) for vcpu in self.summary]}

    def qemu_status(self, panic: str = "shutdown") -> int:
        """The exit status that QEMU's command has of it, where `panic` is its -action panic=.

        QEMU knows of no other than 0 but what a guest says itself, and 1 for what has failed.
        """
        if self.reason == "guest-panic":
            return 1 if panic == "exit-failure" else 0
        return 0 if self.reason == "host-signal" else self.status


_COPIED = (
    "interrupts",
    "nmis",
    "halts",
    "pauses",
    "yields",
    "kicks",
    "ipis_sent",
    "posted_writes",
    "shadowed_reads",
    "exclusive_steps",
    "code_drops",
    "write_watches",
    "guest_ns",
    "halted_ns",
    "run_ns",
    "stolen_ns",
)


def relay_stderr(vcpus: Iterable[Vcpu]) -> None:
    """What workers had to say although nothing failed; it would go with the runtime directory."""
    for vcpu in vcpus:
        for line in vcpu.stderr().splitlines():
            print(f"mpvm: vCPU {vcpu.index}: {line}", file=sys.stderr)


def summarize(vcpus: Iterable[Vcpu]) -> list[VcpuSummary]:
    """The summary of every vCPU, from its counters as they are now."""
    return [
        VcpuSummary(
            index=vcpu.index,
            pid=vcpu.pid,
            exits={
                reason.name: int(vcpu.area.counters.exits[reason])
                for reason in ExitReason
                if vcpu.area.counters.exits[reason]
            },
            moves=vcpu.generation,
            created_ns=vcpu.created_ns,
            ready_ns=vcpu.ready_ns,
            first_entry_ns=int(vcpu.area.first_entry_ns),
            **{name: int(getattr(vcpu.area.counters, name)) for name in _COPIED},
        )
        for vcpu in vcpus
    ]
