"""Options of devices: -device, -global, -fw_cfg, -rtc."""

from __future__ import annotations

from mpvm.cli.system import opts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mpvm.cli.system.command_line import CommandLine


def device(line: CommandLine, option: str, text: str) -> None:
    """-device [driver=]DRIVER[,property=value...]."""
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        given = dict(opts.pairs(text, "driver"))
        probes.device_help(option, text, given["driver"])
    line.add("devices", [opts.parse(option, text, "driver")], option, text)


def global_property(line: CommandLine, option: str, text: str) -> None:
    """-global DRIVER.PROPERTY=VALUE, or driver=DRIVER,property=PROPERTY,value=VALUE."""
    name, equals, value = text.partition("=")
    driver, dot, name = name.partition(".")
    if not (equals and dot) or driver == "driver":
        given = opts.parse(option, text, known={"driver": None, "property": None, "value": None})
        for key in ("driver", "property", "value"):
            if key not in given:
                raise opts.wrong(option, text, f"Invalid parameter '{key}', DRIVER.PROPERTY=VALUE is right")
        driver, name, value = given["driver"], given["property"], given["value"]
    line.put("globals", f"{driver}.{name}", value, option, text)


def drop_unknown_globals(line: CommandLine, warn: Callable[[str], None]) -> None:
    """Leave out defaults for devices that there are none of here; QEMU warns of them and goes on."""
    given = line.values.get("globals", {})
    assert isinstance(given, dict)
    if not given:
        return

    import mpvm.machine  # noqa: F401 - the types of what machines are made of; any other is looked for
    from mpvm.abi.errors import ObjectTypeError
    from mpvm.qom.type_info import object_class_by_name

    for key in list(given):
        try:
            object_class_by_name(key.rpartition(".")[0])
        except ObjectTypeError:
            del given[key]
            warn(f"global {key} has invalid class name")


def fw_cfg(line: CommandLine, option: str, text: str) -> None:
    """-fw_cfg [name=]NAME,file=FILE or -fw_cfg [name=]NAME,string=TEXT."""
    given = opts.parse(option, text, "name", {"name": None, "file": None, "string": None})
    if "name" not in given or len(given) != 2:
        raise opts.wrong(option, text, "name, plus exactly one of file and string, are needed")
    line.add("fw_cfg", [given], option, text)


def rtc(line: CommandLine, option: str, text: str) -> None:
    """-rtc [base=utc|localtime|DATE][,clock=host|rt|vm][,driftfix=none|slew]."""
    keys = ("base", "clock", "driftfix")
    if opts.wants_help(text):
        from mpvm.cli.system import probes

        probes.keys_help("rtc", "str", keys)
    for key, value in opts.parse(option, text, known=dict.fromkeys(keys)).items():
        line.set(f"rtc.{key}", value, option, text)
