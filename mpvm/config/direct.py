"""Validation without pydantic, of what is right: the rules of `mpvm.config.types` applied one by one.

pydantic and what it builds take longer to load than all the rest of a start, and a command line that no run
has had before is in no cache. What is wrong is for pydantic to tell (`mpvm.config.schema`): here it is only
"not so".
"""

from collections.abc import Mapping
from typing import Any, get_args

from mpvm.config import types
from mpvm.config.rules import Rule, Section


def validate(data: Mapping[str, Any]) -> types.Config | None:
    """The configuration in `data` (JSON types); None when something in it is not right."""
    try:
        config = _section(types.Config, data)
    except (ValueError, TypeError, KeyError):
        return None
    assert isinstance(config, types.Config)
    return config


def _section(section: Any, data: object) -> Any:
    """The named tuple `section` of the mapping `data`; KeyError, TypeError or ValueError when it is none."""
    if not isinstance(data, dict):
        raise TypeError
    hints = section.__annotations__
    return section(**{key: _value(hints[key], value) for key, value in data.items()})


def _value(hint: Any, value: object) -> Any:
    for rule in getattr(hint, "__metadata__", ()):
        if isinstance(rule, Rule):
            return rule.parse(value)
        if isinstance(rule, Section):
            return _section(hint.__origin__, value)
    # All else are lists: tuple[X, ...].
    if not isinstance(value, list):
        raise TypeError
    item = get_args(hint)[0]
    return tuple(_value(item, each) for each in value)
