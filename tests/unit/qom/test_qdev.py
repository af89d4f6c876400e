"""Devices and buses: realize, unrealize, reset in three phases, global properties."""

from typing import Any

import pytest

from mpvm.abi.errors import ConfigError, DeviceError, ObjectTypeError, PropertyError
from mpvm.qom.container import Container
from mpvm.qom.globals import GlobalProperties, GlobalProperty
from mpvm.qom.qdev import qdev_new, qdev_realize, qdev_unrealize
from mpvm.qom.resettable import resettable_reset
from tests.unit.qom.zoo import Needy, TestBus, TestDevice, Uart


def test_a_realized_device_is_on_its_bus() -> None:
    bus, uart = TestBus(), Uart()
    assert not uart.get_property("realized")
    qdev_realize(uart, bus)
    assert uart.get_property("realized")
    assert uart.get_property("parent_bus") is bus
    assert bus.devices == [uart]


def test_a_device_is_realized_once() -> None:
    bus, uart = TestBus(), Uart()
    qdev_realize(uart, bus)
    with pytest.raises(DeviceError, match="is realized already"):
        qdev_realize(uart, bus)


def test_a_device_goes_on_a_bus_of_its_kind_only() -> None:
    with pytest.raises(ConfigError, match="test-uart: needs a bus of type test-bus"):
        qdev_realize(Uart())


def test_a_full_bus_takes_no_more() -> None:
    bus = TestBus()
    for _ in range(2):
        qdev_realize(Uart(), bus)
    with pytest.raises(ConfigError, match="the bus test-bus is full with 2 devices"):
        qdev_realize(Uart(), bus)


def test_a_device_that_can_not_be_realized_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Uart) -> None:
        raise ConfigError("no room")

    monkeypatch.setattr(Uart, "realize", fail)
    bus, uart = TestBus(), Uart()
    with pytest.raises(ConfigError, match="no room"):
        qdev_realize(uart, bus)
    assert (uart.realized, uart.parent_bus, bus.devices) == (False, None, [])


def test_a_device_that_its_bus_can_not_attach_undoes_its_realize(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TestBus, device: Uart) -> None:
        raise ConfigError("no room")

    monkeypatch.setattr(TestBus, "attach", fail)
    bus, uart = TestBus(), Uart()
    with pytest.raises(ConfigError, match="no room"):
        qdev_realize(uart, bus)
    assert (uart.happened, uart.realized, bus.devices) == (["realize", "unrealize"], False, [])


def test_an_unrealized_device_is_out_of_bus_and_tree() -> None:
    root, bus, uart = Container(), TestBus(), Uart()
    root.add_child("uart", uart)
    qdev_realize(uart, bus)
    qdev_unrealize(uart)
    assert uart.happened == ["realize", "unrealize"]
    assert (root.children(), bus.devices, uart.realized) == ([], [], False)
    with pytest.raises(DeviceError, match="is not realized"):
        qdev_unrealize(uart)


def test_each_phase_of_a_reset_ends_for_all_before_the_next_begins() -> None:
    bus, record = TestBus(), []

    for name in ("first", "second"):
        uart = Uart(label=name)
        qdev_realize(uart, bus)

        class Log(list[Any]):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            def append(self, what: Any) -> None:
                record.append((what, self.name))

        uart.happened = Log(name)
    resettable_reset(bus)
    assert record == [(phase, name) for phase in ("enter", "hold", "exit") for name in ("first", "second")]


def test_a_device_alone_can_be_reset() -> None:
    uart = Uart()
    uart.reset()
    assert uart.happened == ["enter", "hold", "exit"]


def test_a_global_property_replaces_the_default_of_a_type_and_of_all_below_it() -> None:
    globals_ = GlobalProperties([GlobalProperty("test-device", "base", "0x400")])
    assert qdev_new("test-uart", globals_).get_property("base") == 0x400
    assert qdev_new("test-needy", globals_).get_property("base") == 0x400
    other = GlobalProperties([GlobalProperty("test-needy", "base", 0x500)])
    assert qdev_new("test-uart", other).get_property("base") == 0x100


def test_of_two_globals_the_later_counts_and_what_is_set_goes_before_both() -> None:
    globals_ = GlobalProperties([GlobalProperty("test-uart", "base", 1)])
    globals_.extend([GlobalProperty("test-device", "base", 2)])
    uart = qdev_new("test-uart", globals_)
    assert uart.get_property("base") == 2
    uart.set_property("base", 3)
    globals_.apply(uart)
    assert uart.get_property("base") == 3


def test_a_global_makes_a_missing_property_present() -> None:
    needy = qdev_new("test-needy", GlobalProperties([GlobalProperty("test-needy", "irq", 5)]))
    qdev_realize(needy, TestBus())
    assert needy.get_property("irq") == 5


@pytest.mark.parametrize(
    ("entry", "error", "text"),
    [
        (
            GlobalProperty("test-urat", "base", 1),
            ObjectTypeError,
            "'test-urat' is unknown, test-uart is right",
        ),
        (GlobalProperty("test-uart", "bsae", 1), PropertyError, "no property bsae, base is right"),
        (
            GlobalProperty("test-uart", "base", "x", "--global"),
            PropertyError,
            "--global: test-uart.base: x is not a number, a number from 0 to 0xffff is right",
        ),
    ],
)
def test_a_wrong_global_says_what_is_right(entry: GlobalProperty, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        GlobalProperties([entry]).check()


def test_a_device_is_made_by_name_and_nothing_else_is() -> None:
    assert type(qdev_new("test-needy")) is Needy
    with pytest.raises(ObjectTypeError, match="device 'container' is unknown"):
        qdev_new("container")
    with pytest.raises(ObjectTypeError, match="abstract"):
        qdev_new(TestDevice.type_name)
