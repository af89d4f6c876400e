"""From what a user asks for to a CPU that an accelerator can be.

The order of things is QEMU's: a model of the table first, then what the accelerator switches on or off in
every model, then the user's changes; what needs a feature that is not there goes with it, the levels rise to
what the features need, and what the accelerator can't do is left out.
"""

from typing import TYPE_CHECKING, Final

from mpvm.abi.errors import ConfigError
from mpvm.abi.feature_words import FeatureWord
from mpvm.cpu.features import FEATURES, REQUIRES
from mpvm.cpu.models import VENDOR_INTEL, CpuModel, defined_model, reasons, sorted_features
from mpvm.cpu.options import CpuOptions, parse_cpu

if TYPE_CHECKING:
    from mpvm.accel.base import Accelerator

# The leaf that a CPU must have to say something of a feature word, or of what comes with a feature.
_LEVELS: Final = {
    FeatureWord.CPUID_6_EAX: 6,
    FeatureWord.CPUID_7_0_EBX: 7,
    FeatureWord.CPUID_7_0_ECX: 7,
    FeatureWord.CPUID_7_0_EDX: 7,
    FeatureWord.CPUID_7_1_EAX: 7,
    FeatureWord.CPUID_D_1_EAX: 0xD,
    FeatureWord.CPUID_8000_0001_EDX: 0x80000001,
    FeatureWord.CPUID_8000_0001_ECX: 0x80000001,
    FeatureWord.CPUID_8000_0007_EDX: 0x80000007,
    FeatureWord.CPUID_8000_0008_EBX: 0x80000008,
}
_LEVELS_OF_FEATURES: Final = {"xsave": 0xD, "svm": 0x8000000A}


def resolve_model(text: str | CpuOptions, accelerator: "Accelerator") -> CpuModel:
    """The CPU that `text` asks for, as `accelerator` can be it.

    Raises `ConfigError` for what `parse_cpu` refuses, and with `enforce` for a feature that can't be had.
    """
    options = parse_cpu(text) if isinstance(text, str) else text
    model = _starting_point(options.model, accelerator)
    features = model.features | {name for name, on in options.features.items() if on}
    features -= {name for name, on in options.features.items() if not on}
    unavailable = [
        (name, f"needs {REQUIRES[name]}")
        for name, on in options.features.items()
        if on and name in REQUIRES and REQUIRES[name] not in features
    ]
    features = _without_orphans(features)
    model = model._replace(**options.properties)
    if accelerator.phys_bits not in (None, model.phys_bits):
        raise ConfigError(
            f"cpu.model: {accelerator.name} has no phys-bits={model.phys_bits};"
            f" phys-bits={accelerator.phys_bits} is right"
        )
    model = _raise_levels(model, features, options)
    supported = accelerator.supported_features()
    unavailable += [(name, accelerator.name) for name in sorted_features(features - supported)]
    if unavailable and options.enforce:
        raise ConfigError(f"cpu.model: {reasons(unavailable)}; without them, or without enforce, is right")
    return model._replace(
        name=options.model,
        features=_without_orphans(features & supported),
        unavailable=tuple(unavailable),
        check=options.check,
    )


def _starting_point(name: str, accelerator: "Accelerator") -> CpuModel:
    if name == "max":
        return accelerator.max_model()
    if name == "host":
        from mpvm.cpu.host import host_model

        return accelerator.host_model(host_model())
    if name == "base":
        return CpuModel("base", VENDOR_INTEL, 0, 0, 0, 0, 0x80000000, "", frozenset())
    model = defined_model(name)
    default = accelerator.default_features
    features = model.features.union(feature for feature, on in default.items() if on)
    return model._replace(features=features.difference(feature for feature, on in default.items() if not on))


def _raise_levels(model: CpuModel, features: frozenset[str], options: CpuOptions) -> CpuModel:
    """`model` with leaves enough for `features`, where the user has not said how many there are."""
    words = {FEATURES[name].word for name in features}
    needed = [level for word, level in _LEVELS.items() if word in words]
    needed += [level for feature, level in _LEVELS_OF_FEATURES.items() if feature in features]
    if "level" not in options.properties:
        basic = [level for level in needed if level < 0x80000000]
        model = model._replace(level=max([model.level, *basic]))
    if "xlevel" not in options.properties:
        extended = [level for level in needed if level >= 0x80000000]
        model = model._replace(xlevel=max([model.xlevel, *extended]))
    return model


def _without_orphans(features: frozenset[str]) -> frozenset[str]:
    """`features` less those that need one which is not there."""
    kept = frozenset(name for name in features if REQUIRES.get(name, name) in features)
    return kept if kept == features else _without_orphans(kept)
