"""A symbol table as text: what nm(1) prints, Linux's System.map and /proc/kallsyms."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mpvm.abi.errors import ConfigError

# nm's letters for what is code: in a text section, and weak.
_CODE = frozenset("tTwWi")
# nm's letters for what is no place in the image: absolute (Linux's per-CPU offsets), undefined, debugging.
_NO_PLACE = frozenset("aAUvVNn-?")


class Symbols(NamedTuple):
    """Addresses in ascending order, and the function that begins at each.

    None: something else begins there, so that what follows the function before it is not named after that.
    """

    addresses: list[int]
    functions: list[str | None]


NO_SYMBOLS = Symbols([], [])


def read(path: Path) -> Symbols:
    """The functions in the file at `path`. Raises `ConfigError` that says what would be right."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            symbols = parse(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}, a symbol table that can be read is right") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}, what nm(1) or /proc/kallsyms prints is right") from error
    if not any(symbols.functions):
        raise ConfigError(f"{path}: no function, what nm(1) or /proc/kallsyms prints is right")
    if not any(symbols.addresses):
        raise ConfigError(f"{path}: all addresses are 0, what root reads in /proc/kallsyms is right")
    return symbols


def parse(lines: Iterable[str]) -> Symbols:
    """The symbols in `lines` of address, letter and name; `ValueError` for another line."""
    found: dict[int, str | None] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or (len(words) == 2 and words[0] in _NO_PLACE):
            continue
        if len(words) < 3 or len(words[1]) != 1:
            raise ValueError(f"line {number}: {line.strip()[:40]!r} is not an address, a letter and a name")
        try:
            address = int(words[0], 16)
        except ValueError:
            raise ValueError(f"line {number}: {words[0][:40]!r} is not a hexadecimal number") from None
        if words[1] in _NO_PLACE:
            continue
        # Of several names of one place the first function's.
        if words[1] not in _CODE:
            found.setdefault(address, None)
        elif found.get(address) is None:
            found[address] = words[2]
    addresses = sorted(found)
    return Symbols(addresses, [found[address] for address in addresses])
