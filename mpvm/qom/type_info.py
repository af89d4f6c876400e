"""The table of types (QEMU's TypeInfo and type_register_static).

`register_type` is a class decorator. The class is entered into the table at module-init level QOM, as
`type_init` functions are; a lookup runs those that are left, so that a module imported late is found as
well.
"""

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

from mpvm.abi.errors import ObjectTypeError
from mpvm.qom.module import Level, module_call_init, register_module_init
from mpvm.qom.object import Interface, Object, class_is_a

C = TypeVar("C", bound=type[Any])
T = TypeVar("T", bound=Object)

_types: Final[dict[str, type[Any]]] = {Object.type_name: Object, Interface.type_name: Interface}


def register_type(
    name: str, *, abstract: bool = False, description: str = "", level: Level = Level.QOM
) -> Callable[[C], C]:
    """Class decorator: the class is the type `name`. No instance is made of an `abstract` one.

    `TypeError` for a class that does not have exactly one parent type, or a parent that is no type.
    """

    def enter(cls: C) -> C:
        cls.type_name, cls.abstract, cls.description = name, abstract, description
        _check_bases(cls)
        register_module_init(level, functools.partial(type_register_static, cls))
        return cls

    return enter


def type_register_static(cls: type[Any]) -> None:
    """Enter `cls` into the table; `ObjectTypeError` when another class has its name."""
    known = _types.setdefault(cls.type_name, cls)
    if known is not cls:
        raise ObjectTypeError(
            f"type {cls.type_name} is registered twice, by {known.__module__} and {cls.__module__}"
        )


def _check_bases(cls: type[Any]) -> None:
    bases = [base for base in cls.__bases__ if issubclass(base, Object | Interface)]
    for base in bases:
        if "type_name" not in vars(base):
            raise TypeError(f"{cls.__name__}: its parent {base.__name__} is not registered as a type")
    parents = [base for base in bases if issubclass(base, Object)]
    if len(parents) != 1 and issubclass(cls, Object):
        raise TypeError(f"{cls.__name__}: a type has one parent, further bases are interfaces")


def parent_type(cls: type[Any]) -> type[Any] | None:
    """The parent type of `cls`, None for the two roots."""
    kind = Object if issubclass(cls, Object) else Interface
    return next((base for base in cls.__bases__ if issubclass(base, kind)), None)


def interfaces_of(cls: type[Any]) -> list[str]:
    """The names of the interfaces that `cls` and its ancestors have."""
    bases = [base for base in cls.__mro__ if issubclass(base, Interface) and not issubclass(base, Object)]
    return sorted(base.type_name for base in bases if base not in (cls, Interface))


def _register_pending() -> None:
    # Machine classes come last, as the types that they are made of come before them.
    for level in (Level.QOM, Level.MACHINE):
        module_call_init(level)


def type_by_name(name: str) -> type[Any] | None:
    """The type called `name`, if a module that is imported has registered it."""
    _register_pending()
    return _types.get(name)


def object_class_by_name(name: str, what: str = "type", implements: str = "object") -> type[Any]:
    """The type called `name`, wherever it is; `ObjectTypeError` names the nearest `what` otherwise.

    What no imported module has registered is looked for in all of mpvm's own modules, and at last in
    plug-ins.
    """
    found = type_by_name(name)
    if found is None:
        from mpvm.qom import loading

        found = loading.find_type(name)
    if found is None or not class_is_a(found, implements):
        raise unknown_type(name, what, implements)
    return found


def unknown_type(name: str, what: str, implements: str) -> ObjectTypeError:
    """The error for a `name` that is no type below `implements`."""
    import difflib

    names = [cls.type_name for cls in object_class_get_list(implements) if not cls.abstract]
    nearest = difflib.get_close_matches(name, names, n=1)
    listing = f"what `mpvm types --implements {implements}` lists"
    right = nearest[0] if nearest else listing
    return ObjectTypeError(f"{what} {name!r} is unknown, {right} is right")


def object_class_get_list(implements: str = "object", include_abstract: bool = False) -> list[type[Any]]:
    """Every type there is that is `implements` or below it, plug-ins' too, sorted by name.

    For the root, object, that is all, interfaces too.
    """
    from mpvm.qom import loading

    loading.load_all()
    return registered_types(implements, include_abstract)


def registered_types(implements: str = "object", include_abstract: bool = False) -> list[type[Any]]:
    """The same, of the modules that are imported."""
    _register_pending()
    return [
        cls
        for _name, cls in sorted(_types.items())
        if (implements == Object.type_name or class_is_a(cls, implements))
        and (include_abstract or not cls.abstract)
    ]


def object_new(name: str, what: str = "type", implements: str = "object") -> Any:
    """A new instance of the type called `name`; `ObjectTypeError` when there is none or it is abstract."""
    return instantiate(object_class_by_name(name, what, implements))


def instantiate(cls: type[T]) -> T:
    """A new instance of `cls`; `ObjectTypeError` when it is abstract."""
    if cls.abstract:
        raise ObjectTypeError(f"{cls.type_name}: an abstract type has no instances, one below it is right")
    return cls()
