"""Machines for the engine's tests, each closed when its test ends."""

from collections.abc import Callable, Iterator

import pytest

from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.protected_mode import ProtectedModeMachine
from tests.unit.engine.real_mode import RealModeMachine


@pytest.fixture
def real_mode() -> Iterator[RealModeMachine]:
    machine = RealModeMachine()
    yield machine
    machine.close()


@pytest.fixture
def protected_mode() -> Iterator[ProtectedModeMachine]:
    machine = ProtectedModeMachine()
    yield machine
    machine.close()


@pytest.fixture
def long_mode() -> Iterator[LongModeMachine]:
    machine = LongModeMachine()
    yield machine
    machine.close()


@pytest.fixture
def make_long_mode() -> Iterator[Callable[..., LongModeMachine]]:
    """Makes a machine that is not the usual one. One engine at a time: the test must have no other."""
    machines: list[LongModeMachine] = []

    def make(**options: str | int) -> LongModeMachine:
        machines.append(LongModeMachine(**options))  # type: ignore[arg-type]
        return machines[-1]

    yield make
    for machine in machines:
        machine.close()
