"""Where on the host the workers run: the CPUs that each may use, and who shares them (docs/overcommit.md)."""

import os
from collections.abc import Sequence

from mpvm.abi.layout import VcpuArea
from mpvm.config import CpuTune


def place(areas: Sequence[VcpuArea], tune: CpuTune) -> list[list[int]]:
    """The host's CPUs, sorted, for each vCPU's worker; its area is told how many, and who shares them."""
    unpinned = tune.cpuset or tuple(sorted(os.sched_getaffinity(0)))
    pinned = {pin.vcpu: pin.cpuset for pin in tune.vcpupin}
    cpusets = [set(pinned.get(index, unpinned)) for index in range(len(areas))]
    for area, own in zip(areas, cpusets, strict=True):
        area.host_cpus = len(own)
        area.rivals = sum(1 << index for index, others in enumerate(cpusets) if own & others)
    return [sorted(cpus) for cpus in cpusets]
