"""What the host gives to others the guest sees as stolen."""

import json
import os
import re

from tests.system import linux
from tests.system.runner import Launcher

_TICKS_PER_SECOND = 100  # USER_HZ, in which /proc/stat counts
_NS_PER_SECOND = 1_000_000_000
_STEAL = 7  # of /proc/stat's cpu line: user nice system idle iowait irq softirq steal


def test_two_vcpus_on_one_cpu_of_the_host_have_half_their_time_stolen(launch: Launcher) -> None:
    """Linux's count is the host's, as far as both look at the same time; the host's is the scheduler's."""
    one = str(min(os.sched_getaffinity(0)))
    words = linux.arguments("steal", smp=2)
    summary = launch.folder / "summary.json"
    run = launch.run("run", "--quiet", f"--json={summary}", "--cpuset", one, *words)
    assert run.status == 0, run
    assert linux.trouble(run.console) == []
    found = re.search(r"^steal: ([\d ]+) of 2 CPUs", run.console, re.MULTILINE)
    assert found, run
    seen = int(found[1].split()[_STEAL]) / _TICKS_PER_SECOND
    stolen = sum(vcpu["stolen_ns"] for vcpu in json.loads(summary.read_text())["summary"]) / _NS_PER_SECOND
    # Two seconds of computing on both at once are two in which either waits.
    assert 1 < seen <= stolen + 0.1
    assert seen > stolen / 3
