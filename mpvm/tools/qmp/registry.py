"""The table of commands: each with the names and types of its arguments, which are checked before it runs."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from mpvm.abi.errors import CommandError, CommandNotFoundError
from mpvm.tools.vm import Vm

F = TypeVar("F", bound=Callable[..., Any])

#: Python's types of JSON's values, and what a person calls them.
_TYPE_NAMES: Final = {
    str: "string",
    int: "integer",
    bool: "boolean",
    float: "number",
    dict: "object",
    list: "array",
}


class Command(NamedTuple):
    """`function(vm, **arguments)` returns what JSON can say; None stands for an empty object.

    `required` and `optional` have each argument's type; `object` takes any value. With `rest`, members that
    neither names are handed on, too.
    """

    name: str
    function: Callable[..., Any]
    required: Mapping[str, type]
    optional: Mapping[str, type]
    rest: bool

    def call(self, vm: Vm, arguments: Mapping[str, object]) -> object:
        """Carry it out; raises `CommandError` for wrong arguments and what the function raises."""
        for name in self.required:
            if name not in arguments:
                raise CommandError(f"{self.name}: argument '{name}' is missing")
        for name, value in arguments.items():
            kind = self.required.get(name) or self.optional.get(name)
            if kind is None:
                if self.rest:
                    continue
                raise CommandError(f"{self.name}: argument '{name}' is unexpected, {self._right()}")
            # JSON's true is no integer, and its 1 is a number.
            right = type(value) is kind or (kind is float and type(value) is int)
            if kind is not object and not right:
                raise CommandError(f"{self.name}: argument '{name}' is no {_TYPE_NAMES[kind]}")
        result = self.function(vm, **{name.replace("-", "_"): value for name, value in arguments.items()})
        return {} if result is None else result

    def _right(self) -> str:
        names = ", ".join((*self.required, *self.optional))
        return f"{names} is right" if names else "none is right"


COMMANDS: Final[dict[str, Command]] = {}


def command(
    name: str,
    required: Mapping[str, type] | None = None,
    optional: Mapping[str, type] | None = None,
    *,
    rest: bool = False,
) -> Callable[[F], F]:
    """Decorator: enter a function as the command `name`; `ValueError` when the name is taken.

    An argument's name is QMP's; in the function's signature its hyphens are underscores.
    """

    def enter(function: F) -> F:
        if name in COMMANDS:
            raise ValueError(f"command {name} is registered twice")
        COMMANDS[name] = Command(name, function, required or {}, optional or {}, rest)
        return function

    return enter


def find(name: str) -> Command:
    """The command called `name`; raises `CommandNotFoundError`."""
    try:
        return COMMANDS[name]
    except KeyError:
        raise CommandNotFoundError(
            f"The command {name} has not been found, `query-commands` lists them"
        ) from None
