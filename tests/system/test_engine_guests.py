"""Our test guests (tests/guests), one a concern of the engine; each says itself what is wrong."""

from pathlib import Path

import pytest

from mpvm.abi.errors import ExitStatus
from mpvm.guests.build import folders
from tests.system import litmus
from tests.system.runner import Launcher

# Those of the folders `litmus` and `conformance` have test files of their own.
_ELSEWHERE = ("litmus-", "conformance-")
_NAMES = sorted(name for name in folders(litmus.SOURCES) if not name.startswith(_ELSEWHERE))

_PASSED = litmus.PASSED
_ENDS_OTHERWISE = {"triple-fault": ExitStatus.GUEST_CRASH}
_SMP = 4


@pytest.mark.parametrize("name", _NAMES)
def test_a_guest_finds_the_engine_as_the_manuals_say(
    launch: Launcher, images: dict[str, Path], name: str
) -> None:
    run = launch.run(
        "run", "--quiet", "--isa-debug-exit", "--smp", str(_SMP), "--timeout", "400", "--kernel", images[name]
    )
    failures = [line for line in run.console.splitlines() if "FAIL" in line]
    assert failures == []
    assert run.status == _ENDS_OTHERWISE.get(name, _PASSED), run
