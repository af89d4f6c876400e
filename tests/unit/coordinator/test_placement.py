"""Where the workers run on the host."""

import os

import pytest

from mpvm.abi.layout import VcpuArea
from mpvm.config import CpuTune, VcpuPin
from mpvm.coordinator.placement import place


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 4})


def told(areas: list[VcpuArea]) -> list[tuple[int, int]]:
    return [(area.host_cpus, area.rivals) for area in areas]


def test_without_more_ado_all_vcpus_share_the_cpus_that_mpvm_has() -> None:
    areas = [VcpuArea() for _ in range(3)]
    assert place(areas, CpuTune()) == [[0, 1, 4]] * 3
    assert told(areas) == [(3, 0b111)] * 3


def test_a_pin_goes_before_the_cpuset_of_all() -> None:
    areas = [VcpuArea() for _ in range(3)]
    tune = CpuTune(cpuset=(0, 1), vcpupin=(VcpuPin(vcpu=1, cpuset=(4,)),))
    assert place(areas, tune) == [[0, 1], [4], [0, 1]]
    assert told(areas) == [(2, 0b101), (1, 0b010), (2, 0b101)]


def test_who_shares_one_cpu_is_a_rival() -> None:
    areas = [VcpuArea() for _ in range(3)]
    pins = (VcpuPin(vcpu=0, cpuset=(0, 1)), VcpuPin(vcpu=1, cpuset=(1, 4)), VcpuPin(vcpu=2, cpuset=(4,)))
    place(areas, CpuTune(vcpupin=pins))
    assert told(areas) == [(2, 0b011), (2, 0b111), (1, 0b110)]
