"""A line of input with what a person expects of one: echo, a cursor, history (QEMU's util/readline.c)."""

from collections.abc import Callable
from typing import Final

_HISTORY: Final = 64
_ESCAPE: Final = "\x1b"
_SEQUENCES: Final = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "[H": "home",
    "[F": "end",
    "[1~": "home",
    "[4~": "end",
    "[3~": "delete",
    "OH": "home",
    "OF": "end",
}
_KEYS: Final = {
    "\x01": "home",
    "\x02": "left",
    "\x04": "delete",
    "\x05": "end",
    "\x06": "right",
    "\x08": "backspace",
    "\x0b": "kill",
    "\x0e": "down",
    "\x10": "up",
    "\x15": "clear",
    "\x17": "word",
    "\x7f": "backspace",
}
_LONGEST_SEQUENCE: Final = 4


class LineEditor:
    """`feed` takes keys; `done` gets each line that is entered. `write` takes the echo.

    `complete` gives the words that may stand for the one that has been begun.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        done: Callable[[str], None],
        complete: Callable[[str], list[str]] = lambda _line: [],
    ) -> None:
        self._write = write
        self._done = done
        self._complete = complete
        self.prompt = ""
        self._line = ""
        self._cursor = 0
        self._sequence = ""
        self._history: list[str] = []
        self._at = 0

    def show(self) -> None:
        """The prompt, and the line as far as it is typed."""
        self._write(self.prompt + self._line)
        self._move(self._cursor - len(self._line))

    def feed(self, text: str) -> None:
        """Take the keys of `text`."""
        for key in text:
            self._key(key)

    def _key(self, key: str) -> None:
        if self._sequence or key == _ESCAPE:
            self._in_sequence(key)
        elif key in "\r\n":
            self._enter()
        elif key == "\t":
            self._tab()
        elif key in _KEYS:
            self._edit(_KEYS[key])
        elif key >= " ":
            self._insert(key)

    def _in_sequence(self, key: str) -> None:
        self._sequence += key
        rest = self._sequence[1:]
        if rest in _SEQUENCES:
            self._sequence = ""
            self._edit(_SEQUENCES[rest])
        elif (len(rest) > 1 and (key.isalpha() or key == "~")) or len(rest) > _LONGEST_SEQUENCE:
            self._sequence = ""

    def _enter(self) -> None:
        line = self._line
        self._write("\n")
        if line and (not self._history or self._history[-1] != line):
            self._history = [*self._history, line][-_HISTORY:]
        self._line, self._cursor, self._at = "", 0, 0
        self._done(line)

    def _tab(self) -> None:
        found = self._complete(self._line[: self._cursor])
        begun = self._line[: self._cursor].rpartition(" ")[2]
        if len(found) == 1:
            self._insert(found[0][len(begun) :] + " ")
        elif found:
            self._write("\n" + " ".join(found) + "\n")
            self.show()

    def _insert(self, text: str) -> None:
        rest = self._line[self._cursor :]
        self._line = self._line[: self._cursor] + text + rest
        self._cursor += len(text)
        self._write(text + rest)
        self._move(-len(rest))

    def _edit(self, action: str) -> None:
        cursor, line = self._cursor, self._line
        match action:
            case "left":
                self._go_to(max(0, cursor - 1))
            case "right":
                self._go_to(min(len(line), cursor + 1))
            case "home":
                self._go_to(0)
            case "end":
                self._go_to(len(line))
            case "up" | "down":
                self._recall(1 if action == "up" else -1)
            case "backspace" if cursor:
                self._replace(line[: cursor - 1] + line[cursor:], cursor - 1)
            case "delete":
                self._replace(line[:cursor] + line[cursor + 1 :], cursor)
            case "kill":
                self._replace(line[:cursor], cursor)
            case "clear":
                self._replace("", 0)
            case "word":
                start = len(line[:cursor].rstrip().rpartition(" ")[0])
                start += bool(start)
                self._replace(line[:start] + line[cursor:], start)

    def _recall(self, step: int) -> None:
        at = self._at + step
        if 0 <= at <= len(self._history):
            self._at = at
            line = self._history[-at] if at else ""
            self._replace(line, len(line))

    def _replace(self, line: str, cursor: int) -> None:
        self._move(-self._cursor)
        self._write(line + "\x1b[K")
        self._line, self._cursor = line, len(line)
        self._go_to(cursor)

    def _go_to(self, cursor: int) -> None:
        self._move(cursor - self._cursor)
        self._cursor = cursor

    def _move(self, count: int) -> None:
        if count:
            self._write("\x1b[D" * -count if count < 0 else "\x1b[C" * count)
