"""Answers to what wrappers ask before they run something: -help, -version and lists, in QEMU's shapes.

Each prints and raises `SystemExit`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import mpvm
from mpvm.cli.system import opts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mpvm.qom.qmp_cmds import PropertyInfo

# The version of QEMU whose command line, machine and messages these are.
QEMU_VERSION: Final = "7.2.0"
# What QEMU's newest PC is here.
_QEMU_PC: Final = f"pc-i440fx-{QEMU_VERSION.rpartition('.')[0]}"
# QEMU's names of the types of properties.
_TYPES: Final = {"chardev": "str"}
_NAME_WIDTH: Final = 22
_HELP_INDENT: Final = " " * 16
_WIDTH: Final = 78


def version() -> NoReturn:
    """The line that parsers look for: three words, then QEMU's version, then who it really is."""
    _answer(_version())


def _version() -> list[str]:
    return [
        f"QEMU emulator version {QEMU_VERSION} (mpvm {mpvm.__version__}, QEMU-compatible)",
        "mpvm: an x86 SMP virtual machine whose every vCPU is a process",
    ]


def usage() -> NoReturn:
    """All options."""
    from mpvm.cli.system.options import SECTIONS

    lines = [*_version(), "usage: mpvm-system-x86_64 [options]", "", "A QEMU-compatible command line."]
    for heading, options in SECTIONS.items():
        lines += ["", f"{heading}:"]
        for option in options:
            lines.append(f"-{option.name} {option.argument}".rstrip())
            lines += [_HELP_INDENT + row for row in option.help.split("\n") if row]
    _answer([*lines, "", "docs/system.md says what differs from QEMU."])


def machine_help(name: str) -> NoReturn:
    """The machines; with a `name` that is one of theirs the properties that -machine has."""
    from mpvm.machine import MACHINE_SUFFIX, machine_class, machine_names

    if name not in opts.HELP:
        from mpvm.cli.system.board import MACHINE_PROPERTIES

        cls = machine_class(name)
        rows = [f"  {f'{key}=<{kind}>':<{_NAME_WIDTH}} - {text}" for key, kind, text in MACHINE_PROPERTIES]
        _answer([f"{cls.type_name} options:", *rows])
    lines = ["Supported machines are:"]
    for each in machine_names():
        cls = machine_class(each)
        real = cls.type_name.removesuffix(MACHINE_SUFFIX)
        suffix = f" (alias of {real})" if each == cls.alias else " (default)" if cls.is_default else ""
        lines.append(f"{each:<20} {cls.description}{suffix}")
        if each == cls.alias and cls.is_default:
            lines.append(f"{_QEMU_PC:<20} {cls.description} (alias of {real})")
    _answer(lines)


def accel_help() -> NoReturn:
    """The accelerators, by QEMU's names."""
    _answer(["Accelerators supported in QEMU binary:", "tcg", "kvm"])


def cpu_help() -> NoReturn:
    """The CPU models and the names of features."""
    import textwrap

    from mpvm.cpu.features import FEATURES
    from mpvm.cpu.models import SPECIAL_MODELS, defined_model, model_names

    lines = ["Available CPUs:"]
    for name, stands_for in sorted(model_names(), key=lambda each: (each[0] in SPECIAL_MODELS, each[0])):
        if stands_for is not None:
            text = f"(alias of {stands_for})"
        else:
            text = SPECIAL_MODELS.get(name) or defined_model(name).model_id
        lines.append(f"x86 {name:<20}  {text}".rstrip())
    flags = textwrap.wrap(" ".join(sorted(FEATURES)), _WIDTH, break_on_hyphens=False)
    _answer([*lines, "", "Recognized CPUID flags:", *(f"  {row}" for row in flags), ""])


def device_help(option: str, value: str, driver: str) -> NoReturn:
    """The devices by heading, or the properties of `driver`."""
    if driver not in opts.HELP:
        _properties_help(option, value, driver)
    from mpvm.cli.system import device_list

    lines: list[str] = []
    for heading, devices in device_list.by_heading():
        lines += [*([""] if lines else []), f"{heading} devices:"]
        for name, bus, text in devices:
            desc = f', desc "{text}"' if text else ""
            lines.append(f'name "{name}"{f", bus {bus}" if bus else ""}{desc}')
    _answer(lines)


def _properties_help(option: str, text: str, driver: str) -> NoReturn:
    from mpvm.abi.errors import ConfigError
    from mpvm.qom import qmp_cmds
    from mpvm.qom.qdev import user_creatable_class

    try:
        user_creatable_class(driver)
    except ConfigError as error:
        raise opts.wrong(option, text, f"'{driver}' is not a valid device model name") from error
    rows = [
        _property(prop)
        for prop in qmp_cmds.qom_list_properties(driver)
        if not prop.read_only and not prop.type.startswith("link<")
    ]
    _answer([f"{driver} options:", *rows] if rows else [f"There are no options for {driver}."])


def _property(prop: PropertyInfo) -> str:
    text = f"  {f'{prop.name}=<{_TYPES.get(prop.type, prop.type)}>':<{_NAME_WIDTH}} - {prop.description}"
    if prop.required or prop.default is None:
        return text.rstrip()
    return f"{text} (default: {_shown(prop.default)})"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def keys_help(name: str, kind: str, keys: Iterable[str]) -> NoReturn:
    """The keys of an option that has no list of its own."""
    _answer([f"{name} options:", *(f"  {key}=<{kind}>" for key in sorted(keys))])


def chardev_help() -> NoReturn:
    """The backends."""
    _answer(["Available chardev backend types: ", *(f"  {name}" for name in _BACKENDS)])


_BACKENDS: Final = ("stdio", "pipe", "null", "socket", "file", "pty")


def display_help() -> NoReturn:
    """The displays."""
    _answer(["Available display backend types:", "none"])


def log_help() -> NoReturn:
    """The log's categories."""
    from mpvm.trace.log import LOG_ITEMS

    rows = [f"{name:<15} {text}" for name, (_item, text) in LOG_ITEMS.items()]
    trace = f"{'trace:PATTERN':<15} enable trace events"
    _answer(
        [
            "Log items (comma separated):",
            *rows,
            trace,
            "",
            'Use "-d trace:help" to get a list of trace events.',
            "",
        ]
    )


def trace_help() -> NoReturn:
    """The trace events."""
    from mpvm.trace.events import EVENTS

    _answer([event.name for event in EVENTS.values()])


def _answer(lines: Sequence[str]) -> NoReturn:
    print("\n".join(lines))
    sys.exit(0)
