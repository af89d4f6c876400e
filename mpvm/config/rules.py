"""What a configuration value may be: parsers that pydantic calls, each with the text of what is right.

A `Rule` is metadata of a field in `mpvm.config.types`. It gives pydantic a validator only when one is asked
for, so that the module which declares the fields does not import pydantic.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from mpvm.abi.errors import ConfigError
from mpvm.abi.layout import MAX_VCPUS
from mpvm.cpu.topology import Topology, topology

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}

MEMORY_UNIT = 4096
MEMORY_MIN = 1 << 20
MEMORY_MAX = 512 << 30


class WholeError(ValueError):
    """A problem that says itself what would be right."""


class BareError(WholeError):
    """One that names the value itself, too."""


class Rule:
    """A field's parser and its description: `parse` raises `ValueError` for what is not `right`.

    `right` is a function where what is right has to be looked up.
    """

    def __init__(self, parse: Callable[[Any], Any], right: str | Callable[[], str]) -> None:
        self.parse = parse
        self.right = right

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> "CoreSchema":
        """The validator pydantic puts into its schema (its protocol for custom types)."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.check)

    def check(self, value: object) -> object:
        """The parsed `value`; `ValueError` with what is wrong and what would be right."""
        try:
            return self.parse(value)
        except WholeError:
            raise
        except ValueError as error:
            right = self.right if isinstance(self.right, str) else self.right()
            raise ValueError(f"{str(error) or 'is not accepted'}, {right} is right") from None


class Section:
    """What a field takes that is a named tuple: a mapping with that one's fields for keys, and no others."""

    def __get_pydantic_core_schema__(self, section: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """The validator pydantic puts into its schema (its protocol for custom types)."""
        from pydantic_core import core_schema

        defaults = section._field_defaults
        fields = {
            name: core_schema.typed_dict_field(handler.generate_schema(hint), required=name not in defaults)
            for name, hint in get_type_hints(section, include_extras=True).items()
        }
        mapping = core_schema.typed_dict_schema(fields, strict=True, extra_behavior="forbid")
        return core_schema.no_info_after_validator_function(lambda given: section(**given), mapping)


def _wrong(problem: str = "") -> ValueError:
    return ValueError(problem)


def integer(low: int, high: int) -> Rule:
    """An integer from `low` to `high`; neither a bool nor a text."""

    def parse(value: object) -> int:
        if type(value) is not int:
            raise _wrong("is not an integer")
        if not low <= value <= high:
            raise _wrong("is out of range")
        return value

    return Rule(parse, f"an integer from {low} to {high}")


def optional_integer(low: int, high: int) -> Rule:
    """The same, or nothing."""
    number = integer(low, high)
    return Rule(lambda value: None if value is None else number.parse(value), number.right)


# What `machine.smp` is where there need be no vCPU; whether there must be one, the machine class says.
NO_VCPUS = {"cpus": 0}
_SMP_LEVELS = ("cpus", "maxcpus", "sockets", "dies", "cores", "threads")


def _parse_smp(value: object) -> Topology:
    """A number of vCPUs, a section, or both as QEMU's -smp has them: "4,sockets=2,maxcpus=8"."""
    section: dict[str, object] = {}
    if isinstance(value, dict):
        section = value
    elif type(value) is int:
        section = {"cpus": value}
    elif isinstance(value, str):
        for position, part in enumerate(value.split(",")):
            key, equals, number = part.strip().partition("=")
            if not equals and position == 0:
                key, number = "cpus", key
            if key in section:
                raise _wrong(f"has {key} twice")
            section[key] = int(number) if number.isdecimal() else number
    else:
        raise _wrong("is not an integer")
    for name, count in section.items():
        subject = "" if section.keys() == {"cpus"} else f"has {name} "
        if name not in _SMP_LEVELS:
            raise WholeError(f"has an unknown key {name}, {', '.join(_SMP_LEVELS)} are right")
        if type(count) is not int:
            raise _wrong(f"{subject}not an integer" if subject else "is not an integer")
        if not 1 <= count <= MAX_VCPUS and section != NO_VCPUS:
            raise _wrong(f"{subject}out of range" if subject else "is out of range")
    if section == NO_VCPUS:
        return Topology(0, 0, 0, 0, 0, 0)
    try:
        return topology(**section)  # type: ignore[arg-type]
    except ConfigError as error:
        raise WholeError(f"can't be: {error}") from error


def smp() -> Rule:
    """vCPUs, and how they are arranged in sockets, dies, cores and threads."""
    return Rule(_parse_smp, f"an integer from 1 to {MAX_VCPUS}")


def one_of(*names: str, absent: tuple[str, ...] = ()) -> Rule:
    """One of `names`; those in `absent` are known and refused as not here yet."""

    def parse(value: object) -> str:
        if value in absent:
            raise _wrong("is not supported yet")
        if value not in names:
            raise _wrong()
        return str(value)

    return Rule(parse, " or ".join(names))


def list_of_names(*names: str) -> Rule:
    """One or more of `names`, parted by colons, none twice."""

    def parse(value: object) -> str:
        parts = value.split(":") if isinstance(value, str) else []
        if not parts or not names_of.issuperset(parts):
            raise _wrong()
        if len(set(parts)) < len(parts):
            raise _wrong("has one twice")
        return str(value)

    names_of = frozenset(names)
    return Rule(parse, f"{' or '.join(names)}, or several as {':'.join(reversed(names))},")


def trace_pattern() -> Rule:
    """The name of a trace event or of a group of them, with * and ?."""

    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise _wrong("is not a text")
        # Imported here: only a run that traces has a pattern.
        from mpvm.abi.errors import ConfigError
        from mpvm.trace.control import find_events

        try:
            find_events(value)
        except ConfigError:
            raise _wrong("matches no trace event") from None
        return value

    return Rule(parse, "startup, or what `mpvm run --trace help` lists,")


def _parse_size(value: object) -> int:
    if type(value) is int:
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        size = int(match[1]) << _UNITS[match[2].upper()]
    else:
        raise _wrong("is not a size")
    if size < MEMORY_MIN and size != 0:
        raise _wrong("is too small")
    if size > MEMORY_MAX:
        raise _wrong("is too large")
    if size % MEMORY_UNIT:
        raise _wrong(f"is not a multiple of {MEMORY_UNIT} bytes")
    return size


def memory_size() -> Rule:
    """Guest memory: bytes, or a number with K, M, G or T (powers of 1024)."""
    return Rule(_parse_size, "a size from 1M to 512G such as 512M or 2G")


def seconds() -> Rule:
    """A time in seconds, more than 0, or nothing for no limit."""

    def parse(value: object) -> float | None:
        if value is None:
            return None
        if type(value) not in (int, float):
            raise _wrong("is not a number")
        assert isinstance(value, int | float)
        if not math.isfinite(value) or value <= 0:
            raise _wrong("is out of range")
        return float(value)

    return Rule(parse, "a number of seconds above 0")


_CPU_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)


def _parse_cpuset(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if type(value) is int and value >= 0:
        return (value,)
    if not isinstance(value, str):
        raise _wrong("is not a list of CPUs")
    cpus: set[int] = set()
    for part in value.split(","):
        if not (match := _CPU_RANGE.fullmatch(part.strip())):
            raise _wrong("is not a list of CPUs")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise _wrong("has a range that ends before it begins")
        cpus.update(range(first, last + 1))
    return tuple(sorted(cpus))


def cpuset() -> Rule:
    """CPUs of the host in the list format of cpuset(7), sorted; nothing for all that mpvm may use."""
    return Rule(_parse_cpuset, "a list of the host's CPUs such as 0-3,6")


def some_cpuset() -> Rule:
    """The same, and not nothing."""

    def parse(value: object) -> tuple[int, ...]:
        cpus = _parse_cpuset(value)
        if cpus is None:
            raise _wrong("is not a list of CPUs")
        return cpus

    return Rule(parse, "a list of the host's CPUs such as 0-3,6")


def _parse_path(value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise _wrong("is not a path")
    return Path(value)


def path(what: str) -> Rule:
    """The path of `what`."""
    return Rule(_parse_path, f"the path of {what}")


def optional_path(what: str) -> Rule:
    """The path of `what`, or nothing."""
    return Rule(lambda value: None if value is None else _parse_path(value), f"the path of {what}")


def text(what: str) -> Rule:
    """A string without NUL (YAML reads an unquoted `on` or `1` as something else)."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or "\0" in value:
            raise _wrong("is not a text")
        return value

    return Rule(parse, f"{what} in quotes")


def optional_text(what: str) -> Rule:
    """The same, or nothing."""
    whole = text(what)
    return Rule(lambda value: None if value is None else whole.parse(value), whole.right)


# docs/specs/fw_cfg.rst: 56 bytes with the NUL
_FW_CFG_NAME_MAX = 55


def fw_cfg_name() -> Rule:
    """The name of a file in fw_cfg's directory."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
            raise _wrong("is not a name")
        if len(value) > _FW_CFG_NAME_MAX:
            raise _wrong("is too long")
        return value

    return Rule(parse, f"1 to {_FW_CFG_NAME_MAX} ASCII characters such as opt/org.example/x")


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


def uuid() -> Rule:
    """A UUID in its usual form, or nothing."""

    def parse(value: object) -> str | None:
        if value is not None and not (isinstance(value, str) and _UUID.fullmatch(value)):
            raise _wrong("is not a UUID")
        return value

    return Rule(parse, "a text such as 12345678-1234-5678-9abc-123456789abc")


_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}(T\d{1,2}:\d{1,2}:\d{1,2})?", re.ASCII)


def rtc_base() -> Rule:
    """What a real-time clock starts from: utc, localtime or a date, which is UTC."""

    def parse(value: object) -> str:
        if value in ("utc", "localtime"):
            return str(value)
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            raise _wrong("is not a date")
        # Imported here: few machines have a date of their own.
        from mpvm.config.dates import unix_seconds

        unix_seconds(value)
        return value

    return Rule(parse, "utc, localtime or a date such as 2006-06-17T16:01:21 or 2006-06-17")


def socket() -> Rule:
    """unix:PATH as a path, or nothing."""

    def parse(value: object) -> Path | None:
        if value is None:
            return None
        if not isinstance(value, str) or not value.startswith("unix:") or "\0" in value:
            raise _wrong("is not a socket")
        return _parse_path(value.removeprefix("unix:"))

    return Rule(parse, "unix:PATH")


def flag() -> Rule:
    """A YAML boolean."""

    def parse(value: object) -> bool:
        if not isinstance(value, bool):
            raise _wrong("is not a boolean")
        return value

    return Rule(parse, "true or false")
