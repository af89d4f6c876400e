"""Properties: kinds, defaults, when they may be set, and what a refusal says."""

from typing import Any

import pytest

from mpvm.abi.errors import PropertyError
from mpvm.qom import properties
from mpvm.qom.object import Object
from mpvm.qom.qdev import qdev_realize
from mpvm.qom.type_info import register_type
from tests.unit.qom.zoo import Needy, TestBus, Uart


@register_type("test-kinds")
class Kinds(Object):
    """A property of every kind."""

    u8 = properties.uint8(1)
    u16 = properties.uint16(1)
    u32 = properties.uint32(1)
    u64 = properties.uint64(1)
    length = properties.size(4096)
    on = properties.boolean(False)
    word = properties.string("")
    policy = properties.enum(("discard", "slew"), "discard")
    other_name = properties.uint8(1, name="other_name")


def test_a_property_has_its_default_until_it_is_set() -> None:
    uart = Uart()
    assert (uart.base, uart.get_property("base")) == (0x100, 0x100)
    uart.set_property("base", 0x200)
    assert uart.base == 0x200


def test_a_constructor_sets_properties() -> None:
    assert Uart(base=0x300, speed=115200).speed == 115200
    with pytest.raises(PropertyError, match="no property bsae, base is right"):
        Uart(bsae=1)


def test_a_name_has_hyphens_where_its_attribute_has_underscores_unless_it_says_otherwise() -> None:
    @register_type("test-names")
    class Names(Object):
        apic_id = properties.uint8(0)

    assert set(Names.class_properties) == {"apic-id"}
    assert "other_name" in Kinds.class_properties


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("u8", "255", 255),
        ("u16", "0x2f8", 0x2F8),
        ("u32", "0xffffffff", 0xFFFFFFFF),
        ("u64", 1 << 63, 1 << 63),
        ("length", "2M", 2 << 20),
        ("length", "64KiB", 64 << 10),
        ("on", "on", True),
        ("on", "no", False),
        ("on", True, True),
        ("word", "x", "x"),
        ("policy", "slew", "slew"),
    ],
)
def test_a_text_is_as_good_as_a_value(name: str, text: Any, value: Any) -> None:
    kinds = Kinds()
    kinds.set_property(name, text)
    assert kinds.get_property(name) == value


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("u8", 256, "is out of range, a number from 0 to 0xff"),
        ("u16", "-1", "is out of range, a number from 0 to 0xffff"),
        ("u32", "many", "is not a number, a number from 0 to 0xffffffff"),
        ("u32", True, "is not a number"),
        ("length", "2 miles", "is not a size, a number of bytes such as"),
        ("on", "maybe", "is not a boolean, on or off"),
        ("on", 1, "is not a boolean, on or off"),
        ("word", 5, "is not a text, a text"),
        ("policy", "merge", "is not accepted, discard or slew"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_right(name: str, value: Any, right: str) -> None:
    with pytest.raises(PropertyError, match=f"^test-kinds.{name}: .*{right}") as caught:
        Kinds().set_property(name, value)
    assert "\n" not in str(caught.value)


def test_a_property_is_set_once() -> None:
    uart = Uart(base=0x200)
    with pytest.raises(PropertyError, match=r"test-uart.base: set twice, once is right"):
        uart.set_property("base", 0x300)


def test_realizing_settles_what_is_not_dynamic() -> None:
    uart = Uart()
    qdev_realize(uart, TestBus())
    with pytest.raises(PropertyError, match=r"test-uart.base: can't be set any more.*; level can"):
        uart.base = 0x200
    uart.level = 3
    uart.set_property("level", "4")
    assert uart.happened[-2:] == [("level", 3), ("level", 4)]


def test_a_computed_property_is_read_only() -> None:
    uart = Uart(base=0x200)
    assert uart.get_property("end") == 0x208
    with pytest.raises(PropertyError, match=r"test-uart.end: is read-only"):
        uart.set_property("end", 1)


def test_a_property_without_a_default_must_be_set_before_realize() -> None:
    needy = Needy()
    with pytest.raises(PropertyError, match=r"test-needy.irq: missing, a number from 0 to 0xff is right"):
        qdev_realize(needy, TestBus())
    assert not needy.realized
    needy.irq = 4
    qdev_realize(needy, TestBus())


def test_a_link_takes_an_object_of_its_type() -> None:
    uart, peer = Uart(), Uart()
    uart.peer = peer
    assert uart.get_property("peer") is peer
    with pytest.raises(PropertyError, match=r"test-uart.peer: .* an object of type test-device is right"):
        Uart().peer = TestBus()


def test_an_instance_may_have_properties_of_its_own() -> None:
    first, second = Uart(), Uart()
    first.add_property("temperature", properties.uint8(20, dynamic=True))
    assert first.get_property("temperature") == 20
    with pytest.raises(PropertyError, match="no property temperature"):
        second.get_property("temperature")
    with pytest.raises(PropertyError, match="there is a property base already"):
        first.add_property("base", properties.uint8(0))


def test_an_unknown_property_is_refused_with_the_nearest() -> None:
    with pytest.raises(PropertyError, match="test-uart: there is no property speeed, speed is right"):
        Uart().get_property("speeed")


def test_a_type_has_its_parents_properties() -> None:
    assert {"base", "label", "level", "end", "speed", "realized"} <= set(Uart.class_properties)
    assert "speed" not in Needy.class_properties
