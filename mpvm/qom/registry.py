"""A registry of types by name: a decorator at the end of a class's file is all it takes to be known."""

from collections.abc import Callable
from typing import Any, TypeVar

from mpvm.abi.errors import ConfigError

T = TypeVar("T", bound=type[Any])


class TypeRegistry:
    """Types of one kind (`what`, for messages) by their names."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._types: dict[str, type[Any]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Class decorator: enter the class as `name`; `ValueError` when the name is taken."""

        def enter(cls: T) -> T:
            if name in self._types:
                raise ValueError(f"{self._what} {name} is registered twice")
            self._types[name] = cls
            return cls

        return enter

    def get(self, name: str) -> type[Any]:
        """The type called `name`; `ConfigError` when there is none."""
        try:
            return self._types[name]
        except KeyError:
            raise ConfigError(
                f"{self._what} {name!r} is unknown, {' or '.join(self.names())} is right"
            ) from None

    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(self._types)
