"""Containers: objects that are there for their children (qom/container.c)."""

from mpvm.qom.object import Object
from mpvm.qom.type_info import register_type


@register_type("container", description="has children, and nothing else")
class Container(Object):
    """The root of a composition tree, and its folders: /objects, /machine/peripheral."""

    def container(self, name: str) -> "Container":
        """The container below called `name`, made when it is not there."""
        found = self.child(name) or self.add_child(name, Container())
        assert isinstance(found, Container)
        return found
