"""The guest that comes with the package: all CPUs work together and every sum is exact."""

import json
import re
from pathlib import Path

import pytest

from tests.system.runner import Launcher

_SUMS = 10


def _sums(console: str) -> list[str]:
    """What the guest says of each sum."""
    return re.findall(r"expected +\d+  got +\d+  (\w+)", console)


@pytest.mark.parametrize("smp", [1, 2, 3, 4, 8, 64])
def test_the_smp_guest_starts_all_cpus_and_every_sum_is_exact(launch: Launcher, smp: int) -> None:
    run = launch.run("run", "configs/4cpu.yaml", "--smp", str(smp), "--timeout", "400", "--quiet")
    assert f"{smp} CPUs online" in run.console, run
    assert _sums(run.console) == ["exact"] * _SUMS, run
    assert "all sums exact" in run.console
    assert run.messages == ""
    assert run.status == 0, run


def test_the_smp_guest_runs_on_the_machine_without_pci(launch: Launcher) -> None:
    run = launch.run("run", "configs/microvm-4cpu.yaml", "--timeout", "400", "--quiet")
    assert _sums(run.console) == ["exact"] * _SUMS, run
    assert run.status == 0, run


@pytest.mark.parametrize("append", ["x2apic=1", "rounds=3 primes=1000 locks=3000 adds=3000"])
def test_the_smp_guest_takes_its_command_line(launch: Launcher, append: str) -> None:
    run = launch.run("run", "configs/4cpu.yaml", "--append", append, "--timeout", "400", "--quiet")
    assert _sums(run.console) == ["exact"] * _SUMS, run
    assert run.status == 0, run


def test_the_summary_tells_of_every_vcpu_and_its_exits(launch: Launcher, tmp_path: Path) -> None:
    report = tmp_path / "summary.json"
    run = launch.run("run", "configs/4cpu.yaml", "--timeout", "400", f"--json={report}")
    assert run.status == 0, run
    for vcpu in range(4):
        assert re.search(rf"^mpvm: vCPU {vcpu} created, process \d+, \d+ ms$", run.messages, re.MULTILINE), (
            run
        )
        assert re.search(rf"^mpvm: vCPU {vcpu} ready, \d+ ms$", run.messages, re.MULTILINE), run
    told = json.loads(report.read_text())
    assert told["status"] == 0
    vcpus = told["summary"]
    assert [vcpu["index"] for vcpu in vcpus] == [0, 1, 2, 3]
    assert len({vcpu["pid"] for vcpu in vcpus}) == 4
    for vcpu in vcpus:
        # A token, a tick and a halt at least on every CPU: the ring and the timer see to that.
        assert vcpu["interrupts"] >= 1000 + 20
        assert vcpu["halts"] > 0
        assert vcpu["guest_ns"] > 0
        assert vcpu["halted_ns"] > 0
    assert vcpus[0]["exits"]["IO"] > 0
