"""Which writes an ioeventfd takes."""

import os
from collections.abc import Iterator

import pytest

from mpvm.kvm import IoeventfdFlag
from mpvm.kvm.eventfds import IoEventFds


@pytest.fixture
def event() -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("pio", "address", "size", "data", "taken"),
    [
        (False, 0x1000, 4, 7, True),
        (True, 0x1000, 4, 7, False),
        (False, 0x1004, 4, 7, False),
        (False, 0x1000, 2, 7, False),
        (False, 0x1000, 4, 8, False),
    ],
    ids=["it", "a port", "another address", "another size", "other data"],
)
def test_only_the_write_that_was_asked_for_is_taken(
    event: int, pio: bool, address: int, size: int, data: int, taken: bool
) -> None:
    fds = IoEventFds()
    fds.assign(event, 0x1000, 4, IoeventfdFlag.DATAMATCH, 7)
    assert fds.signal(pio=pio, address=address, size=size, data=data) is taken


def test_length_0_takes_every_size(event: int) -> None:
    fds = IoEventFds()
    fds.assign(event, 0x1000, 0, IoeventfdFlag.PIO, 0)
    assert all(fds.signal(pio=True, address=0x1000, size=size, data=size) for size in (1, 2, 4))
    assert os.eventfd_read(event) == 3


def test_what_is_taken_away_exits_again(event: int) -> None:
    fds = IoEventFds()
    fds.assign(event, 0x1000, 4, 0, 0)
    fds.assign(event, 0x1000, 4, IoeventfdFlag.DEASSIGN, 0)
    assert not fds.signal(pio=False, address=0x1000, size=4, data=0)
