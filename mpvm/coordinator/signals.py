"""Signals as events of the loop: Python's handlers only note them, the loop acts on them."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from mpvm.coordinator.loop import EventLoop


def _note(_number: int, _frame: Any) -> None:
    # The wake-up descriptor has the number already.
    return


class Signals:
    """Calls ``handlers[number]()`` in `loop`. Does nothing outside the main thread, which gets no signals."""

    def __init__(self, loop: EventLoop, handlers: Mapping[int, Callable[[], None]]) -> None:
        self._loop = loop
        self._handlers = handlers
        self._saved: dict[int, Any] = {}
        self._read_fd = self._write_fd = self._saved_wakeup = -1
        if threading.current_thread() is not threading.main_thread():
            return
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._saved_wakeup = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in handlers:
            self._saved[number] = signal.signal(number, _note)
        loop.add_reader(self._read_fd, self._serve)

    def _serve(self) -> None:
        for number in os.read(self._read_fd, 256):
            if number in self._handlers:
                self._handlers[number]()

    def close(self) -> None:
        """Put the handlers back that were there before."""
        if self._read_fd < 0:
            return
        self._loop.remove_reader(self._read_fd)
        for number, handler in self._saved.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._saved_wakeup)
        os.close(self._read_fd)
        os.close(self._write_fd)
        self._read_fd = -1
