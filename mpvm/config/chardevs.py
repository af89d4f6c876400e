"""Chardevs: where the bytes of a serial line, a debug console or a monitor go.

What is rarely written, options and sections, is parsed by `mpvm.config.chardev_options`.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

#: What is right where a chardev is wanted, for one line of an error.
CHARDEV_RIGHT: Final = "stdio, null, file:PATH, pipe:PATH, pty, unix:PATH, tcp:HOST:PORT or chardev:ID"

REFERENCE: Final = "chardev"
_PATHS: Final = ("path", "logfile")


class ChardevSpec(NamedTuple):
    """`kind`: null, stdio, file, pipe, pty, socket (`path`, or `host` and `port`), or chardev: that of `id`.

    With `mux`, several may use it, and Ctrl-A is its escape key; with `monitor`, one of these is a monitor.
    Without `signal`, a terminal's Ctrl-C is the guest's. `reconnect` is in seconds, 0 for never.
    """

    kind: str
    path: Path | None = None
    id: str | None = None
    host: str = ""
    port: str = ""
    server: bool = False
    wait: bool = False
    telnet: bool = False
    reconnect: int = 0
    append: bool = False
    signal: bool = True
    mux: bool = False
    monitor: bool = False
    logfile: Path | None = None
    logappend: bool = False

    def __str__(self) -> str:
        if self.kind == REFERENCE:
            return f"chardev:{self.id}"
        if self.kind == "socket":
            return f"unix:{self.path}" if self.path else f"tcp:{self.host}:{self.port}"
        return self.kind if self.path is None else f"{self.kind}:{self.path}"

    @classmethod
    def parse(cls, value: object) -> "ChardevSpec":
        """The chardev that a text or a section describes; `ValueError` for anything else."""
        if value is None or value == "null":
            # None is what YAML makes of an unquoted null.
            return cls("null")
        if value == "stdio":
            return STDIO
        if isinstance(value, str) and value.startswith("file:") and len(value) > len("file:"):
            return cls("file", Path(value.removeprefix("file:")))
        from mpvm.config import chardev_options

        return chardev_options.parse(value)

    def to_plain(self) -> dict[str, Any]:
        """JSON types; `from_plain` is the inverse."""
        given = {n: v for n, v in self._asdict().items() if v != self._field_defaults.get(n, "")}
        return {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "ChardevSpec":
        """What `to_plain` made `plain` of."""
        fields: dict[str, Any] = {n: Path(v) if n in _PATHS else v for n, v in plain.items()}
        return cls(**fields)


#: The terminal with the escape key, shared by a serial line and the monitor: QEMU's mon:stdio.
STDIO: Final = ChardevSpec("stdio", signal=False, mux=True, monitor=True)
