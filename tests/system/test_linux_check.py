"""Real work in a booted Linux ends right on every CPU."""

import hashlib

from tests.system import linux
from tests.system.runner import Launcher

_CPUS = 4
_SIZE = 64 << 20
_PATTERN = b"mpvm checks that all CPUs agree\n"  # of init.sh


def test_four_cpus_fork_exec_and_hash_at_once_and_all_agree_with_the_host(launch: Launcher) -> None:
    run = linux.boot(launch, job="check", smp=_CPUS)
    digest = hashlib.sha256(_PATTERN * (_SIZE // len(_PATTERN))).hexdigest()
    said = [line for line in run.console.splitlines() if line.startswith("check: ")]
    assert said == [
        f"check: nproc {_CPUS}",
        *(f"check: taskset {cpu} ran on {cpu}" for cpu in range(_CPUS)),
        *(f"check: forkexec {cpu} 500 of 500" for cpu in range(_CPUS)),
        *(f"check: sha256sum {cpu} {digest}" for cpu in range(_CPUS)),
        "check: all right",
    ], run
    assert linux.trouble(run.console) == []
    assert run.status == 0, run
