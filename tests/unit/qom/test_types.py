"""The table of types: parents, abstract types, interfaces, lookups and casts."""

import pytest

from mpvm.abi.errors import CastError, ObjectTypeError
from mpvm.qom.module import Level
from mpvm.qom.object import Interface, Object, cast
from mpvm.qom.type_info import (
    interfaces_of,
    object_class_by_name,
    object_class_get_list,
    object_new,
    parent_type,
    register_type,
)
from tests.unit.qom.zoo import Lamp, Needy, TestDevice, Uart


def test_a_type_is_found_by_its_name() -> None:
    assert object_class_by_name("test-uart") is Uart


def test_an_instance_is_of_its_type_of_all_above_and_of_its_interfaces() -> None:
    uart = object_new("test-uart")
    for name in ("test-uart", "test-device", "device", "object", "resettable", "test-lamp", "interface"):
        assert uart.is_a(name), name
    assert not uart.is_a("test-needy")


def test_a_type_has_one_parent_and_says_which() -> None:
    assert parent_type(Uart) is TestDevice
    assert parent_type(Object) is None
    assert parent_type(Lamp) is Interface


def test_two_parents_are_refused() -> None:
    with pytest.raises(TypeError, match="one parent"):

        @register_type("test-chimera")
        class Chimera(Uart, Needy):
            pass


def test_a_parent_that_is_no_type_is_refused() -> None:
    class Anonymous(Uart):
        pass

    with pytest.raises(TypeError, match="Anonymous is not registered"):

        @register_type("test-orphan")
        class Orphan(Anonymous):
            pass


def test_interfaces_are_inherited() -> None:
    assert interfaces_of(Uart) == ["resettable", "test-lamp"]
    assert object_new("test-uart").shine() == "bright"


def test_an_abstract_type_has_no_instances() -> None:
    with pytest.raises(ObjectTypeError, match="test-device: an abstract type"):
        object_new("test-device")


def test_two_classes_can_not_have_one_name() -> None:
    @register_type("test-uart")
    class Other(Uart):
        pass

    with pytest.raises(ObjectTypeError, match="test-uart is registered twice"):
        object_class_by_name("test-uart")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ObjectTypeError, match="device 'test-urat' is unknown, test-uart is right"):
        object_class_by_name("test-urat", "device", "device")


def test_a_type_that_registers_at_the_level_of_machines_is_found_as_well() -> None:
    @register_type("test-late", level=Level.MACHINE)
    class Late(Uart):
        pass

    assert object_class_by_name("test-late") is Late


def test_a_type_of_another_kind_is_refused() -> None:
    with pytest.raises(ObjectTypeError, match="device 'container' is unknown"):
        object_class_by_name("container", "device", "device")


def test_the_list_has_what_implements_a_type_or_an_interface() -> None:
    assert {Needy, Uart} <= set(object_class_get_list("test-device"))
    assert TestDevice not in object_class_get_list("test-device")
    assert TestDevice in object_class_get_list("test-device", include_abstract=True)
    assert Uart in object_class_get_list("test-lamp")
    assert Needy not in object_class_get_list("test-lamp")


def test_a_checked_cast_gives_the_object_or_says_what_it_is() -> None:
    uart = object_new("test-uart")
    assert cast(uart, TestDevice) is uart
    assert cast(uart, Lamp).shine() == "bright"
    with pytest.raises(CastError, match="is of type test-uart, an object of type test-needy is right"):
        cast(uart, Needy)
    with pytest.raises(CastError, match="is None"):
        cast(None, Needy)
