"""Litmus guests: outcomes that the SDM forbids are never seen; and the reference passes each of them, too."""

from pathlib import Path

import pytest

from tests.system import litmus
from tests.system.runner import Launcher, Run

# Two are all that the one uses.
_SMP = {name: 2 if name == "rmw-store" else 4 for name in litmus.LITMUS}


def _expect_pass(run: Run) -> None:
    failures = [line for line in run.console.splitlines() if "FAIL" in line]
    assert failures == []
    assert run.status == litmus.PASSED, run


@pytest.mark.parametrize("name", litmus.LITMUS)
def test_mpvm_shows_no_forbidden_outcome(launch: Launcher, images: dict[str, Path], name: str) -> None:
    _expect_pass(litmus.on_mpvm(launch, images[f"litmus-{name}"], _SMP[name]))


@pytest.mark.parametrize("name", litmus.LITMUS)
def test_the_reference_passes_the_litmus_test(images: dict[str, Path], name: str) -> None:
    _expect_pass(litmus.on_reference(images[f"litmus-{name}"], _SMP[name]))
