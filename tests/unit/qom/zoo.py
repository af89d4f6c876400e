"""A small zoo of types, registered once for all tests of the object model."""

from typing import Any

from mpvm.qom import properties
from mpvm.qom.container import Container
from mpvm.qom.object import Interface, Object
from mpvm.qom.qdev import Bus, Device
from mpvm.qom.type_info import register_type


@register_type("test-lamp", abstract=True)
class Lamp(Interface):
    """Something that shines."""

    def shine(self) -> str:
        return "dark"


@register_type("test-bus", description="a bus for tests")
class TestBus(Bus):
    __test__ = False
    limit = 2


@register_type("test-device", abstract=True)
class TestDevice(Device):
    """A device that keeps a record of what happens to it."""

    __test__ = False
    bus_type = "test-bus"

    base = properties.uint16(0x100, "first port")
    label = properties.string("none", "what it is called")
    level = properties.uint8(0, "how loud", dynamic=True)
    peer = properties.link("test-device", "the one it talks to")

    def instance_init(self) -> None:
        super().instance_init()
        self.happened: list[Any] = []

    @level.changed
    def _level_changed(self) -> None:
        self.happened.append(("level", self.level))

    @properties.computed("uint16", "port behind the last")
    def end(self) -> int:
        return self.base + 8

    def realize(self) -> None:
        self.happened.append("realize")

    def unrealize(self) -> None:
        self.happened.append("unrealize")

    def reset_enter(self) -> None:
        self.happened.append("enter")

    def reset_hold(self) -> None:
        self.happened.append("hold")

    def reset_exit(self) -> None:
        self.happened.append("exit")


@register_type("test-uart", description="a device with a lamp")
class Uart(TestDevice, Lamp):
    user_creatable = True
    speed = properties.uint32(9600, "baud")

    def shine(self) -> str:
        return "bright"


@register_type("test-needy")
class Needy(TestDevice):
    irq = properties.uint8(description="interrupt line")


def tree() -> tuple[Container, Uart, Uart]:
    """/board/uart[0], /board/uart[1]; and their root."""
    root = Container()
    board = root.container("board")
    first, second = Uart(), Uart(base=0x200)
    board.add_child("uart[*]", first)
    board.add_child("uart[*]", second)
    return root, first, second


def names(cls: type[Object]) -> set[str]:
    return set(cls.class_properties)
