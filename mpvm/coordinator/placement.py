"""Where on the host the workers run: the CPUs that each may use, and who shares them (docs/overcommit.md)."""

import os
from collections.abc import Sequence

from mpvm.abi.layout import VcpuArea


def place(areas: Sequence[VcpuArea]) -> list[frozenset[int]]:
    """The CPUs of the host for each vCPU's worker; each area is told how many, and which vCPUs share them."""
    allowed = frozenset(os.sched_getaffinity(0))
    cpus = [allowed for _ in areas]
    for area, own in zip(areas, cpus, strict=True):
        area.host_cpus = len(own)
        area.rivals = sum(1 << index for index, others in enumerate(cpus) if own & others)
    return cpus
