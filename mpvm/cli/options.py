"""The options of `mpvm run`, and what they override in the configuration."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mpvm.abi.errors import ConfigError
from mpvm.config import Override


class _Option(NamedTuple):
    flag: str
    key: str
    metavar: str
    help: str


_OPTIONS = (
    _Option("--name", "name", "NAME", "the guest's name, for other commands of mpvm"),
    _Option("--kernel", "boot.kernel", "FILE", "kernel image, or builtin:smp"),
    _Option("--initrd", "boot.initrd", "FILE", "initial RAM disk"),
    _Option("--append", "boot.append", "TEXT", "the kernel's command line"),
    _Option("--protocol", "boot.protocol", "NAME", "auto, linux, multiboot, elf or flat"),
    _Option("--machine", "machine.type", "NAME", "a machine class such as pc or microvm; `help` lists them"),
    _Option(
        "--smp",
        "machine.smp",
        "N",
        "number of vCPUs, 1 to 64; also N,sockets=,dies=,cores=,threads=,maxcpus=",
    ),
    _Option("--memory", "machine.memory", "SIZE", "guest memory, such as 512M or 2G"),
    _Option("--accel", "machine.accel", "NAME", "unicorn or kvm, or several to try as kvm:unicorn"),
    _Option(
        "--cpu", "cpu.model", "MODEL", "a model and changes as in Haswell,-rtm,enforce; `help` lists them"
    ),
    _Option(
        "--cpuset", "cputune.cpuset", "LIST", "the host's CPUs for the vCPUs that have no pin, such as 0-3,6"
    ),
    _Option("--nice", "cputune.nice", "N", "niceness of the vCPUs' processes, -20 to 19"),
    _Option("-D", "logfile", "FILE", "where the log of -d and --trace goes, in the place of stderr"),
    _Option("--debugcon", "debugcon", "CHARDEV", "where port 0xe9 goes: null, stdio or file:PATH"),
    _Option("--qmp", "qmp", "unix:PATH", "a socket for QMP clients"),
    _Option("--symbols", "symbols", "FILE", "name the blocks of --perfmap by this System.map"),
    _Option("--timeout", "timeout", "SECONDS", "end with status 124 after this time"),
)
_TRACE_ITEM = "trace:"
# Beside --device: what `help` lists the values of.
_LISTING = ("machine.type", "machine.accel", "cpu.model")
_NUMBERS = frozenset({"machine.smp", "machine.memory", "cputune.nice", "timeout"})


class RunArguments(NamedTuple):
    """What the command line of `mpvm run` says. `json` is a file's name, "-" for stdout, None for no JSON."""

    config: Path | None
    overrides: list[Override]
    quiet: bool
    json: str | None


class Parser(argparse.ArgumentParser):
    """Argument errors as `ConfigError`, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        """Raise it."""
        hint = f"`{self.prog} --help` lists what is right"
        if unknown := re.fullmatch(r"unrecognized arguments: (\S+).*", message):
            import difflib

            given = unknown[1].partition("=")[0]
            nearest = difflib.get_close_matches(given, self._option_string_actions, n=1)
            hint = f"{nearest[0]} is right" if nearest else hint
            message = f"{given}: unknown argument"
        raise ConfigError(f"{message.removeprefix('argument ')}, {hint}")


def parse(argv: Sequence[str]) -> RunArguments:
    """`argv` of `mpvm run`; `ConfigError` for what is not an option, `SystemExit` after --help."""
    # argparse can't tell an option's optional value from the next argument: only --json=FILE has one.
    words = ["--json=-" if word == "--json" else word for word in argv]
    found = vars(_parser().parse_args(words))
    _answer_help(found)
    overrides = [
        Override(option.key, _value(option.key, found[option.key]), option.flag)
        for option in _OPTIONS
        if found[option.key] is not None
    ]
    if found["serial"] is not None:
        overrides.append(Override("serial", found["serial"], "--serial"))
    if found["device"]:
        overrides.append(Override("devices", found["device"], "--device", adds=True))
    if found["global"]:
        defaults = dict(_global(text) for text in found["global"])
        overrides.append(Override("globals", defaults, "--global", adds=True))
    for key in ("no_reboot", "isa_debug_exit", "perfmap"):
        if found[key]:
            overrides.append(Override(key, True, f"--{key.replace('_', '-')}"))
    overrides += _log_overrides(found["d"] or [], found["trace"] or [])
    config = found["config"]
    if config is None and found["boot.kernel"] is None and found["machine.type"] != "none":
        raise ConfigError(
            "a configuration is missing: `mpvm run FILE.yaml` or `mpvm run --kernel FILE` is right"
        )
    return RunArguments(
        None if config is None else Path(config), overrides, quiet=found["quiet"], json=found["json"]
    )


def _log_overrides(items: Sequence[str], patterns: Sequence[str]) -> list[Override]:
    """What -d and --trace, each a list of words that commas part, make of the keys `log` and `trace`."""
    words = [word for item in items for word in item.split(",")]
    log = [word for word in words if not word.startswith(_TRACE_ITEM)]
    trace = [word.removeprefix(_TRACE_ITEM) for word in words if word.startswith(_TRACE_ITEM)]
    if "help" in log:
        _list_log_items()
    origin = "--trace" if patterns else "-d"
    trace += [word for pattern in patterns for word in pattern.split(",")]
    if "help" in trace:
        _list_trace_events()
    overrides = []
    if log:
        overrides.append(Override("log", log, "-d"))
    if trace:
        overrides.append(Override("trace", trace, origin))
    return overrides


def _list_log_items() -> NoReturn:
    from mpvm.trace.log import LOG_ITEMS

    for name, (_item, text) in LOG_ITEMS.items():
        print(f"{name:<13} {text}")
    print("trace:PATTERN the trace events that --trace PATTERN stands for")
    raise SystemExit(0)


def _list_trace_events() -> NoReturn:
    from mpvm.trace.events import EVENTS

    for event in EVENTS.values():
        print(f"{event.group:<8} {event.name:<23} {event.description}: {', '.join(event.arguments)}")
    raise SystemExit(0)


def _answer_help(found: dict[str, Any]) -> None:
    """What QEMU's `-machine help`, `-accel help` and so on do, and `NAME,help`; `SystemExit` then."""
    given = [(key, found[key]) for key in _LISTING] + [("device", text) for text in found["device"] or ()]
    for option, text in given:
        if text is None or not (text == "help" or text.endswith(",help")):
            continue
        from mpvm.cli import types

        for line in types.help_on(option, text.removesuffix("help").removesuffix(",")):
            print(line)
        raise SystemExit(0)


def _global(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--global: {text} has no value, driver.property=value is right")
    return key, value


def _value(key: str, text: str) -> object:
    """`text` as YAML would read it for `key`; what is no number stays a text for the schema to refuse."""
    if key not in _NUMBERS:
        return text
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _formatter(prog: str) -> argparse.HelpFormatter:
    """argparse makes one for each option, too, and would import shutil for each to learn the width."""
    try:
        columns = int(os.environ["COLUMNS"]) if "COLUMNS" in os.environ else os.get_terminal_size().columns
    except (ValueError, OSError):
        columns = 80
    return argparse.HelpFormatter(prog, width=columns - 2)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="mpvm run",
        formatter_class=_formatter,
        description="Run a virtual machine; its serial line is this terminal. Ctrl-A h shows the keys.",
        epilog="An option goes before the same key in FILE. Exit statuses: docs/exit-status.md.",
        allow_abbrev=False,
    )
    parser.add_argument("config", nargs="?", metavar="FILE", help="YAML configuration")
    for option in _OPTIONS:
        parser.add_argument(option.flag, dest=option.key, metavar=option.metavar, help=option.help)
    parser.add_argument(
        "--serial",
        action="append",
        metavar="CHARDEV",
        help="a serial line's stdio, null or file:PATH; repeatable",
    )
    parser.add_argument(
        "-d", action="append", metavar="ITEMS", help="log these categories, -d help lists them; repeatable"
    )
    parser.add_argument(
        "--trace", action="append", metavar="PATTERN", help="trace these events, --trace help lists them"
    )
    parser.add_argument(
        "--device",
        action="append",
        metavar="DRIVER[,PROP=VALUE...]",
        help="add a device; `mpvm types` lists them; repeatable",
    )
    parser.add_argument(
        "--global",
        action="append",
        metavar="DRIVER.PROP=VALUE",
        help="another default for all devices of a type; repeatable",
    )
    parser.add_argument("--daemonize", action="store_true", help="come back when it runs, in the background")
    parser.add_argument("--no-reboot", action="store_true", help="end where the guest asks for a reset")
    parser.add_argument("--isa-debug-exit", action="store_true", help="port 0xf4 ends with (value << 1) | 1")
    parser.add_argument("--perfmap", action="store_true", help="name translated code for perf(1)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary on stderr")
    parser.add_argument(
        "--json", metavar="-|FILE", help="the summary as JSON, to stdout after the console or --json=FILE"
    )
    return parser
