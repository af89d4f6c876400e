"""What QMP and the command line ask of the object model, in plain data (QEMU's qom/qom-qmp-cmds.c)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from mpvm.qom.object import Object
from mpvm.qom.path import resolve_path
from mpvm.qom.properties import REQUIRED, Property
from mpvm.qom.type_info import interfaces_of, object_class_by_name, object_class_get_list, parent_type


class PropertyInfo(NamedTuple):
    """A property of an object or type. `default` is None where there is none."""

    name: str
    type: str
    description: str
    default: Any = None
    required: bool = False
    read_only: bool = False
    dynamic: bool = False


class TypeInfo(NamedTuple):
    """A type, and what is right below it."""

    name: str
    parent: str | None
    abstract: bool
    interfaces: list[str]
    description: str


def qom_list(root: Object, path: str) -> list[PropertyInfo]:
    """The properties, children and links of the object at `path`; `PathError`."""
    return [_info(prop) for prop in resolve_path(root, path).properties().values()]


def qom_get(root: Object, path: str, name: str) -> Any:
    """The value of the property `name` of the object at `path`: for an object its path."""
    return plain(resolve_path(root, path).get_property(name))


def qom_set(root: Object, path: str, name: str, value: object) -> None:
    """Set the property `name` of the object at `path`; a link takes the other object's path."""
    instance = resolve_path(root, path)
    prop = instance.find_property(name)
    if prop.kind.startswith("link<") and isinstance(value, str):
        value = resolve_path(root, value) if value else None
    prop.set(instance, value)


def qom_tree(root: Object, path: str = "/") -> Iterator[tuple[int, str, str]]:
    """Depth, name and type of the object at `path` and of everything below it."""
    top = resolve_path(root, path)
    yield 0, top.canonical_path(), top.type_name
    yield from _below(top, 1)


def _below(parent: Object, depth: int) -> Iterator[tuple[int, str, str]]:
    for instance in parent.children():
        yield depth, instance.path_component, instance.type_name
        yield from _below(instance, depth + 1)


def qom_list_types(implements: str = "object", abstract: bool = True) -> list[TypeInfo]:
    """Every type that is `implements` or below it, sorted by name, `abstract` ones on request."""
    return [_type_info(cls) for cls in object_class_get_list(implements, abstract)]


def qom_describe_type(name: str) -> TypeInfo:
    """The type called `name`; `ObjectTypeError`."""
    return _type_info(object_class_by_name(name))


def qom_list_properties(type_name: str) -> list[PropertyInfo]:
    """The properties that every object of the type has."""
    cls = object_class_by_name(type_name)
    return [_info(prop) for prop in getattr(cls, "class_properties", {}).values()]


def plain(value: Any) -> Any:
    """`value` as JSON can say it: an object as its path."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Object):
        return value.canonical_path()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def _info(prop: Property[Any]) -> PropertyInfo:
    required = prop.default is REQUIRED and not prop.read_only
    default = None if prop.default is REQUIRED else plain(prop.default)
    return PropertyInfo(
        prop.name, prop.kind, prop.description, default, required, prop.read_only, prop.dynamic
    )


def _type_info(cls: type[Any]) -> TypeInfo:
    parent = parent_type(cls)
    return TypeInfo(
        cls.type_name,
        None if parent is None else parent.type_name,
        cls.abstract,
        interfaces_of(cls),
        cls.description,
    )
