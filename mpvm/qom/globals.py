"""Global properties: other defaults for a type's properties (``-global``, and what compat properties are).

A machine class's compat properties keep an older version of it what it was; the user's globals come after
them and go before them.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mpvm.qom.object import Object, no_property
from mpvm.qom.type_info import object_class_by_name


class GlobalProperty(NamedTuple):
    """Property `prop` of `driver`, and of all types below it, has `value` for its default, says `origin`."""

    driver: str
    prop: str
    value: object
    origin: str = ""

    @property
    def where(self) -> str:
        """How a message names it."""
        return f"{self.origin}: {self.driver}.{self.prop}" if self.origin else f"{self.driver}.{self.prop}"


class GlobalProperties:
    """Globals in order: of two for the same property, the later one counts."""

    def __init__(self, entries: Iterable[GlobalProperty] = ()) -> None:
        self._entries = list(entries)

    def __iter__(self) -> Iterator[GlobalProperty]:
        return iter(self._entries)

    def extend(self, entries: Iterable[GlobalProperty]) -> None:
        """Add `entries` behind those that are there."""
        self._entries.extend(entries)

    def apply(self, instance: Object) -> None:
        """Give `instance`, which is new, its defaults."""
        for entry in self._entries:
            if instance.is_a(entry.driver):
                instance.find_property(entry.prop).set_default(instance, entry.value, entry.where)

    def check(self) -> None:
        """Raise for an entry whose driver, property or value is none: one line that says what is right."""
        for entry in self._entries:
            cls = object_class_by_name(entry.driver, "global driver")
            prop = getattr(cls, "class_properties", {}).get(entry.prop)
            if prop is None:
                raise no_property(cls, entry.prop)
            prop.check(entry.value, entry.where)
