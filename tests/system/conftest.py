"""Fixtures of the system tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import litmus
from tests.system.runner import Launcher


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    """The built test guests (tests/guests) by name."""
    return litmus.guest_images()


@pytest.fixture
def launch() -> Iterator[Launcher]:
    """Starts `mpvm`; at the end of each test nothing of it may be left.

    The folder's path is short: it has to hold names of Unix sockets.
    """
    with tempfile.TemporaryDirectory(prefix="mpvm-") as folder:
        launcher = Launcher(Path(folder))
        try:
            yield launcher
            left = launcher.leftovers()
        finally:
            launcher.end()
        assert left == []
