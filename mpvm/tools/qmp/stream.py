"""A stream of JSON values cut into single ones: clients need not end them with a newline (qmp-spec, 2.3)."""

from typing import Final

_OPENING: Final = frozenset(b"{[")
_CLOSING: Final = frozenset(b"}]")
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_NEWLINE: Final = ord("\n")


class JsonStream:
    """`feed` returns each object or array once it is whole, and what is neither once its line is."""

    def __init__(self) -> None:
        self._data = bytearray()
        # How far it has been looked at, and where that is.
        self._seen = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def __len__(self) -> int:
        """Bytes of the value that is not whole yet."""
        return len(self._data)

    def feed(self, data: bytes) -> list[bytes]:
        """Take `data`; the values that are whole now, in their order."""
        self._data += data
        values = []
        while self._seen < len(self._data):
            byte = self._data[self._seen]
            self._seen += 1
            if self._ends(byte):
                value = bytes(self._data[: self._seen]).strip()
                del self._data[: self._seen]
                self._seen = 0
                if value:
                    values.append(value)
        return values

    def _ends(self, byte: int) -> bool:
        """Whether a value ends with `byte`, the next one."""
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif byte == _BACKSLASH:
                self._escaped = True
            elif byte == _QUOTE:
                self._in_string = False
            return False
        if byte == _QUOTE:
            self._in_string = True
        elif byte in _OPENING:
            self._depth += 1
        elif byte in _CLOSING:
            self._depth = max(0, self._depth - 1)
            return self._depth == 0
        return byte == _NEWLINE and self._depth == 0
