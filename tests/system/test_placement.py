"""The vCPUs' processes run where on the host the configuration says, and as nicely."""

import os
import re
from pathlib import Path

from mpvm.abi.errors import ExitStatus
from tests.system import tiny
from tests.system.runner import Launcher, read_until


def _configuration(tmp_path: Path, cputune: str) -> Path:
    (tmp_path / "guest").write_bytes(tiny.image(tiny.HALT))
    path = tmp_path / "placed.yaml"
    path.write_text(f"machine: {{smp: 2, memory: 64M}}\nboot: {{kernel: guest}}\ncputune: {cputune}\n")
    return path


def test_a_pinned_vcpu_may_use_its_cpus_alone_and_all_are_nice(launch: Launcher, tmp_path: Path) -> None:
    ours = os.sched_getaffinity(0)
    last = max(ours)
    path = _configuration(tmp_path, f"{{vcpupin: [{{vcpu: 1, cpuset: {last}}}], nice: 7}}")
    child = launch.start("run", path, "--timeout", "300")
    read_until(child, tiny.GREETING)
    assert child.stderr is not None
    words = os.read(child.stderr.fileno(), 65536)
    pids = {int(vcpu): int(pid) for vcpu, pid in re.findall(rb"vCPU (\d+) created, process (\d+)", words)}
    assert [os.sched_getaffinity(pids[vcpu]) for vcpu in (0, 1)] == [ours, {last}]
    assert [os.getpriority(os.PRIO_PROCESS, pids[vcpu]) for vcpu in (0, 1)] == [7, 7]
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    child.terminate()
    child.communicate()


def test_a_cpu_that_the_host_has_not_got_is_named(launch: Launcher, tmp_path: Path) -> None:
    path = _configuration(tmp_path, "{nice: 5}")
    run = launch.run("run", path, "--cpuset", "9999")
    assert run.status == ExitStatus.BAD_CONFIGURATION
    assert run.messages.startswith("mpvm: --cpuset: mpvm may not use the host's CPU 9999, CPUs out of ")
    assert run.messages.count("\n") == 1
