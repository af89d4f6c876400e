"""The summary at the end of a run, for people and for machines."""

import json

from mpvm.cli import summary
from mpvm.coordinator.outcome import Outcome, VcpuSummary


def _vcpu(index: int, exits: dict[str, int]) -> VcpuSummary:
    return VcpuSummary(
        index=index,
        pid=4000 + index,
        exits=exits,
        interrupts=12,
        nmis=0,
        halts=3,
        pauses=2,
        yields=0,
        kicks=15,
        ipis_sent=7,
        posted_writes=100,
        shadowed_reads=5,
        exclusive_steps=1,
        code_drops=4,
        write_watches=6,
        guest_ns=1_234_567_890,
        halted_ns=10_500_000,
        run_ns=0,
        stolen_ns=250_000_000,
        moves=0,
        created_ns=30_000_000,
        ready_ns=40_000_000,
        first_entry_ns=50_000_000,
    )


VCPUS = [_vcpu(0, {"HLT": 3, "IO": 1200, "MMIO": 40}), _vcpu(10, {})]


def test_the_table_has_a_line_a_vcpu_with_the_most_frequent_exit_first() -> None:
    assert summary.table(VCPUS).splitlines() == [
        "vCPU  process  in guest   halted   stolen  interrupts  halts  exits  by reason",
        "   0     4000   1.235 s  0.011 s  0.250 s          12      3   1243  IO 1200, MMIO 40, HLT 3",
        "  10     4010   1.235 s  0.011 s  0.250 s          12      3      0  none",
    ]


def test_the_json_has_the_same_data_and_how_the_run_ended() -> None:
    found = json.loads(summary.to_json(Outcome(status=0, cause="power off", summary=VCPUS)))
    assert (found["version"], found["status"], found["cause"]) == (1, 0, "power off")
    assert [vcpu["index"] for vcpu in found["summary"]] == [0, 10]
    first = found["summary"][0]
    assert first["exits"] == {"HLT": 3, "IO": 1200, "MMIO": 40}
    assert (first["pid"], first["interrupts"], first["halts"]) == (4000, 12, 3)
    assert (first["guest_ns"], first["halted_ns"]) == (1_234_567_890, 10_500_000)
