"""Chardevs in full: texts as QEMU's -serial has them, and sections with the options of its -chardev.

A text is ``[mon:]BACKEND[:ADDRESS][,OPTION...]``, a section ``{backend: socket, path: x, server: true}``.
Imported where a configuration has one that is neither `stdio` nor `null` nor a file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mpvm.config.chardevs import CHARDEV_RIGHT, REFERENCE, STDIO, ChardevSpec
from mpvm.config.rules import BareError, WholeError
from mpvm.qom.id import ID_RIGHT, id_wellformed

_PATH: Final = "path"
_TEXT: Final = "text"
_PORT: Final = "port"
_FLAG: Final = "flag"
_SECONDS: Final = "seconds"

# What each backend takes beside what all do.
_OPTIONS: Final[dict[str, dict[str, str]]] = {
    "null": {},
    "stdio": {"signal": _FLAG},
    "file": {"path": _PATH, "append": _FLAG},
    "pipe": {"path": _PATH},
    "pty": {},
    "socket": {
        "path": _PATH,
        "host": _TEXT,
        "port": _PORT,
        "server": _FLAG,
        "wait": _FLAG,
        "telnet": _FLAG,
        "reconnect": _SECONDS,
    },
}
_COMMON: Final = {"id": _TEXT, "mux": _FLAG, "monitor": _FLAG, "logfile": _PATH, "logappend": _FLAG}
_NEEDS_PATH: Final = ("file", "pipe")
_FLAGS: Final = {"on": True, "yes": True, "off": False, "no": False}
# Texts of QEMU's for which there is a terminal in a window.
_VIRTUAL_CONSOLE: Final = "vc"
_MONITOR: Final = "mon:"
_RIGHT: Final = {
    _PATH: "a path",
    _TEXT: "a text",
    _PORT: "a port's number",
    _FLAG: "on or off",
    _SECONDS: "a number of seconds",
}


def parse(value: object) -> ChardevSpec:
    """The chardev that `value` describes; `ValueError`, a `WholeError` where it says what is right."""
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, dict):
        return _parse_section(value)
    raise ValueError


def parse_definition(value: object) -> ChardevSpec:
    """One of `chardevs`: a section with an `id`, or the same as QEMU's -chardev has it, "BACKEND,id=..."."""
    if isinstance(value, str):
        backend, *options = _split(value)
        value = {"backend": backend, **_options(options)}
    if not isinstance(value, dict):
        raise WholeError("is not a chardev, a section such as {backend: stdio, id: console} is right")
    if "id" not in value:
        raise BareError("id: missing, a name by which chardev:ID refers to it is right")
    spec = _parse_section(value)
    if spec.kind == REFERENCE:
        raise BareError(f"backend: chardev is not accepted, {' or '.join(_OPTIONS)} is right")
    return spec


def _parse_text(text: str) -> ChardevSpec:
    if text.startswith(_MONITOR):
        inner = text.removeprefix(_MONITOR)
        spec = ChardevSpec.parse(inner)
        return STDIO if spec.kind == "stdio" else spec._replace(mux=True, monitor=True)
    backend, colon, address = text.partition(":")
    if backend == _VIRTUAL_CONSOLE:
        return ChardevSpec("null")
    if text == "pty":
        return ChardevSpec("pty")
    if not colon or not address:
        raise ValueError
    if backend == "pipe":
        # As with file:, commas are part of the name.
        return ChardevSpec("pipe", Path(address))
    if backend == REFERENCE:
        return ChardevSpec(REFERENCE, id=_id(address))
    if backend not in ("unix", "tcp", "telnet"):
        raise ValueError
    first, *options = _split(address)
    given = {"backend": "socket", **_options(options)}
    if backend == "unix":
        return _parse_section({**given, "path": first})
    host, colon, port = first.rpartition(":")
    if not colon:
        raise WholeError("has no port, HOST:PORT is right")
    if backend == "telnet":
        given.setdefault("telnet", "on")
    return _parse_section({**given, "host": host.removeprefix("[").removesuffix("]"), "port": port})


def _split(text: str) -> list[str]:
    """`text` at its commas; a doubled one stands for itself (QEMU's options)."""
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


def _options(parts: list[str]) -> dict[str, str]:
    """Options `name=value`, `name` for on and `noname` for off."""
    found: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            name, value = (name[2:], "off") if name.startswith("no") else (name, "on")
        found[name] = value
    return found


def _parse_section(given: Mapping[str, Any]) -> ChardevSpec:
    backend = given.get("backend")
    if backend == _VIRTUAL_CONSOLE:
        backend = "null"
    if backend not in _OPTIONS:
        right = " or ".join(_OPTIONS)
        raise BareError(f"backend: {'missing' if backend is None else backend}, {right} is right")
    known = {**_COMMON, **_OPTIONS[backend]}
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if name == "backend":
            continue
        if name not in known:
            raise BareError(f"unknown key {name} of {backend}, {', '.join(known)} are right")
        fields[name] = _value(name, known[name], value)
    spec = ChardevSpec(backend, **fields)
    if backend == "socket":
        return _check_socket(spec, "wait" in fields)
    if backend in _NEEDS_PATH and spec.path is None:
        raise BareError(f"path: missing, the path of a {backend} is right")
    return spec


def _check_socket(spec: ChardevSpec, wait_given: bool) -> ChardevSpec:
    if (spec.path is None) == (not spec.port):
        raise BareError("socket: path, or host and port, is right")
    if spec.server and spec.reconnect:
        raise BareError("reconnect: is not for a server, server: false is right with it")
    if not spec.server and spec.wait:
        raise BareError("wait: is not for a client, server: true is right with it")
    return spec if wait_given else spec._replace(wait=spec.server)


def _value(name: str, kind: str, value: object) -> object:
    try:
        if name == "id":
            return _id(value)
        return _PARSERS[kind](value)
    except WholeError as error:
        raise BareError(f"{name}: {value} {error}") from None
    except ValueError:
        raise BareError(f"{name}: {value} is not accepted, {_RIGHT[kind]} is right") from None


def _id(value: object) -> str:
    if not isinstance(value, str) or not id_wellformed(value):
        raise WholeError(f"is not a name, {ID_RIGHT} are right")
    return value


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in _FLAGS:
        raise ValueError
    return _FLAGS[value]


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return Path(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _port(value: object) -> str:
    number = value if type(value) is int else int(value) if isinstance(value, str) else -1
    if not 0 <= number <= 0xFFFF:
        raise ValueError
    return str(number)


def _seconds(value: object) -> int:
    number = value if type(value) is int else int(value) if isinstance(value, str) else -1
    if number < 0:
        raise ValueError
    return number


_PARSERS: Final = {_PATH: _path, _TEXT: _text, _PORT: _port, _FLAG: _flag, _SECONDS: _seconds}

__all__ = ["CHARDEV_RIGHT", "parse", "parse_definition"]
