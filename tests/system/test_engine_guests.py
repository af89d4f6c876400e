"""Our test guests (tests/guests), one a concern of the engine; each says itself what is wrong."""

from pathlib import Path

import pytest

from mpvm.abi.errors import ExitStatus
from mpvm.guests.build import build_all
from tests.system import debian
from tests.system.runner import Launcher

_SOURCES = debian.REPOSITORY / "tests" / "guests"
_NAMES = sorted(path.name for path in _SOURCES.iterdir() if any(path.glob("*.[cS]")))

_PASSED = 33  # tests/guests/README.md
_ENDS_OTHERWISE = {"triple-fault": ExitStatus.GUEST_CRASH}
_SMP = 4


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    """The built guests by name; xdist's workers build them once, one after the other."""
    folder = debian.cache_folder() / "guests"
    with debian.locked(folder):
        return {image.stem: image for image in build_all(_SOURCES, folder)}


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
