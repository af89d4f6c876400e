"""ioeventfd and irqfd: eventfds in the place of exits and of calls."""

import errno
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from mpvm.abi.kvm.constants import IoeventfdFlag
from mpvm.kvm.handle import fail

_LENGTHS: Final = (0, 1, 2, 4, 8)
_KNOWN: Final = int(IoeventfdFlag.DATAMATCH | IoeventfdFlag.PIO | IoeventfdFlag.DEASSIGN)
_IRQFD_DEASSIGN: Final = 1
_EVENTFD: Final = "anon_inode:[eventfd]"


def _check_eventfd(fd: int, call: str) -> None:
    try:
        kind = str(Path(f"/proc/self/fd/{fd}").readlink())
    except OSError:
        fail(errno.EBADF, call, f"{fd} is no descriptor")
    if kind != _EVENTFD:
        fail(errno.EINVAL, call, f"{fd} is no eventfd")


class _Write(NamedTuple):
    pio: bool
    address: int
    length: int
    datamatch: int | None


class IoEventFds:
    """What KVM_IOEVENTFD has assigned."""

    def __init__(self) -> None:
        self._fds: dict[_Write, int] = {}

    def assign(self, fd: int, address: int, length: int, flags: int, datamatch: int) -> None:
        """Assign or (DEASSIGN) take away; `OSError` as KVM's, which checks in this order."""
        call = "IOEVENTFD"
        if length not in _LENGTHS or address + length >= 1 << 64 or flags & ~_KNOWN:
            fail(errno.EINVAL, call, "lengths are 0, 1, 2, 4 and 8, flags the known ones")
        if not length and flags & IoeventfdFlag.DATAMATCH:
            fail(errno.EINVAL, call, "DATAMATCH needs a length")
        _check_eventfd(fd, call)
        wanted = _Write(
            bool(flags & IoeventfdFlag.PIO),
            address,
            length,
            datamatch if flags & IoeventfdFlag.DATAMATCH else None,
        )
        if flags & IoeventfdFlag.DEASSIGN:
            if self._fds.get(wanted) != fd:
                fail(errno.ENOENT, call)
            del self._fds[wanted]
            return
        if any(self._collide(wanted, other) for other in self._fds):
            fail(errno.EEXIST, call)
        self._fds[wanted] = fd

    @staticmethod
    def _collide(one: _Write, other: _Write) -> bool:
        return (
            (one.pio, one.address) == (other.pio, other.address)
            and (not one.length or not other.length or one.length == other.length)
            and (one.datamatch is None or other.datamatch is None or one.datamatch == other.datamatch)
        )

    def signal(self, *, pio: bool, address: int, size: int, data: int) -> bool:
        """Whether the write was somebody's, who has been told."""
        for wanted, fd in self._fds.items():
            if (
                (wanted.pio, wanted.address) == (pio, address)
                and wanted.length in (0, size)
                and wanted.datamatch in (None, data)
            ):
                os.eventfd_write(fd, 1)
                return True
        return False


class IrqFds:
    """What KVM_IRQFD has assigned; a thread waits for them, from the first one on."""

    def __init__(self, pulse: Callable[[int], None]) -> None:
        self._pulse = pulse
        self._gsis: dict[int, int] = {}
        self._epoll: select.epoll | None = None
        self._end = -1
        self._thread: threading.Thread | None = None

    def assign(self, fd: int, gsi: int, flags: int, *, there: bool, gsis: int) -> None:
        """Assign or (flag 1) take away; `OSError` as KVM's."""
        call = "IRQFD"
        if flags & ~_IRQFD_DEASSIGN:
            fail(errno.EINVAL, call, f"flags {flags:#x} are unknown")
        if flags & _IRQFD_DEASSIGN:
            _check_eventfd(fd, call)
            if self._gsis.get(fd) == gsi and self._epoll is not None:
                self._epoll.unregister(fd)
                del self._gsis[fd]
            return
        if not there:
            fail(errno.EINVAL, call, "there is no irqchip")
        if gsi >= gsis:
            fail(errno.EINVAL, call, f"GSIs are 0 to {gsis - 1}")
        _check_eventfd(fd, call)
        if fd in self._gsis:
            fail(errno.EBUSY, call, f"{fd} is assigned")
        self._gsis[fd] = gsi
        self._start().register(fd, select.EPOLLIN)

    def _start(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._end = os.eventfd(0)
            self._epoll.register(self._end, select.EPOLLIN)
            self._thread = threading.Thread(target=self._serve, name="irqfd", daemon=True)
            self._thread.start()
        return self._epoll

    def _serve(self) -> None:
        assert self._epoll is not None
        while True:
            for fd, _events in self._epoll.poll():
                if fd == self._end:
                    return
                gsi = self._gsis.get(fd)
                if gsi is not None:
                    os.eventfd_read(fd)
                    self._pulse(gsi)

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None and self._epoll is not None:
            os.eventfd_write(self._end, 1)
            self._thread.join()
            self._epoll.close()
            os.close(self._end)
            self._thread = None
