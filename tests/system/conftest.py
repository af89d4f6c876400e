"""Fixtures of the system tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import litmus
from tests.system.runner import Launcher, launcher


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    """The built test guests (tests/guests) by name."""
    return litmus.guest_images()


@pytest.fixture
def launch() -> Iterator[Launcher]:
    """Starts `mpvm`; at the end of each test nothing of it may be left."""
    with launcher() as one:
        yield one
        left = one.leftovers()
    assert left == []
