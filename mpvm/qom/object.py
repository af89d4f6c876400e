"""Objects: instances of types, with properties, in a composition tree (QEMU's include/qom/object.h).

A class is a type once `register_type` has given it a name. Its parent type is its Python parent; interfaces
are further bases below `Interface`.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar

from mpvm.abi.errors import CastError, PropertyError
from mpvm.qom import properties
from mpvm.qom.properties import Property

T = TypeVar("T")

# A child's name that ends so gets the first free index: device[0], device[1], ...
AUTO_INDEX: Final = "[*]"


class Interface:
    """Base of interfaces: methods that a type has beside those of its parent. It has no state."""

    type_name: ClassVar[str] = "interface"
    abstract: ClassVar[bool] = True
    description: ClassVar[str] = ""


class Object:
    """Base of all objects. Keyword arguments are properties by their attribute's name.

    `instance_init` makes what an instance has before its properties are set; a type that overrides it calls
    its parent's first.
    """

    type_name: ClassVar[str] = "object"
    abstract: ClassVar[bool] = True
    description: ClassVar[str] = ""
    class_properties: ClassVar[Mapping[str, Property[Any]]] = {}

    def __init_subclass__(cls) -> None:
        own = {prop.name: prop for prop in vars(cls).values() if isinstance(prop, Property)}
        inherited: dict[str, Property[Any]] = {}
        for base in reversed(cls.__mro__[1:]):
            inherited.update(getattr(base, "class_properties", {}) if issubclass(base, Object) else {})
        cls.class_properties = {**inherited, **own}

    def __init__(self, **values: Any) -> None:
        self.parent: Object | None = None
        # Its name among its parent's children.
        self.path_component = ""
        self.property_values: dict[str, Any] = {}
        self.properties_set: set[str] = set()
        self._instance_properties: dict[str, Property[Any]] = {}
        self._children: dict[str, Object] = {}
        self.instance_init()
        for attribute, value in values.items():
            prop = getattr(type(self), attribute, None)
            if not isinstance(prop, Property):
                raise no_property(type(self), attribute)
            prop.set(self, value)

    def instance_init(self) -> None:
        """Called once, before any property is set."""

    def __str__(self) -> str:
        return self.canonical_path() or f"a new {self.type_name}"

    @property
    def settled(self) -> bool:
        """Whether properties that are not dynamic are past being set."""
        return False

    # Types.

    def is_a(self, type_name: str) -> bool:
        """Whether it is of the type or interface `type_name`, or of one below it."""
        return class_is_a(type(self), type_name)

    # Properties.

    def properties(self) -> dict[str, Property[Any]]:
        """The class's properties and the instance's own, by name."""
        return {**self.class_properties, **self._instance_properties}

    def find_property(self, name: str) -> Property[Any]:
        """The property `name`; `PropertyError` that says which there are."""
        found = self._instance_properties.get(name) or self.class_properties.get(name)
        if found is None:
            raise no_property(type(self), name, self._instance_properties)
        return found

    def add_property(self, name: str, prop: Property[Any]) -> None:
        """Give this instance alone the property `prop`; `PropertyError` when there is one of this name."""
        if name in self._instance_properties or name in self.class_properties:
            raise PropertyError(f"{self}: there is a property {name} already, another name is right")
        prop.name = name
        self._instance_properties[name] = prop

    def get_property(self, name: str) -> Any:
        """The value of the property `name`."""
        return self.find_property(name).get(self)

    def set_property(self, name: str, value: object) -> None:
        """Set the property `name` to `value`, or to what that text means."""
        self.find_property(name).set(self, value)

    # The composition tree.

    def add_child(self, name: str, instance: "Object") -> "Object":
        """Take `instance` into the tree as `name`, which may end in "[*]"; `PropertyError` if it is taken."""
        if instance.parent is not None:
            raise PropertyError(f"{instance}: has a parent already, an object has one")
        if name.endswith(AUTO_INDEX):
            stem, index = name.removesuffix(AUTO_INDEX), 0
            while f"{stem}[{index}]" in self._instance_properties:
                index += 1
            name = f"{stem}[{index}]"
        if "/" in name or not name:
            raise PropertyError(f"{name!r}: not a name of an object, one without / is right")
        self.add_property(name, properties.child(instance))
        self._children[name] = instance
        instance.parent, instance.path_component = self, name
        return instance

    def unparent(self) -> None:
        """Leave the tree, with all that is below."""
        if self.parent is not None:
            del self.parent._children[self.path_component]
            del self.parent._instance_properties[self.path_component]
            self.parent, self.path_component = None, ""

    def children(self) -> list["Object"]:
        """The children, in the order in which they came."""
        return list(self._children.values())

    def child(self, name: str) -> "Object | None":
        """The child called `name`."""
        return self._children.get(name)

    def descendants(self) -> Iterator["Object"]:
        """Everything below, parents before their children."""
        for instance in self.children():
            yield instance
            yield from instance.descendants()

    def canonical_path(self) -> str:
        """The path from the root, as /machine/unattached/device[0]; "" outside of a tree."""
        names = []
        node: Object = self
        while node.parent is not None:
            names.append(node.path_component)
            node = node.parent
        return "/" + "/".join(reversed(names)) if node.is_a("container") else ""


def class_is_a(cls: type, type_name: str) -> bool:
    """Whether the type `cls` is `type_name`, or has it for an ancestor or interface."""
    return type_name in _type_names(cls)


@functools.cache
def _type_names(cls: type) -> frozenset[str]:
    """The names of `cls`, its ancestors and its interfaces; every reset and realize asks for some."""
    return frozenset(vars(base)["type_name"] for base in cls.__mro__ if "type_name" in vars(base))


def cast(instance: object, cls: type[T]) -> T:
    """`instance` as the type `cls`; `CastError` when it is of another (QEMU's OBJECT_CHECK)."""
    if isinstance(instance, cls):
        return instance
    is_what = f"is of type {instance.type_name}" if isinstance(instance, Object) else f"is {instance!r}"
    wanted = getattr(cls, "type_name", cls.__name__)
    what = str(instance) if isinstance(instance, Object) else "object"
    raise CastError(f"{what}: {is_what}, an object of type {wanted} is right")


def no_property(
    cls: type[Object], name: str, more: Mapping[str, Property[Any]] | None = None
) -> PropertyError:
    """The error for a property that the type `cls` does not have."""
    import difflib

    names = sorted({**cls.class_properties, **(more or {})})
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"{nearest[0]} is right" if nearest else f"{', '.join(names) or 'none'} are there"
    return PropertyError(f"{cls.type_name}: there is no property {name}, {hint}")
