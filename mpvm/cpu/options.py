"""What a user writes for a CPU, in QEMU's grammar: "Haswell,+x2apic,-rtm,stepping=3,enforce"."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from mpvm.abi.errors import ConfigError
from mpvm.cpu.features import ALIASES, FEATURES
from mpvm.cpu.models import find_model


class CpuOptions(NamedTuple):
    """What a text asks for: a model, features on or off, values of properties.

    `check` is to warn of what can't be had, `enforce` to refuse it.
    """

    model: str
    features: dict[str, bool]
    properties: dict[str, Any]
    check: bool = True
    enforce: bool = False


def parse_cpu(text: str) -> CpuOptions:
    """The options in "max,+x2apic,-aes,erms=on,stepping=3,enforce".

    Raises `ConfigError` for what is no model, feature or property, and for a value that is out of range.
    """
    name, *changes = (part.strip() for part in text.split(","))
    model = find_model(name)
    features: dict[str, bool] = {}
    properties: dict[str, Any] = {}
    flags = {"check": True, "enforce": False}
    for change in changes:
        key, equals, value = change.partition("=")
        if key[:1] in ("+", "-"):
            _set_feature(features, key[1:] + equals + value, key[0] == "+")
        elif key in flags:
            flags[key] = _on_or_off(change, value) if equals else True
        elif key in _PROPERTIES or key.replace("_", "-") in _PROPERTIES:
            key = key.replace("_", "-")
            properties[key.replace("-", "_")] = _PROPERTIES[key](key, value)
        elif key.replace("_", "-") in _WITHOUT_EFFECT:
            _on_or_off(change, value if equals else "on")
        else:
            _set_feature(features, key, _on_or_off(change, value) if equals else True)
    return CpuOptions(model, features, properties, flags["check"], flags["enforce"])


def _set_feature(features: dict[str, bool], text: str, on: bool) -> None:
    name = _feature(text)
    if features.get(name, on) is not on:
        raise ConfigError(f"cpu.model: {name!r} is both added and removed; one of them is right")
    features[name] = on


def _feature(text: str) -> str:
    """The feature that a user calls `text`."""
    name = text.lower().replace("_", "-")
    name = ALIASES.get(name, name)
    if name not in FEATURES:
        import difflib  # only here: a start that goes well does without it

        near = difflib.get_close_matches(name, [*FEATURES, *_PROPERTIES, "enforce", "check"], n=3)
        hint = f"{' or '.join(near)} is" if near else "names as in QEMU's are"
        raise ConfigError(f"cpu.model: {text!r} is no CPU feature or property; {hint} right")
    return name


_SWITCHES: Final = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


def _on_or_off(change: str, value: str) -> bool:
    if value not in _SWITCHES:
        raise ConfigError(f"cpu.model: {change!r} is no switch; on or off is right")
    return _SWITCHES[value]


# QEMU's properties of how much of its host's KVM shows through, of which there is nothing here; and the
# switches of Hyper-V's interface that its TCG takes and does not have.
_HYPER_V: Final = (
    "apicv avic crash emsr-bitmap enforce-cpuid evmcs frequencies ipi passthrough reenlightenment relaxed "
    "reset runtime stimer stimer-direct syndbg synic time tlbflush tlbflush-direct tlbflush-ext vapic "
    "xmm-input"
)
_WITHOUT_EFFECT: Final = frozenset(
    ("host-phys-bits", "kvm", "migratable", *(f"hv-{name}" for name in _HYPER_V.split()))
)


def _number(low: int, high: int) -> Callable[[str, str], int]:
    def parse(key: str, value: str) -> int:
        try:
            number = int(value, 0)
        except ValueError:
            number = -1
        if not low <= number <= high:
            raise ConfigError(
                f"cpu.model: {key}={value} is out of range; a number from {low} to {high} is right"
            )
        return number

    return parse


def _vendor(key: str, value: str) -> str:
    if len(value) != 12 or not value.isascii():
        raise ConfigError(f"cpu.model: {key}={value} is no vendor; 12 characters are right")
    return value


def _model_id(key: str, value: str) -> str:
    if len(value) > 48 or not value.isascii():
        raise ConfigError(f"cpu.model: {key}={value} is too long; 48 characters at most are right")
    return value


# What a user may set beside features; the value's parser.
_PROPERTIES: Final[dict[str, Callable[[str, str], Any]]] = {
    "family": _number(0, 0xFF + 0xF),
    "model": _number(0, 0xFF),
    "stepping": _number(0, 0xF),
    "level": _number(0, 0x1F),
    "xlevel": _number(0, 0x8000001F),
    "phys-bits": _number(32, 52),
    "vendor": _vendor,
    "model-id": _model_id,
    "l3-cache": lambda key, value: _on_or_off(f"{key}={value}", value),
}
