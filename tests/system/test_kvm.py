"""The same small guests under both accelerators: they print the same and end the same.

A /dev/kvm that emulates instructions, as inside some VMs, is slow, so they are few and small, and those that
count the instructions until an interrupt comes are not among them (docs/kvm.md).
"""

import re
from pathlib import Path

import pytest

from mpvm.abi.errors import ExitStatus
from tests.system import litmus, moving
from tests.system.runner import Launcher, Run

pytestmark = pytest.mark.usefixtures("host_kvm")

_ACCELERATORS = ("unicorn", "kvm")
_SMALL = "rounds=2 primes=300 locks=200 adds=200"
_GUESTS = {
    "reset": litmus.PASSED,
    "string-io": litmus.PASSED,
    "triple-fault": ExitStatus.GUEST_CRASH,
    "litmus-sipi": litmus.PASSED,
    "litmus-nmi": litmus.PASSED,
}
# What a guest has measured or counted depends on the time that things take.
_FIGURE = re.compile(r" *\d+")


def _said(run: Run) -> list[str]:
    return [_FIGURE.sub("N", line) for line in run.console.splitlines()]


@pytest.mark.parametrize("name", _GUESTS)
def test_a_guest_says_the_same_under_both_accelerators(
    launch: Launcher, images: dict[str, Path], name: str
) -> None:
    runs = [
        launch.run(
            *("run", "--quiet", "--isa-debug-exit", "--smp", "4", "--timeout", "200"),
            *("--accel", accel, "--kernel", images[name]),
        )
        for accel in _ACCELERATORS
    ]
    assert [run.status for run in runs] == [_GUESTS[name]] * 2, runs
    first, second = map(_said, runs)
    assert first == second


@pytest.mark.parametrize("guest", ["testdev", "hpet", "pic", "pit", "vmport"])
def test_devices_keep_to_the_manuals_under_kvm(launch: Launcher, images: dict[str, Path], guest: str) -> None:
    run = launch.run(
        *("run", "--quiet", "--isa-debug-exit", "--timeout", "200", "--accel", "kvm"),
        *("--device", "pc-testdev", "--device", "pci-testdev"),
        *("--kernel", images[f"conformance-{guest}"]),
    )
    assert (run.status, "expected" in run.console) == (litmus.PASSED, False), run


@pytest.mark.parametrize("smp", [1, 4])
def test_the_smp_guest_is_exact_under_both_accelerators(launch: Launcher, smp: int) -> None:
    runs = [
        launch.run(
            *("run", "configs/4cpu.yaml", "--quiet", "--smp", str(smp), "--timeout", "200"),
            *("--accel", accel, "--append", _SMALL),
        )
        for accel in _ACCELERATORS
    ]
    assert [run.status for run in runs] == [0, 0], runs
    assert all("all sums exact" in run.console for run in runs)
    first, second = map(_said, runs)
    assert first == second


def test_a_machine_that_moves_to_kvm_and_back_while_it_computes_is_exact(launch: Launcher) -> None:
    moved = moving.move_between_accelerators(launch, moves=6, smp=2)
    assert moved.run.status == 0, moved.run
    assert "all sums exact" in moved.run.console
