"""Debian's kernels, unmodified and with no workaround on their command line, come up with all their CPUs."""

import pytest

from tests.system import linux
from tests.system.runner import Launcher

_MACHINES = [("cloud", 1), ("cloud", 2), ("cloud", 4), ("cloud", 8), ("generic", 4)]


@pytest.mark.parametrize(("flavour", "smp"), _MACHINES)
def test_linux_boots_with_all_its_cpus_to_init_and_powers_off(
    launch: Launcher, flavour: str, smp: int
) -> None:
    run = linux.boot(launch, job="none", smp=smp, flavour=flavour)
    plural = "CPU" if smp == 1 else "CPUs"
    assert f"smp: Brought up 1 node, {smp} {plural}\r\n" in run.console, run
    assert linux.FIRST_LINE in run.console, run
    assert linux.trouble(run.console) == []
    assert "reboot: Power down" in run.console, run
    assert run.status == 0, run


def test_linux_boots_on_a_q35_with_its_interrupts_remapped(launch: Launcher) -> None:
    run = linux.boot(
        launch,
        job="none",
        smp=2,
        append="intel_iommu=on",
        options=["--machine", "q35", "--device", "intel-iommu", "--device", "edu"],
    )
    for line in (
        "PCI: MMCONFIG at [mem 0xb0000000-0xbfffffff] reserved",
        *(f"pci 0000:00:{each}" for each in ("00.0: [8086:29c0]", "01.0: [1234:11e8]", "1f.0: [8086:2918]")),
        "DMAR-IR: Enabled IRQ remapping in xapic mode",
        "DMAR: Intel(R) Virtualization Technology for Directed I/O",
        linux.FIRST_LINE,
        "reboot: Power down",
    ):
        assert line in run.console, run
    assert linux.trouble(run.console) == []
    assert run.status == 0, run
