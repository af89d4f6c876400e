"""Devices and global properties in a configuration: checked against the types, before anything starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.config import ChardevSpec, Config, Device, Global, Override, load_config
from mpvm.config import devices as rules
from mpvm.config.chardevs import STDIO
from mpvm.qom.properties import REQUIRED
from mpvm.qom.qdev import user_creatable_class

WriteConfig = Callable[[str], Path]
MakeConfig = Callable[..., Config]

COM2 = {"driver": "isa-serial", "id": "com2", "iobase": 0x2F8, "irq": 3, "chardev": "file:log"}


def test_a_device_has_a_driver_a_name_and_properties(machine_config: MakeConfig, tmp_path: Path) -> None:
    (device,) = machine_config(devices=[COM2]).devices
    log = ChardevSpec("file", tmp_path / "log")
    properties = (("chardev", log), ("iobase", 0x2F8), ("irq", 3))
    assert device == Device(driver="isa-serial", id="com2", properties=properties)


def test_a_text_is_as_good_as_a_section(machine_config: MakeConfig) -> None:
    (device,) = machine_config(devices=["isa-debugcon,iobase=0x402,chardev=null"]).devices
    assert device.driver == "isa-debugcon"
    assert dict(device.properties) == {"iobase": "0x402", "chardev": ChardevSpec("null")}


def test_globals_are_by_driver_and_property(machine_config: MakeConfig) -> None:
    config = machine_config(globals={"isa-serial.irq": 5, "fw_cfg_io.dma_enabled": False})
    assert config.globals == (
        Global(driver="fw_cfg_io", property="dma_enabled", value=False),
        Global(driver="isa-serial", property="irq", value=5),
    )


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        ([{"driver": "isa-serail"}], "devices[0]: device 'isa-serail' is unknown, isa-serial is right"),
        (
            [COM2, {"driver": "isa-pit"}],
            "devices[1]: device 'isa-pit' is for boards alone, edu or intel-iommu or isa-",
        ),
        ([{"driver": "isa-device"}], "devices[0]: device 'isa-device' is for boards alone, isa-"),
        ([{"driver": "container"}], "devices[0]: device 'container' is unknown"),
        (
            [{"id": "x"}],
            "has no driver, a device such as {driver: isa-serial, iobase: 0x2f8, irq: 3} is right",
        ),
        ([5], "devices[0]: 5 has no driver"),
        ([{**COM2, "iobsae": 1}], "devices[0]: isa-serial: there is no property iobsae, iobase is right"),
        ([{**COM2, "realized": True}], "devices[0]: isa-serial: there is no property realized"),
        ([{**COM2, "irq": "many"}], "isa-serial.irq: many is not a number, a number from 0 to 0xffffffff is"),
        ([{**COM2, "irq": [1]}], "isa-serial.irq: is not a single value, a number from 0 to"),
        ([{**COM2, "chardev": "/tty"}], "isa-serial.chardev: /tty is not accepted, stdio, null, file:PATH"),
        ([{**COM2, "chardev": "tty"}], "devices[0].chardev: there is no chardev tty, an id of one in"),
        ([{**COM2, "id": "a/b"}], "id: a/b is not a name, a letter, then letters"),
        ([COM2, COM2], "devices[1].id: there are two com2, one is right"),
        (["isa-serial,iobase"], "has 'iobase' in it, name=value is right there"),
        (["isa-serial,irq=1,irq=2"], "has irq twice"),
        ([{**COM2, "chardev": "stdio"}], "stdio is taken by serial[0] already, null or file:PATH is right"),
        (
            [{**COM2, "chardev": "file:/absent/x"}],
            "can't be made, file:PATH in a folder that exists is right",
        ),
    ],
)
def test_a_device_that_can_not_be_is_named_with_what_is_right(
    machine_config: MakeConfig, devices: list[Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        machine_config(devices=devices)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("globals_", "text"),
    [
        ({"irq": 5}, "globals: irq is not driver.property, a key such as isa-serial.irq is right"),
        ({"isa-serail.irq": 5}, "globals: global driver 'isa-serail' is unknown, isa-serial is right"),
        ({"isa-serial.iqr": 5}, "globals: isa-serial: there is no property iqr, irq is right"),
        ({"isa-serial.irq": -1}, "globals: isa-serial.irq: -1 is out of range, a number from 0 to"),
        ({"isa-serial.irq": None}, "globals: isa-serial.irq: is not a single value"),
        ([1], "is not a section, a section such as {isa-serial.irq: 4} is right"),
    ],
)
def test_a_global_that_can_not_be_is_named_with_what_is_right(
    machine_config: MakeConfig, globals_: Any, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        machine_config(globals=globals_)
    assert text in str(caught.value)


def test_the_command_line_adds_to_the_files_devices_and_globals(
    write_config: WriteConfig, guest: Path
) -> None:
    path = write_config(
        f"boot: {{kernel: {guest}}}\ndevices:\n  - {{driver: isa-debugcon}}\n"
        "globals: {isa-serial.irq: 5, isa-serial.iobase: 1}\n"
    )
    added = Override("devices", ["isa-debug-exit,iobase=0x501"], "--device", adds=True)
    default = Override("globals", {"isa-serial.irq": "6"}, "--global", adds=True)
    config = load_config(path, [added, default])
    assert [device.driver for device in config.devices] == ["isa-debugcon", "isa-debug-exit"]
    assert [each.value for each in config.globals] == ["6", 1]


def test_a_wrong_device_is_named_by_where_it_came_from(write_config: WriteConfig, guest: Path) -> None:
    path = write_config(f"boot: {{kernel: {guest}}}\ndevices:\n  - {{driver: isa-debugcno}}\n")
    good = Override("devices", ["isa-debug-exit"], "--device", adds=True)
    with pytest.raises(ConfigError, match=r"machine.yaml:3: devices\[0\]: device 'isa-debugcno'"):
        load_config(path, [good])
    path = write_config(f"boot: {{kernel: {guest}}}\ndevices:\n  - {{driver: isa-debugcon}}\n")
    with pytest.raises(ConfigError, match=r"^--device: device 'nothing' is unknown"):
        load_config(path, [Override("devices", ["nothing"], "--device", adds=True)])


def test_a_remembered_device_is_the_validated_one(
    write_config: WriteConfig, guest: Path, tmp_path: Path
) -> None:
    path = write_config(
        f"boot: {{kernel: {guest}}}\nserial: []\nglobals: {{i440FX.subsystem-id: 0x42}}\n"
        "devices:\n  - {driver: isa-serial, id: com2, iobase: 0x2f8, chardev: stdio}\n"
    )
    assert load_config(path) == load_config(path)
    assert load_config(path).devices[0].chardevs() == {"chardev": STDIO}


@pytest.mark.parametrize("driver", rules.PLAIN)
def test_what_is_checked_without_its_type_is_as_the_type_has_it(driver: str) -> None:
    cls = user_creatable_class(driver)
    settable = {name: prop for name, prop in cls.class_properties.items() if not prop.read_only}
    for name in rules.PLAIN[driver]:
        assert settable[name].kind == "uint32"
    assert not any(prop.default is REQUIRED for prop in settable.values())


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (0xF4, True),
        ("0xf4", True),
        ("244", True),
        ("0xg", False),
        ("-1", False),
        (1 << 32, False),
        (True, False),
    ],
)
def test_a_number_of_32_bits_is_right_at_first_sight(value: object, plain: bool) -> None:
    given = {"driver": "isa-debug-exit", "iobase": value}
    checked = []

    def check(driver: str, properties: dict[str, object]) -> dict[str, object]:
        checked.append(driver)
        return properties

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "_checked", check)
        device = rules._parse_device(given)
    assert device.properties == (("iobase", value),)
    assert checked == ([] if plain else ["isa-debug-exit"])
