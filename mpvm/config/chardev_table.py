"""Which chardev each user of one gets: references are looked up, and only a shared one has several users."""

import os
from pathlib import Path
from typing import Protocol

from mpvm.abi.errors import ConfigError
from mpvm.config.chardevs import REFERENCE, ChardevSpec
from mpvm.config.keys import Key, dotted


class Source(Protocol):
    """Who to name for an error at a key, and what its relative paths are relative to."""

    def error(self, key: Key, text: str) -> ConfigError: ...  # noqa: D102
    def folder_of(self, key: Key) -> Path: ...  # noqa: D102


class ChardevTable:
    """The chardevs of one configuration. Paths of what it returns are absolute."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._defined: dict[str, ChardevSpec] = {}
        self._users: dict[str, Key] = {}
        self._stdio: Key | None = None

    def define(self, key: Key, spec: ChardevSpec) -> ChardevSpec:
        """Enter `spec`, which stands at `key`, for references to its id."""
        assert spec.id is not None
        if spec.id in self._defined:
            raise self._source.error((*key, "id"), f"there are two {spec.id}, one is right")
        owned = self._own(key, spec)
        self._defined[spec.id] = owned
        return owned

    def use(self, key: Key, spec: ChardevSpec) -> ChardevSpec:
        """The chardev of the user at `key` that says `spec`."""
        if spec.kind != REFERENCE:
            return self._own(key, spec)
        assert spec.id is not None
        found = self._defined.get(spec.id)
        if found is None:
            right = " or ".join(self._defined) or "an id of one in chardevs"
            raise self._source.error(key, f"there is no chardev {spec.id}, {right} is right")
        if spec.id in self._users and not found.mux:
            taken = f"chardev {spec.id} is taken by {dotted(self._users[spec.id])} already"
            raise self._source.error(key, f"{taken}, mux: true lets several use it")
        self._users[spec.id] = key
        return found

    def _own(self, key: Key, spec: ChardevSpec) -> ChardevSpec:
        if spec.kind == "stdio":
            if self._stdio is not None:
                taken = f"stdio is taken by {dotted(self._stdio)} already"
                raise self._source.error(key, f"{taken}, null or file:PATH is right")
            self._stdio = key
        if spec.path is not None:
            spec = spec._replace(path=self._place(key, spec.path, str(spec)))
        if spec.logfile is not None:
            spec = spec._replace(logfile=self._place(key, spec.logfile, "a log"))
        return spec

    def _place(self, key: Key, path: Path, what: str) -> Path:
        absolute = self._source.folder_of(key) / path
        if os.path.isdir(absolute) or not os.path.isdir(absolute.parent):  # noqa: PTH112 -- never raises
            right = f"{what.replace(str(path), 'PATH')} in a folder that exists is right"
            raise self._source.error(key, f"{absolute}: can't be made, {right}")
        return absolute
