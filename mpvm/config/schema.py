"""Validation by pydantic, and its errors as lines that say what would be right.

Imports pydantic, which takes longer than all the rest of a start; `mpvm.config.cache` spares most runs of it.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mpvm.config import types
from mpvm.config.keys import Key
from mpvm.config.rules import BareError, Section

# What a key takes whose value is not a single one, and what is missing where a key has no default.
_RIGHT = {
    "dict_type": "is not a section, {keys} are right below it",
    "tuple_type": "is not a list, a list such as [stdio] is right",
    "finite_number": "is out of range, a finite number is right",
}
_MISSING = {
    "path": "missing, the path of a module is right",
    "name": "missing, a name such as opt/org.example/x is right",
    "vcpu": "missing, the index of a vCPU is right",
    "cpuset": "missing, a list of the host's CPUs such as 0-3,6 is right",
}
_SECTIONS: dict[str, Any] = {
    "": types.Config,
    "machine": types.Machine,
    "cpu": types.Cpu,
    "cputune": types.CpuTune,
    "vcpupin": types.VcpuPin,
    "boot": types.Boot,
    "modules": types.Module,
    "action": types.Action,
    "rtc": types.Rtc,
    "fw_cfg": types.FwCfgItem,
}
_SHOWN = 60
_CONFIG: Final[TypeAdapter[types.Config]] = TypeAdapter(Annotated[types.Config, Section()])


class Problem(NamedTuple):
    """One thing that is wrong: at `key`, and what would be right."""

    key: Key
    text: str


def validate(data: Mapping[str, Any]) -> types.Config | list[Problem]:
    """The configuration in `data` (JSON types), or everything that is wrong with it."""
    # pydantic's strict mode takes lists for tuples only when they come as JSON.
    text = json.dumps(data)
    try:
        return _CONFIG.validate_json(text)
    except ValidationError as error:
        return [_problem(details) for details in error.errors(include_url=False)]


def keys_of(section: Key) -> list[str]:
    """The keys that the section at `section` has."""
    names = [part for part in section if isinstance(part, str)]
    known = _SECTIONS[names[-1] if names else ""]
    return list(known._fields)


def _problem(details: ErrorDetails) -> Problem:
    key: Key = details["loc"]
    kind = details["type"]
    if kind == "extra_forbidden":
        return Problem(key, _unknown(key))
    if kind == "missing":
        return Problem(key, _MISSING[str(key[-1])])
    if kind == "value_error":
        error = details["ctx"]["error"]
        text = str(error)
        if isinstance(error, BareError):
            return Problem(key, text.encode("unicode_escape").decode("ascii"))
    else:
        text = _RIGHT.get(kind, "is not accepted: " + details["msg"])
        text = text.format(keys=", ".join(keys_of(key)) if kind == "dict_type" else "")
    return Problem(key, f"{shown(details['input'])} {text}")


def _unknown(key: Key) -> str:
    keys = keys_of(key[:-1])
    nearest = difflib.get_close_matches(str(key[-1]).lower(), keys, n=1)
    hint = f"{nearest[0]} is right" if nearest else f"right here are {', '.join(keys)}"
    return f"unknown key, {hint}"


def shown(value: object) -> str:
    """`value` as in the file, cut to a few words."""
    text = value if isinstance(value, str) and value else json.dumps(value)
    text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
