"""Output to a descriptor that may not take it at once: nothing is lost and the loop never waits."""

import os
import select
import stat
import sys
import time
from collections.abc import Callable
from typing import Final

from mpvm.coordinator.chardev.backend import Loop

# How long the end of a run waits for a reader that does not read.
_CLOSE_SECONDS: Final = 2.0
_TAIL_BYTES: Final = 4096
# A pipe that polls writable takes this much without blocking (pipe(7)).
_CHUNK: Final = 4096


class Tail:
    """The last bytes of an output, for reports."""

    def __init__(self, limit: int = _TAIL_BYTES) -> None:
        self._limit = limit
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        """Remember the end of `data`."""
        self._data += data
        if len(self._data) > 2 * self._limit:
            del self._data[: -self._limit]

    def text(self) -> str:
        """What is remembered, as text."""
        return bytes(self._data[-self._limit :]).decode("utf-8", "replace")


def _without_blocking(fd: int) -> int:
    """A descriptor of the same pipe or terminal with O_NONBLOCK, which on `fd` would be our parent's, too."""
    mode = os.fstat(fd).st_mode
    # One that does not block already is our own.
    if os.get_blocking(fd) and (stat.S_ISFIFO(mode) or os.isatty(fd)):
        try:
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            # Another user's terminal: small writes after POLLOUT have to do.
            return os.dup(fd)
    return os.dup(fd)


class BufferedOutput:
    """Collects what is written in one turn of the loop, writes it, and keeps what is not taken yet.

    `limit`: so much is kept at most, and what comes then is dropped. `patience` is for how many seconds
    `close` waits for a reader that does not read. `broken` is called when there is no reader any more, which
    is told on stderr otherwise.
    """

    def __init__(
        self,
        fd: int,
        name: str,
        *,
        limit: int | None = None,
        patience: float = _CLOSE_SECONDS,
        broken: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._limit = limit
        self._patience = patience
        self._on_broken = broken
        self._fd = _without_blocking(fd)
        self._pollable = not stat.S_ISREG(os.fstat(fd).st_mode)
        self._loop: Loop | None = None
        self._buffer = bytearray()
        self._scheduled = False
        self._broken = False
        self.tail = Tail()

    def start(self, loop: Loop) -> None:
        """Write in `loop` from now on."""
        self._loop = loop
        if self._buffer:
            self._schedule()

    @property
    def pending(self) -> bool:
        """Whether the loop is still to write something that `close` would wait for."""
        return bool(self._buffer) and self._loop is not None and self._patience > 0

    def write(self, data: bytes) -> None:
        """Take `data`."""
        self.tail.add(data)
        if not self._broken and (self._limit is None or len(self._buffer) < self._limit):
            self._buffer += data
            if not self._scheduled:
                self._schedule()

    def _schedule(self) -> None:
        if self._loop is not None:
            self._scheduled = True
            self._loop.defer(self._flush)

    def _flush(self) -> None:
        self._write_out()
        if self._buffer and self._loop is not None:
            self._loop.add_writer(self._fd, self._resume)
        else:
            self._scheduled = False

    def _resume(self) -> None:
        self._write_out()
        if not self._buffer and self._loop is not None:
            self._loop.remove_writer(self._fd)
            self._scheduled = False

    def _write_out(self) -> None:
        try:
            while self._buffer:
                del self._buffer[: os.write(self._fd, self._buffer[:_CHUNK])]
                if len(self._buffer) and self._pollable and not self._takes_more(0):
                    return
        except BlockingIOError:
            return
        except OSError as error:
            # Nobody reads any more. The guest does not notice, as with a terminal that is switched off.
            self._broken = True
            self._buffer.clear()
            if self._on_broken is not None:
                self._on_broken()
            else:
                print(f"mpvm: {self._name}: {error.strerror}; the guest's output is dropped", file=sys.stderr)

    def _takes_more(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        return bool(poller.poll(int(seconds * 1000)))

    def close(self) -> None:
        """Write the rest, waiting for a slow reader as long as there is progress, and close."""
        if self._fd < 0:
            return
        if self._loop is not None:
            self._loop.remove_writer(self._fd)
            self._loop = None
        progress = time.monotonic()
        self._write_out()
        while self._buffer and time.monotonic() - progress < self._patience:
            before = len(self._buffer)
            if self._pollable:
                self._takes_more(self._patience)
            self._write_out()
            if len(self._buffer) < before:
                progress = time.monotonic()
        if self._buffer and self._patience:
            print(f"mpvm: {self._name}: {len(self._buffer)} bytes of output found no reader", file=sys.stderr)
        os.close(self._fd)
        self._fd = -1
