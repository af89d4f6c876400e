"""--print-config: what a command line means, as a configuration that `mpvm run` takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from mpvm.cli.system.command_line import CommandLine

# Keys whose value is a path, and those of mappings in it. An option's are relative to the current folder, a
# configuration's to its own.
_PATHS: Final = ("boot.kernel", "boot.initrd", "logfile", "pidfile")
_PATHS_IN: Final = {"boot.modules": "path", "fw_cfg": "file"}
# Keys whose values are chardevs, and what begins one with a path.
_CHARDEVS: Final = ("serial", "debugcon", "monitor", "qmp")
_WITH_PATH: Final = ("file:", "pipe:", "unix:")
_OPTIONS_WITH_PATH: Final = ("path=", "logfile=")


def text(line: CommandLine) -> str:
    """A YAML text, with absolute paths."""
    document: dict[str, Any] = {}
    for key, value in line.values.items():
        *sections, last = key.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = _absolute(key, value)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _absolute(key: str, value: Any) -> Any:
    if key in _PATHS:
        return _path(value)
    if key in _PATHS_IN:
        return [_with_path(each, _PATHS_IN[key]) for each in value]
    if key in _CHARDEVS:
        return [_chardev(each) for each in value] if isinstance(value, list) else _chardev(value)
    if key == "chardevs":
        return [",".join(_option(part) for part in each.split(",")) for each in value]
    return value


def _path(text: str) -> str:
    return text if text.startswith("builtin:") else str(Path(text).absolute())


def _with_path(item: dict[str, Any], key: str) -> dict[str, Any]:
    return {**item, key: _path(item[key])} if key in item else item


def _chardev(value: Any) -> Any:
    for prefix in _WITH_PATH:
        if isinstance(value, str) and value.removeprefix("mon:").startswith(prefix):
            before, _, path = value.partition(prefix)
            return f"{before}{prefix}{_path(path)}"
    return value


def _option(part: str) -> str:
    for name in _OPTIONS_WITH_PATH:
        if part.startswith(name):
            return name + _path(part.removeprefix(name))
    return part
