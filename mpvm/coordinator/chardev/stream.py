"""Input from a descriptor, read ahead of the front end that takes it when it has room."""

import os
from typing import Final

from mpvm.coordinator.chardev.backend import Backend, Loop

# Input that waits for the guest; beyond it the terminal, pipe or peer has to wait. Large, so that the
# escape key gets through while a hung guest reads nothing.
_WAITING_LIMIT: Final = 64 * 1024
_READ_BYTES: Final = 4096


class StreamInput(Backend):
    """Base of the backends with input. A subclass opens a descriptor with `_open_input` when it starts."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()
        self._loop: Loop | None = None
        self._input_fd = -1
        self._watched = False
        # A regular file can't be polled; it is always readable.
        self._is_file = False
        self._at_end = True

    def _open_input(self, loop: Loop, fd: int) -> None:
        """Take input from `fd` from now on."""
        self._loop, self._input_fd = loop, fd
        self._at_end = self._is_file = False
        try:
            self._watch()
        except PermissionError:
            self._is_file = True
            loop.defer(self._pump)
        except OSError:
            # It is closed.
            self._at_end = True

    def _close_input(self) -> None:
        """Take no more; the descriptor is the caller's to close."""
        self._unwatch()
        self._input_fd = -1
        self._at_end = True

    @property
    def _is_full(self) -> bool:
        """Whether as much input waits as may."""
        return len(self._waiting) >= _WAITING_LIMIT

    def _received(self, data: bytes) -> None:
        """`data` has come, as it is on the line; a protocol takes out what is its own."""
        self._waiting += data

    def _ended(self) -> None:
        """There is no more input; a peer has hung up."""

    def room_available(self) -> None:
        """The guest has read something."""
        self._hand_over()
        if self._loop is None or self._at_end:
            return
        if self._is_file:
            self._loop.defer(self._pump)
        elif not self._watched and not self._is_full:
            self._watch()

    def _watch(self) -> None:
        assert self._loop is not None
        self._loop.add_reader(self._input_fd, self._read)
        self._watched = True

    def _unwatch(self) -> None:
        if self._watched and self._loop is not None:
            self._loop.remove_reader(self._input_fd)
        self._watched = False

    def _read(self) -> None:
        try:
            data = os.read(self._input_fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # EIO: the terminal has been hung up; ECONNRESET.
            data = b""
        if data:
            self._received(data)
            self._hand_over()
            if self._is_full:
                self._unwatch()
        else:
            self._unwatch()
            self._at_end = True
            self._ended()

    def _pump(self) -> None:
        while self._loop is not None and not self._at_end and not self._waiting and self._room() > 0:
            self._read()

    def _hand_over(self) -> None:
        # Taken out first: delivering may make room and come back here.
        while self._waiting and (count := min(self._room(), len(self._waiting))) > 0:
            chunk = bytes(self._waiting[:count])
            del self._waiting[:count]
            self.deliver(chunk)
