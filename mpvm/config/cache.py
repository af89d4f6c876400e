"""Remembers that a configuration text was found valid, so that the next run need not load pydantic and YAML.

They take longer to import than the machine takes to start. As with Python's own `.pyc`, an entry is
found by a digest of all that decides the result: the text, the overrides, the package's version and
the sources of this package. What depends on the file system is not in it and is checked on every run.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mpvm
from mpvm.config.types import Config, from_plain, to_plain

try:
    # hashlib's own; the whole of it loads OpenSSL, which takes longer than the rest of this module.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

MAX_ENTRIES = 128


def digest(text: bytes, overrides: Mapping[str, object]) -> str:
    """The name of the entry for `text` with `overrides`."""
    whole = blake2b(mpvm.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(source.read_bytes())
    whole.update(json.dumps(overrides, sort_keys=True).encode() + b"\0")
    whole.update(text)
    return whole.hexdigest()


def find(name: str) -> Config | None:
    """The remembered configuration, its paths as in the text; none when there is no usable entry."""
    folder = _folder()
    if folder is None:
        return None
    try:
        plain: Any = json.loads((folder / name).read_bytes())
        return from_plain(plain)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # Absent, or cut short by a full disk: validating again is always right.
        return None


def keep(name: str, config: Config) -> None:
    """Remember `config`. A cache that can't be written costs time, not correctness, so it is no error."""
    folder = _folder()
    if folder is None:
        return
    temporary = folder / f".{name}.{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.write_text(json.dumps(to_plain(config)))
        temporary.replace(folder / name)
        entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)
        for entry in entries[:-MAX_ENTRIES]:
            entry.unlink(missing_ok=True)
    except OSError:
        return


def _folder() -> Path | None:
    """``$XDG_CACHE_HOME/mpvm/config``; none without a home, or when another user could write there."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", ""), ".cache")  # noqa: PTH118
    folder = Path(base, "mpvm", "config")
    if not folder.is_absolute():
        return None
    try:
        status = folder.stat()
    except OSError:
        return folder
    return folder if status.st_uid == os.geteuid() and not status.st_mode & 0o022 else None
