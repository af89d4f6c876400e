"""Devices and buses (QEMU's include/hw/qdev-core.h).

Life of a device: `qdev_new`, properties set, a place in the composition tree, `qdev_realize` on a bus, any
number of resets, and `qdev_unrealize` for one that goes before its machine does.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from mpvm.abi.errors import ConfigError, DeviceError, ObjectTypeError, PropertyError
from mpvm.qom import properties
from mpvm.qom.globals import GlobalProperties
from mpvm.qom.object import Object
from mpvm.qom.properties import REQUIRED
from mpvm.qom.resettable import Resettable, resettable_reset
from mpvm.qom.type_info import (
    instantiate,
    object_class_by_name,
    object_class_get_list,
    register_type,
)


@register_type("bus", abstract=True, description="what devices are plugged into")
class Bus(Object, Resettable):
    """Base of all buses. `limit` is how many devices fit, None for any number."""

    limit: ClassVar[int | None] = None

    def instance_init(self) -> None:
        """No device yet."""
        self.devices: list[Device] = []

    def plug(self, device: "Device") -> None:
        """`device` is about to be realized here; `ConfigError` when it has no room."""
        if self.limit is not None and len(self.devices) == self.limit:
            raise ConfigError(
                f"{device.type_name}: the bus {self.type_name} is full with {self.limit} devices"
            )
        self.devices.append(device)

    def attach(self, device: "Device") -> None:
        """`device` has been realized: connect it. Raises what makes that impossible."""

    def detach(self, device: "Device") -> None:
        """`device` is about to leave: disconnect it."""

    def unplug(self, device: "Device") -> None:
        """`device` has been unrealized, or could not be realized."""
        self.devices.remove(device)

    def reset_children(self) -> Iterable[Resettable]:
        """The devices on it, in the order in which they came."""
        return self.devices

    def reset(self) -> None:
        """All three phases, for the devices on it."""
        resettable_reset(self)


@register_type("device", abstract=True, description="a part of a machine")
class Device(Object, Resettable):
    """Base of all devices.

    A device is a state machine: it does no I/O of its own, starts no thread and knows neither the
    coordinator nor a process; what it needs of the world it has from its bus and its properties.
    """

    # The type of the bus that it goes on, None for none.
    bus_type: ClassVar[str | None] = None
    # Whether `devices:` and --device may have it.
    user_creatable: ClassVar[bool] = False
    # Whether it may come and go while the machine runs.
    hotpluggable: ClassVar[bool] = False

    parent_bus = properties.link("bus", "the bus that it is plugged into", name="parent_bus")
    _realized = False

    @properties.computed("bool", "whether it is part of the running machine")
    def realized(self) -> bool:
        """Whether it is part of the running machine."""
        return self._realized

    @properties.computed("bool", "whether it may come and go while the machine runs", name="hotpluggable")
    def _hotpluggable(self) -> bool:
        """Whether it may come and go while the machine runs."""
        return type(self).hotpluggable

    @property
    def settled(self) -> bool:
        """Realizing settles the properties."""
        return self._realized

    def realize(self) -> None:
        """Take up work: claim ports and lines from the bus. Raises what makes that impossible."""

    def unrealize(self) -> None:
        """Undo `realize`: let go of lines, timers and back ends."""

    def reset(self) -> None:
        """All three phases, for this device and what is below it alone."""
        resettable_reset(self)

    def state(self) -> dict[str, Any]:
        """Everything `load` needs, as plain msgpack-able values (what QEMU's vmsd lists)."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, on a device of the same type and properties."""


def qdev_new(type_name: str, globals_: GlobalProperties | None = None) -> Device:
    """A new device of the type, its defaults as `globals_` have them; `ObjectTypeError` for what is none."""
    device: Device = instantiate(object_class_by_name(type_name, "device", "device"))
    if globals_ is not None:
        globals_.apply(device)
    return device


def qdev_realize(device: Device, bus: Bus | None = None) -> None:
    """Plug `device` into `bus` and let it take up work. It is as before when that fails."""
    if device.realized:
        raise DeviceError(f"{device}: is realized already")
    if device.bus_type is not None and not (bus is not None and bus.is_a(device.bus_type)):
        raise ConfigError(f"{device.type_name}: needs a bus of type {device.bus_type}, this machine has none")
    check_required(device)
    if bus is not None:
        bus.plug(device)
        device.property_values[Device.parent_bus.name] = bus
    try:
        device.realize()
        try:
            if bus is not None:
                bus.attach(device)
        except BaseException:
            device.unrealize()
            raise
    except BaseException:
        _leave(device)
        raise
    device._realized = True


def qdev_unrealize(device: Device) -> None:
    """Take `device` out of its bus and the composition tree."""
    if not device.realized:
        raise DeviceError(f"{device}: is not realized")
    if device.parent_bus is not None:
        device.parent_bus.detach(device)
    device.unrealize()
    device._realized = False
    _leave(device)
    device.unparent()


def check_required(device: Device) -> None:
    """Raise `PropertyError` for a property that must be set and is not."""
    for prop in device.class_properties.values():
        if prop.default is REQUIRED and not prop.read_only and prop.name not in device.property_values:
            raise PropertyError(f"{prop.where(device)}: missing, {prop.right} is right")


def _leave(device: Device) -> None:
    bus = device.parent_bus
    if bus is not None:
        bus.unplug(device)
        device.property_values[Device.parent_bus.name] = None


def user_creatable_class(driver: str) -> type[Device]:
    """The type `driver`; `ObjectTypeError` when there is none, or when it is a board's alone."""
    cls: type[Device] = object_class_by_name(driver, "device", "device")
    if cls.abstract or not cls.user_creatable:
        import difflib

        names = [each.type_name for each in object_class_get_list("device") if each.user_creatable]
        right = difflib.get_close_matches(driver, names, n=1) or names
        raise ObjectTypeError(f"device {driver!r} is for boards alone, {' or '.join(right)} is right")
    return cls
