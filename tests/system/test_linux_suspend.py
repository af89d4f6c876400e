"""Suspend to RAM: Linux sleeps in ACPI's S3, and goes on where it was when the RTC's alarm wakes it."""

import pytest

from tests.system import linux
from tests.system.runner import Launcher


@pytest.mark.parametrize("smp", [1, 2])
def test_linux_sleeps_until_its_alarm_and_goes_on_with_all_its_cpus(launch: Launcher, smp: int) -> None:
    run = linux.boot(launch, job="suspend", smp=smp, flavour="generic")
    assert "ACPI: PM: Waking up from system sleep state S3" in run.console, run
    assert f"suspend: 1 times, {smp} CPUs" in run.console, run
    assert "RAM is not what it was" not in run.console
    assert linux.trouble(run.console) == []
    assert run.status == 0, run
