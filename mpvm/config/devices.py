"""Devices that a user adds, and global properties: checked against the types that there are.

A device is a mapping, `{driver: isa-serial, id: com2, iobase: 0x2f8}`, or the same as a text,
"isa-serial,id=com2,iobase=0x2f8", as QEMU's -device has it.
"""

from typing import TYPE_CHECKING, Any, Final

from mpvm.abi.errors import ConfigError
from mpvm.config.rules import BareError, Rule

if TYPE_CHECKING:
    from mpvm.config.chardevs import ChardevSpec
    from mpvm.config.types import Device, Global
    from mpvm.qom.properties import Property

# What every run of a test suite has: devices whose properties are numbers of 32 bits, by name. They are
# checked without an import of all that machines are made of, on which the vCPUs' processes would wait.
PLAIN: Final[dict[str, tuple[str, ...]]] = {
    "isa-debug-exit": ("iobase", "iosize"),
    "pc-testdev": (),
    "pci-testdev": (),
}
_SCALARS: Final = (str, int, float, bool)


def device() -> Rule:
    """One device of `devices`."""
    return Rule(_parse_device, "a device such as {driver: isa-serial, iobase: 0x2f8, irq: 3}")


def chardev_definition() -> Rule:
    """One chardev of `chardevs`."""

    def parse(value: object) -> "ChardevSpec":
        # Imported here: few configurations define chardevs.
        from mpvm.config.chardev_options import parse_definition

        return parse_definition(value)

    return Rule(parse, "a chardev such as {backend: stdio, id: console}")


def global_properties() -> Rule:
    """The mapping `globals`: "driver.property" to its new default."""
    return Rule(_parse_globals, "a section such as {isa-serial.irq: 4}")


def machine_type() -> Rule:
    """The name of a machine class, or its alias."""
    return Rule(_parse_machine_type, _machine_types)


def from_text(text: str) -> dict[str, str]:
    """The mapping that "driver,name=value,..." stands for; `ValueError` when it is none."""
    driver, *rest = text.split(",")
    found = {"driver": driver}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise ValueError(f"has {part!r} in it, name=value is right there")
        if name in found:
            raise ValueError(f"has {name} twice")
        found[name] = value
    return found


def _parse_device(value: object) -> "Device":
    from mpvm.config.types import Device

    given = from_text(value) if isinstance(value, str) else value
    if not isinstance(given, dict) or not isinstance(given.get("driver"), str) or not given["driver"]:
        raise ValueError("has no driver")
    properties = {name: item for name, item in given.items() if name not in ("driver", "id")}
    try:
        checked = (
            properties if _is_plain(given["driver"], properties) else _checked(given["driver"], properties)
        )
    except ConfigError as error:
        raise BareError(str(error)) from error
    name = given.get("id")
    if name is not None:
        # Imported here: few configurations name devices.
        from mpvm.qom.id import ID_RIGHT, id_wellformed

        if not (isinstance(name, str) and id_wellformed(name)):
            raise BareError(f"id: {name} is not a name, {ID_RIGHT} are right")
    return Device(driver=given["driver"], id=name, properties=tuple(checked.items()))


def _is_plain(driver: str, given: dict[str, object]) -> bool:
    """Whether this is right at first sight; what is not may be right all the same."""
    names = PLAIN.get(driver)
    return names is not None and all(name in names and _is_uint32(value) for name, value in given.items())


def _is_uint32(value: object) -> bool:
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            return False
    return type(value) is int and 0 <= value < 1 << 32


def _checked(driver: str, given: dict[str, object]) -> dict[str, Any]:
    """`given` with chardevs parsed; `ConfigError` for what the type `driver` does not take."""
    # The types of what machines are made of; any other is looked for further on.
    import mpvm.machine  # noqa: F401
    from mpvm.qom.object import no_property
    from mpvm.qom.properties import REQUIRED
    from mpvm.qom.qdev import user_creatable_class

    cls = user_creatable_class(driver)
    known: dict[str, Property[Any]] = dict(cls.class_properties)
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name == "bus":
            # No property: which bus of the machine it goes on, of which the machine knows.
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{driver}.bus: is no name, that of a bus such as pci.0 is right")
            checked[name] = value
            continue
        prop = known.get(name)
        if prop is None or prop.read_only:
            raise no_property(cls, name)
        checked[name] = _checked_value(prop, f"{driver}.{name}", value)
    for name, prop in known.items():
        if prop.default is REQUIRED and not prop.read_only and name not in checked:
            raise ConfigError(f"{driver}.{name}: missing, {prop.right} is right")
    return checked


def _checked_value(prop: "Property[Any]", where: str, value: object) -> Any:
    from mpvm.hw.char.chardev import CHARDEV_KIND

    if prop.kind == CHARDEV_KIND:
        return _checked_chardev(where, value)
    if not isinstance(value, _SCALARS):
        raise ConfigError(f"{where}: is not a single value, {prop.right} is right")
    prop.check(value, where)
    return value


def _checked_chardev(where: str, value: object) -> "ChardevSpec":
    from mpvm.config.chardevs import CHARDEV_RIGHT, REFERENCE, ChardevSpec
    from mpvm.config.rules import WholeError
    from mpvm.qom.id import id_wellformed

    try:
        return ChardevSpec.parse(value)
    except WholeError as error:
        text = str(error) if isinstance(error, BareError) else f"{value} {error}"
        raise ConfigError(f"{where}: {text}") from None
    except ValueError:
        # A bare name is a reference, as in QEMU's -device; whether there is one, is known when all is read.
        if isinstance(value, str) and id_wellformed(value):
            return ChardevSpec(REFERENCE, id=value)
        raise ConfigError(f"{where}: {value} is not accepted, {CHARDEV_RIGHT} is right") from None


def _parse_globals(value: object) -> "tuple[Global, ...]":
    import mpvm.machine  # noqa: F401
    from mpvm.config.types import Global
    from mpvm.qom.globals import GlobalProperties, GlobalProperty

    if not isinstance(value, dict):
        raise ValueError("is not a section")
    found = []
    for key, default in value.items():
        driver, dot, name = key.rpartition(".")
        if not dot:
            raise BareError(f"{key} is not driver.property, a key such as isa-serial.irq is right")
        if not isinstance(default, _SCALARS):
            raise BareError(f"{key}: is not a single value, a text, number or boolean is right")
        found.append(Global(driver=driver, property=name, value=default))
    try:
        GlobalProperties(GlobalProperty(each.driver, each.property, each.value) for each in found).check()
    except ConfigError as error:
        raise BareError(str(error)) from error
    return tuple(found)


def _parse_machine_type(value: object) -> str:
    from mpvm.machine import machine_class

    try:
        machine_class(str(value))
    except ConfigError:
        raise ValueError from None
    return str(value)


def _machine_types() -> str:
    from mpvm.machine import machine_names

    return " or ".join(machine_names())
