"""The grammar of an option's value (QEMU's util/qemu-option.c): "first,key=value,flag".

A doubled comma stands for itself.
"""

from __future__ import annotations

from mpvm.abi.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What asks for a list instead of a value.
HELP = ("help", "?")
_SWITCHES = {
    "on": True,
    "yes": True,
    "true": True,
    "y": True,
    "off": False,
    "no": False,
    "false": False,
    "n": False,
}


def split(text: str) -> list[str]:
    """`text` at its commas; a doubled one stands for itself."""
    if ",," not in text:
        return text.split(",")
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


def pairs(text: str, first: str = "") -> Iterator[tuple[str, str]]:
    """The keys and values in `text`. The first may leave its key out, which is `first` then.

    A key alone is a switch: "flag" is on, "noflag" off.
    """
    for position, part in enumerate(split(text) if text else ()):
        key, equals, value = part.partition("=")
        if equals:
            yield key, value
        elif position == 0 and first:
            yield first, key
        elif key.startswith("no"):
            yield key[2:], "off"
        else:
            yield key, "on"


def parse(
    option: str, text: str, first: str = "", known: Mapping[str, object] | None = None
) -> dict[str, str]:
    """The same as a mapping, what comes later wins; raises `ConfigError` for a key that is not `known`."""
    found = dict(pairs(text, first))
    for key in found if known is not None else ():
        if key not in (known or ()):
            raise wrong(option, text, f"Invalid parameter '{key}'")
    return found


def switch(option: str, text: str, key: str, value: str) -> bool:
    """An on or off; raises `ConfigError`."""
    if value not in _SWITCHES:
        raise wrong(option, text, f"Parameter '{key}' expects 'on' or 'off'")
    return _SWITCHES[value]


def wants_help(text: str) -> bool:
    """Whether the value asks for help: "help", "?" or one of them among its parts."""
    return any(part in HELP for part in split(text))


def wrong(option: str, text: str | None, message: str) -> ConfigError:
    """The error that `message` is about `option` with the value `text`, as QEMU begins its own."""
    return ConfigError(f"{option}{'' if text is None else ' ' + text}: {message}")
