"""--print-config: what a command line means, as a configuration that `mpvm run` takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from mpvm.cli.system.command_line import CommandLine

# Keys whose value is a path, relative to the current folder.
_PATHS: Final = ("boot.kernel", "boot.initrd", "logfile", "pidfile")


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
        return str(Path(value).absolute())
    if key == "boot.modules":
        return [{**module, "path": str(Path(module["path"]).absolute())} for module in value]
    return value
