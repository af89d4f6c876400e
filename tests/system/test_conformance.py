"""Conformance guests: every check gets what the SDM says, on the reference, too, where that is right."""

from pathlib import Path

import pytest

from tests.system import conformance
from tests.system.runner import Launcher

_RUNS = [(guest, smp) for guest in conformance.GUESTS for smp in conformance.setup(guest).smp]


@pytest.mark.parametrize(("guest", "smp"), _RUNS, ids=[f"{guest}-{smp}cpu" for guest, smp in _RUNS])
def test_a_guest_finds_the_cpu_that_the_manuals_tell_of(
    launch: Launcher, images: dict[str, Path], guest: str, smp: int
) -> None:
    comparison = conformance.compare(launch, guest, images[f"conformance-{guest}"], smp)
    assert comparison.problems() == []
