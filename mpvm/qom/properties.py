"""Properties of objects: typed values with a name, a default and a description.

A property is declared in its class's body and read as an attribute; by its QOM name it is read and set
through `Object.get_property` and `set_property`, where a text is as good as a value (as in ``-device``).
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from mpvm.abi.errors import PropertyError

if TYPE_CHECKING:
    from mpvm.qom.object import Object

T = TypeVar("T")

_SIZE: Final = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_SIZE_SHIFTS: Final[Mapping[str, int]] = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("on", "yes", "true"), True),
    **dict.fromkeys(("off", "no", "false"), False),
}


class Required:
    """Stands for the default of a property that has none: it must be set before the device is realized."""

    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = Required()


class Property(Generic[T]):
    """One property. `parse(value)` returns the value to keep and raises `ValueError` for what is not `right`.

    `dynamic`: may be set at any time and any number of times; else once, and before its object is realized.
    `getter`: computed and read-only. `name` None: the attribute's, its underscores as hyphens.
    """

    __slots__ = (
        "_changed",
        "attribute",
        "default",
        "description",
        "dynamic",
        "getter",
        "kind",
        "name",
        "parse",
        "right",
    )

    def __init__(
        self,
        kind: str,
        parse: Callable[[Any], T],
        right: str,
        default: T | Required = REQUIRED,
        description: str = "",
        *,
        name: str | None = None,
        dynamic: bool = False,
        getter: Callable[[Any], T] | None = None,
    ) -> None:
        self.kind = kind
        self.parse = parse
        self.right = right
        self.default = default
        self.description = description
        self.name = name or ""
        self.attribute = ""
        self.dynamic = dynamic
        self.getter = getter
        self._changed: Callable[[Any], None] | None = None

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute
        self.name = self.name or attribute.replace("_", "-")

    @overload
    def __get__(self, instance: None, owner: type) -> "Property[T]": ...
    @overload
    def __get__(self, instance: "Object", owner: type) -> T: ...
    def __get__(self, instance: "Object | None", owner: type) -> "Property[T] | T":
        return self if instance is None else self.get(instance)

    def __set__(self, instance: "Object", value: T) -> None:
        self.set(instance, value)

    @property
    def read_only(self) -> bool:
        """Whether it is computed."""
        return self.getter is not None

    def get(self, instance: "Object") -> T:
        """The value in `instance`; `PropertyError` for one that has no default and was not set."""
        if self.getter is not None:
            return self.getter(instance)
        value = instance.property_values.get(self.name, self.default)
        if value is REQUIRED:
            raise PropertyError(f"{self.where(instance)}: missing, {self.right} is right")
        found: T = value
        return found

    def set(self, instance: "Object", value: object) -> None:
        """Set it in `instance` to `value`, or what that text means; `PropertyError` when that can't be."""
        if self.getter is not None:
            raise PropertyError(f"{self.where(instance)}: is read-only")
        parsed = self.check(value, self.where(instance))
        if not self.dynamic:
            if instance.settled:
                raise PropertyError(
                    f"{self.where(instance)}: can't be set any more, {instance} is realized"
                    + _dynamic_hint(instance)
                )
            if self.name in instance.properties_set:
                raise PropertyError(f"{self.where(instance)}: set twice, once is right")
            instance.properties_set.add(self.name)
        instance.property_values[self.name] = parsed
        if self._changed is not None:
            self._changed(instance)

    def set_default(self, instance: "Object", value: object, origin: str) -> None:
        """Replace the default in `instance` (a global property does); a value that is set goes before it."""
        parsed = self.check(value, origin)
        if self.name not in instance.properties_set:
            instance.property_values[self.name] = parsed

    def check(self, value: object, where: str) -> T:
        """`value`, or what that text means; a `PropertyError` about `where` says what would be right."""
        try:
            return self.parse(value)
        except ValueError as error:
            problem = str(error) or "is not accepted"
            raise PropertyError(f"{where}: {_shown(value)} {problem}, {self.right} is right") from None

    def where(self, instance: "Object") -> str:
        """How a message names it: by type and property."""
        return f"{instance.type_name}.{self.name}"

    def changed(self, function: Callable[[Any], None]) -> Callable[[Any], None]:
        """Decorator of the method to call after a set, for a dynamic property that something follows from."""
        self._changed = function
        return function


def _dynamic_hint(instance: "Object") -> str:
    names = [name for name, prop in instance.properties().items() if prop.dynamic and not prop.read_only]
    return f"; {', '.join(sorted(names))} can" if names else ""


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# The kinds, by QEMU's names for them.


def _unsigned(
    bits: int, default: int | Required, description: str, name: str | None, dynamic: bool
) -> Property[int]:
    top = (1 << bits) - 1

    def parse(value: Any) -> int:
        if isinstance(value, str):
            try:
                value = int(value, 0)
            except ValueError:
                raise ValueError("is not a number") from None
        if type(value) is not int:
            raise ValueError("is not a number")
        if not 0 <= value <= top:
            raise ValueError("is out of range")
        return value

    right = f"a number from 0 to {top:#x}"
    return Property(f"uint{bits}", parse, right, default, description, name=name, dynamic=dynamic)


def uint8(
    default: int | Required = REQUIRED,
    description: str = "",
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Property[int]:
    """A number of 8 bits."""
    return _unsigned(8, default, description, name, dynamic)


def uint16(
    default: int | Required = REQUIRED,
    description: str = "",
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Property[int]:
    """A number of 16 bits."""
    return _unsigned(16, default, description, name, dynamic)


def uint32(
    default: int | Required = REQUIRED,
    description: str = "",
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Property[int]:
    """A number of 32 bits."""
    return _unsigned(32, default, description, name, dynamic)


def uint64(
    default: int | Required = REQUIRED,
    description: str = "",
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Property[int]:
    """A number of 64 bits."""
    return _unsigned(64, default, description, name, dynamic)


def _parse_size(value: Any) -> int:
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) << _SIZE_SHIFTS[match[2].upper()]
    raise ValueError("is not a size")


def size(
    default: int | Required = REQUIRED,
    description: str = "",
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Property[int]:
    """A number of bytes; a text may end in K, M, G or T (powers of 1024)."""
    right = "a number of bytes such as 4096 or 512M"
    return Property("size", _parse_size, right, default, description, name=name, dynamic=dynamic)


def _parse_boolean(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if type(value) is not bool:
        raise ValueError("is not a boolean")
    return value


def boolean(
    default: bool | Required = REQUIRED,
    description: str = "",
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Property[bool]:
    """On or off."""
    return Property("bool", _parse_boolean, "on or off", default, description, name=name, dynamic=dynamic)


def _parse_string(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("is not a text")
    return value


def string(
    default: str | Required = REQUIRED,
    description: str = "",
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Property[str]:
    """A text without NUL."""
    return Property("str", _parse_string, "a text", default, description, name=name, dynamic=dynamic)


def enum(
    names: tuple[str, ...],
    default: str | Required = REQUIRED,
    description: str = "",
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Property[str]:
    """One of `names`."""

    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return Property("enum", parse, " or ".join(names), default, description, name=name, dynamic=dynamic)


def link(
    type_name: str, description: str = "", *, name: str | None = None, optional: bool = True
) -> "Property[Any]":
    """Another object, of the type `type_name` or one below it; None while it is nobody's."""

    def parse(value: Any) -> Any:
        if value is None and optional:
            return None
        if not getattr(value, "is_a", lambda _name: False)(type_name):
            raise ValueError(f"is not of type {type_name}")
        return value

    default = None if optional else REQUIRED
    return Property(
        f"link<{type_name}>", parse, f"an object of type {type_name}", default, description, name=name
    )


def computed(
    kind: str, description: str = "", *, name: str | None = None
) -> Callable[[Callable[[Any], T]], Property[T]]:
    """Decorator of a method that computes a read-only property's value of type `kind`."""

    def make(getter: Callable[[Any], T]) -> Property[T]:
        return Property(kind, _refuse, "", description=description, name=name, getter=getter)

    return make


def child(instance: "Object") -> Property[Any]:
    """The property by which a parent has the child `instance`."""
    return Property(f"child<{instance.type_name}>", _refuse, "", getter=lambda _parent: instance)


def _refuse(value: object) -> Any:
    raise ValueError("is not accepted")
