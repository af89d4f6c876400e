"""The coordinator's clock, and the descriptor that wakes its event loop at the next deadline."""

import ctypes
import os
import time
from collections.abc import Callable

from mpvm.abi.errors import StartError
from mpvm.hw.clock import NS_PER_SECOND, Timer, TimerQueue


class MonotonicClock:
    """CLOCK_MONOTONIC in ns, the same in every process of the host; the event loop runs its timers."""

    def __init__(self) -> None:
        self.queue = TimerQueue()
        self.now: Callable[[], int] = time.monotonic_ns

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A new timer, not armed, that calls `callback` in the event loop."""
        return Timer(self.queue, callback)


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class TimerFd:
    """timerfd_create(2): poll's own time-out has milliseconds, a PIT at 1 kHz needs better.

    By ctypes, since `os.timerfd_create` came with Python 3.13.
    """

    _ABSTIME = 1

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._spec = _Itimerspec()
        self._reference = ctypes.byref(self._spec)
        self._deadline: int | None = None
        self.fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise StartError(f"timerfd_create: {os.strerror(ctypes.get_errno())}")

    def set(self, deadline: int | None) -> None:
        """Become readable at `deadline` (ns of CLOCK_MONOTONIC), or never; no system call when unchanged."""
        if deadline == self._deadline:
            return
        self._deadline = deadline
        value = self._spec.it_value
        # Zero would disarm it.
        value.tv_sec, value.tv_nsec = (
            divmod(max(deadline, 1), NS_PER_SECOND) if deadline is not None else (0, 0)
        )
        self._libc.timerfd_settime(self.fd, self._ABSTIME, self._reference, None)

    def acknowledge(self) -> None:
        """Take note that it has fired."""
        self._deadline = None
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
