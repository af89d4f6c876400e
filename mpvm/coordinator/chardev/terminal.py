"""Raw mode of the terminal that is the guest's console, and the way back from it."""

import atexit
import os
import termios
from typing import Any, Final

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6

_INPUT_OFF: Final = (
    termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
    | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
)  # fmt: skip
_LOCAL_OFF: Final = termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN


def raw_attributes(attributes: list[Any], *, signal: bool) -> list[Any]:
    """`attributes` (termios(3)) for a guest's console: every key is the guest's, output is processed.

    With `signal`, those that make signals still do.
    """
    raw = [*attributes[:_CC], list(attributes[_CC])]
    raw[_IFLAG] &= ~_INPUT_OFF
    raw[_OFLAG] |= termios.OPOST
    raw[_CFLAG] = raw[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[_LFLAG] &= ~(_LOCAL_OFF if signal else _LOCAL_OFF | termios.ISIG)
    raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
    return raw


class RawTerminal:
    """Puts the terminal at `fd` into raw mode; harmless where `fd` is none or another job owns it."""

    def __init__(self, fd: int, *, signal: bool = False) -> None:
        self._fd = fd
        self._signal = signal
        self._saved: list[Any] | None = None

    def enter(self) -> None:
        """Go raw, or again after a stop of this process."""
        if not os.isatty(self._fd) or not self._foreground():
            return
        if self._saved is None:
            self._saved = termios.tcgetattr(self._fd)
            atexit.register(self.leave)
        termios.tcsetattr(self._fd, termios.TCSANOW, raw_attributes(self._saved, signal=self._signal))

    def leave(self) -> None:
        """Put everything back as it was."""
        if self._saved is None:
            return
        saved, self._saved = self._saved, None
        atexit.unregister(self.leave)
        try:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)
        except termios.error:
            # The terminal has been hung up: there is nothing left to restore.
            return

    @property
    def raw(self) -> bool:
        """Whether the terminal is in raw mode."""
        return self._saved is not None

    def _foreground(self) -> bool:
        # A background job that changed the terminal would be stopped by SIGTTOU.
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False
