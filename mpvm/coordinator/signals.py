"""Signals as events of the loop, with who has sent them: signalfd(2), for Python's handlers do not know that.

A thread that does not block them, which a program that runs a VM may have, can take a signal before the
descriptor does: then Python notes it, and the sender stays unknown.
"""

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from mpvm.coordinator.loop import EventLoop

_SIGSET_BYTES: Final = 128
_INFO_BYTES: Final = 128  # struct signalfd_siginfo: ssi_signo at 0, ssi_pid at 12
_PID_OFFSET: Final = 12


def _note(_number: int, _frame: Any) -> None:
    # The wake-up descriptor has the number already.
    return


def _signalfd(numbers: Mapping[int, object]) -> int:
    mask = sum(1 << number - 1 for number in numbers).to_bytes(_SIGSET_BYTES, "little")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(fd)


class Signals:
    """Calls ``handlers[number](pid)`` in `loop`, with the sender's process id, 0 where that is not known.

    Does nothing outside the main thread, which gets no signals.
    """

    def __init__(self, loop: EventLoop, handlers: Mapping[int, Callable[[int], None]]) -> None:
        self._loop = loop
        self._handlers = handlers
        self._saved: dict[int, Any] = {}
        self._fd = self._read_fd = self._write_fd = self._saved_wakeup = -1
        if threading.current_thread() is not threading.main_thread():
            return
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._saved_wakeup = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in handlers:
            self._saved[number] = signal.signal(number, _note)
        self._fd = _signalfd(handlers)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, handlers)
        loop.add_reader(self._fd, self._serve)
        loop.add_reader(self._read_fd, self._serve_noted)

    def _serve(self) -> None:
        while info := self._next():
            number = int.from_bytes(info[:4], "little")
            self._handlers[number](int.from_bytes(info[_PID_OFFSET : _PID_OFFSET + 4], "little"))

    def _next(self) -> bytes:
        try:
            return os.read(self._fd, _INFO_BYTES)
        except BlockingIOError:
            return b""

    def _serve_noted(self) -> None:
        for number in os.read(self._read_fd, 256):
            if number in self._handlers:
                self._handlers[number](0)

    def close(self) -> None:
        """Put the handlers back that were there before; signals that nobody has seen yet are forgotten."""
        if self._fd < 0:
            return
        while self._next():
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for fd in (self._fd, self._read_fd):
            self._loop.remove_reader(fd)
        for number, handler in self._saved.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._saved_wakeup)
        for fd in (self._fd, self._read_fd, self._write_fd):
            os.close(fd)
        self._fd = -1


def process_name(pid: int) -> str:
    """The command of process `pid`, as its first argument says it (QEMU's qemu_get_pid_name)."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - pathlib is not needed for it
            return file.read().partition(b"\0")[0].decode(errors="replace") or "<unknown process>"
    except OSError:
        return "<unknown process>"
