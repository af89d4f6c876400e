"""Signals of the main thread end the `run` that it is in, as those of any thread do with the kernel's KVM.

Python's own handlers run only between two of its instructions, and a `run` is one of them. Its C handler
writes to a descriptor at once, which a thread here waits for.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Signalled(Protocol):
    """A vCPU."""

    def signalled(self) -> None:
        """A signal came."""
        ...


class SignalWatch:
    """Made once; starts with the first `run` in the main thread, if nobody else waits for signals so."""

    def __init__(self) -> None:
        self._current: Signalled | None = None
        self._started = False

    @contextmanager
    def running(self, vcpu: Signalled) -> Iterator[None]:
        """While the thread is in the guest."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if not self._started:
            self._start()
        self._current = vcpu
        try:
            yield
        finally:
            self._current = None

    def _start(self) -> None:
        self._started = True
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if before >= 0:
            signal.set_wakeup_fd(before)
            os.close(read)
            os.close(write)
            return
        threading.Thread(target=self._wait, args=(read,), name="kvm-signals", daemon=True).start()

    def _wait(self, fd: int) -> None:
        while os.read(fd, 64):
            current = self._current
            if current is not None:
                current.signalled()


WATCH = SignalWatch()
