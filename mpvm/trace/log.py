"""The log: where it goes, and the categories of ``-d`` (QEMU's util/log.c and include/qemu/log.h)."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mpvm.abi.errors import ConfigError
from mpvm.abi.log import WORKERS, LogItem

#: What `-d help` lists: the name of each category, and what it tells of.
LOG_ITEMS: Final = {
    "int": (LogItem.INT, "every interrupt and exception that a vCPU takes"),
    "cpu_reset": (LogItem.CPU_RESET, "a vCPU's registers before each reset and INIT"),
    "guest_errors": (LogItem.GUEST_ERRORS, "what the guest does that no correct program would"),
    "unimp": (LogItem.UNIMP, "what the guest asks for that real hardware has and mpvm does not"),
}
_NAMES: Final = {item: name for name, (item, _text) in LOG_ITEMS.items()}
_STDERR: Final = 2

_mask = 0
_fd = _STDERR


def parse_items(names: Iterable[str]) -> LogItem:
    """The categories called `names`; `ConfigError` names one that is none."""
    mask = LogItem(0)
    for name in names:
        if name not in LOG_ITEMS:
            raise ConfigError(f"log: {name!r} is no category, {' or '.join(LOG_ITEMS)} is right")
        mask |= LOG_ITEMS[name][0]
    return mask


def set_log(items: Iterable[str], path: Path | None = None) -> None:
    """Log the categories `items` from now on, to stderr or to the file at `path`, which is made anew."""
    global _mask, _fd
    close_log()
    mask = int(parse_items(items))
    if path is not None:
        _fd = open_log(path, anew=True)
    _mask = mask


def open_log(path: Path, *, anew: bool = False) -> int:
    """A descriptor that appends to the log at `path`, which all processes of a VM share; `ConfigError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if anew else 0)
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        raise ConfigError(
            f"logfile: {path}: {error.strerror}, a file that can be written is right"
        ) from error


def close_log() -> None:
    """Log nothing any more."""
    global _mask, _fd
    _mask = 0
    if _fd != _STDERR:
        os.close(_fd)
        _fd = _STDERR


def log_enabled(item: LogItem) -> bool:
    """Whether the category is logged, for who would go to some length for a line."""
    return bool(_mask & item)


def workers_mask() -> int:
    """The categories that are on and are the workers' to log."""
    return _mask & WORKERS


def log_mask(item: LogItem, text: str, *arguments: object) -> None:
    """Log ``text % arguments`` if the category is on."""
    if _mask & item:
        write(f"{_NAMES[item]}: {text % arguments}")


def write(line: str) -> None:
    """Put `line` into the log, whatever is on. Lines of several processes do not mix."""
    data = f"mpvm: {line}\n".encode()
    # The log must not end the run, and there is nobody to tell.
    try:
        os.write(_fd, data)
    except OSError:
        return
