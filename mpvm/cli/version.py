"""`mpvm version`: the versions of mpvm and of what it stands on."""

import importlib.metadata
import platform
from collections.abc import Sequence

import mpvm
from mpvm.abi.errors import ConfigError, ExitStatus
from mpvm.abi.layout import ABI_VERSION

PARTS = ("unicorn", "msgpack", "pydantic", "PyYAML", "rich")


def main(argv: Sequence[str]) -> int:
    """Print the versions, one a line; takes no arguments."""
    if argv:
        raise ConfigError(f"version: {argv[0]}: unexpected, `mpvm version` takes no arguments")
    print(f"mpvm {mpvm.__version__}")
    print(f"shared-memory layout {ABI_VERSION}")
    print(f"Python {platform.python_version()}")
    for part in PARTS:
        print(f"{part} {_version(part)}")
    return ExitStatus.OK


def _version(part: str) -> str:
    try:
        return importlib.metadata.version(part)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
