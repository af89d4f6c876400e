"""A chardev that several front ends share, with an escape key: QEMU's mux (chardev/char-mux.c).

All of them write to it; one, which has the focus, gets its input. Ctrl-A c gives the focus to the next.
"""

import time
from collections.abc import Callable
from typing import Final

from mpvm.coordinator.chardev.escape import HELP, Command, EscapeParser
from mpvm.hw.char.chardev import Chardev

# Input that waits for a front end; large, so that the escape key gets through while it reads nothing.
_WAITING_LIMIT: Final = 64 * 1024
_NEWLINE: Final = b"\n"


class MuxFrontEnd(Chardev):
    """The chardev as one front end sees it. `focused` tells it of the focus."""

    def __init__(self, mux: "Mux") -> None:
        super().__init__()
        self._mux = mux
        self._waiting = bytearray()
        self.focused: Callable[[bool], None] = lambda _focused: None

    @property
    def has_focus(self) -> bool:
        """Whether the input is its."""
        return self._mux.is_at(self)

    @property
    def waiting(self) -> int:
        """Bytes of input that have not been taken."""
        return len(self._waiting)

    def write(self, data: bytes) -> None:
        """To the chardev that is shared."""
        self._mux.write(data)

    def feed(self, data: bytes) -> None:
        """Input while it has the focus."""
        self._waiting += data
        self._hand_over()

    def room_available(self) -> None:
        """The front end can take more."""
        self._hand_over()
        self._mux.room_available()

    def opened(self, is_open: bool) -> None:
        """Somebody is at the other end, or nobody is."""
        self._set_open(is_open)

    def _hand_over(self) -> None:
        # Taken out first: delivering may make room and come back here.
        while self._waiting and (count := min(self._room(), len(self._waiting))) > 0:
            chunk = bytes(self._waiting[:count])
            del self._waiting[:count]
            self.deliver(chunk)


class Mux:
    """Shares `backend`. `quit_` is called for Ctrl-A x; `open_monitor`, if any, at the first Ctrl-A c.

    The latest front end that is no monitor has the focus first.
    """

    def __init__(
        self,
        backend: Chardev,
        quit_: Callable[[], None],
        open_monitor: Callable[[Chardev], None] | None = None,
    ) -> None:
        self._backend = backend
        self._quit = quit_
        self._open_monitor = open_monitor
        self._escape = EscapeParser()
        self._front_ends: list[MuxFrontEnd] = []
        self._focus: MuxFrontEnd | None = None
        # When time stamps were switched on, in ns; None: they are off.
        self._stamps_since: int | None = None
        self._at_line_start = True
        backend.connect(self._receive, self._room, self._receive_break, self._opened)

    def front_end(self, *, takes_focus: bool = True) -> MuxFrontEnd:
        """A chardev for one more front end."""
        made = MuxFrontEnd(self)
        made.is_open = self._backend.is_open
        self._front_ends.append(made)
        if takes_focus or self._focus is None:
            self._focus = made
        return made

    def is_at(self, front_end: MuxFrontEnd) -> bool:
        """Whether `front_end` gets the input."""
        return self._focus is front_end

    def write(self, data: bytes) -> None:
        """To the backend, with the time before each line if that is wanted."""
        self._backend.write(data if self._stamps_since is None else self._stamped(data))

    def _stamped(self, data: bytes) -> bytes:
        assert self._stamps_since is not None
        milliseconds = (time.monotonic_ns() - self._stamps_since) // 1_000_000
        seconds = milliseconds // 1000
        stamp = (
            f"[{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds % 1000:03}] "
        ).encode()
        lines = data.split(_NEWLINE)
        ends_line = not lines[-1]
        if ends_line:
            lines.pop()
        first = b"" if not self._at_line_start else stamp
        self._at_line_start = ends_line
        return first + (_NEWLINE + stamp).join(lines) + (_NEWLINE if ends_line else b"")

    def room_available(self) -> None:
        """A front end has taken something."""
        self._backend.room_available()

    def _room(self) -> int:
        return 0 if self._focus is None else max(0, _WAITING_LIMIT - self._focus.waiting)

    def _receive(self, data: bytes) -> None:
        for piece in self._escape.feed(data):
            if isinstance(piece, Command):
                self._obey(piece)
            elif self._focus is not None:
                self._focus.feed(piece)

    def _receive_break(self) -> None:
        if self._focus is not None:
            self._focus.deliver_break()

    def _opened(self, is_open: bool) -> None:
        for each in self._front_ends:
            each.opened(is_open)

    def _obey(self, command: Command) -> None:
        match command:
            case Command.QUIT:
                self._quit()
            case Command.MONITOR:
                self._next_focus()
            case Command.HELP:
                self._backend.write(HELP)
            case Command.BREAK:
                self._receive_break()
            case Command.TIMESTAMPS:
                self._stamps_since = time.monotonic_ns() if self._stamps_since is None else None
                self._at_line_start = True

    def _next_focus(self) -> None:
        if self._open_monitor is not None:
            open_monitor, self._open_monitor = self._open_monitor, None
            open_monitor(self.front_end(takes_focus=False))
        if self._focus is None:
            return
        at = self._front_ends.index(self._focus)
        self._focus.focused(False)
        self._focus = self._front_ends[(at + 1) % len(self._front_ends)]
        self._focus.focused(True)
