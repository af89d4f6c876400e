"""Loads that check themselves (`programs/loads`) end right in a Linux with four vCPUs."""

from tests.system import linux
from tests.system.runner import Launcher

_CPUS = 4


def test_loads_that_check_themselves_end_right_on_four_cpus(launch: Launcher) -> None:
    loads = "loads,all,1"
    run = linux.boot(launch, job="none", smp=_CPUS, runs=[loads])
    assert linux.statuses(run.console) == {loads: 0}, run
    assert linux.trouble(run.console) == []
    assert run.status == 0, run
