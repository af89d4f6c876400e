"""Where the workers run on the host."""

import os

import pytest

from mpvm.abi.layout import VcpuArea
from mpvm.coordinator.placement import place


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 4})


def test_without_more_ado_all_vcpus_share_the_cpus_that_mpvm_has() -> None:
    areas = [VcpuArea() for _ in range(3)]
    assert place(areas) == [{0, 1, 4}] * 3
    assert [(area.host_cpus, area.rivals) for area in areas] == [(3, 0b111)] * 3
