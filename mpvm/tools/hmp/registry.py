"""The table of commands, and that of what `info` shows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from mpvm.abi.errors import CommandError

if TYPE_CHECKING:
    from mpvm.tools.hmp.session import HmpSession

#: Called with the session, and what follows the command's name.
Function = Callable[["HmpSession", str], None]


class HmpCommand(NamedTuple):
    """`names` are all the same; `parameters` and `help` are what `help` says."""

    names: tuple[str, ...]
    parameters: str
    help: str
    function: Function


class UsageError(CommandError):
    """A command is not called as it has to be; how to is said behind it."""


COMMANDS: Final[dict[str, HmpCommand]] = {}
INFO: Final[dict[str, HmpCommand]] = {}


def _enter(table: dict[str, HmpCommand], names: str, parameters: str, text: str, function: Function) -> None:
    entry = HmpCommand(tuple(names.split("|")), parameters, text, function)
    for name in entry.names:
        if name in table:
            raise ValueError(f"command {name} is registered twice")
        table[name] = entry


def command(names: str, parameters: str, text: str) -> Callable[[Function], Function]:
    """Decorator: enter a function as the command `names`, which bars part."""

    def enter(function: Function) -> Function:
        _enter(COMMANDS, names, parameters, text, function)
        return function

    return enter


def info(names: str, parameters: str, text: str) -> Callable[[Function], Function]:
    """Decorator: enter a function as what `info NAME` shows."""

    def enter(function: Function) -> Function:
        _enter(INFO, names, parameters, text, function)
        return function

    return enter


def entries(table: dict[str, HmpCommand]) -> list[HmpCommand]:
    """Each once, by its first name."""
    return sorted(set(table.values()), key=lambda entry: entry.names)
