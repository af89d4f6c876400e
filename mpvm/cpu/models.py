"""CPU models: what one is, and those of the table by name and version."""

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mpvm.abi.errors import ConfigError
from mpvm.abi.feature_words import FEATURE_WORDS, FeatureWord
from mpvm.cpu.features import AMD_ALIASED_FEATURES, FEATURES, WORD_SOURCES

if TYPE_CHECKING:
    from mpvm.cpu.table import Definition

DEFAULT_MODEL: Final = "max"
VENDOR_INTEL: Final = "GenuineIntel"
AMD_VENDORS: Final = ("AuthenticAMD", "HygonGenuine")

# Models that are not data: what the accelerator has, what the host has, and nothing.
SPECIAL_MODELS: Final = {
    "max": "all that the accelerator does well",
    "host": "the host's CPU, as far as the accelerator can be it",
    "base": "no features at all",
}

# XSAVE state components (SDM vol. 1, 13.1), and the feature that each comes with.
XSTATE_FEATURES: Final = (
    *((0, "xsave"), (1, "xsave"), (2, "avx"), (3, "mpx"), (4, "mpx")),
    *((5, "avx512f"), (6, "avx512f"), (7, "avx512f"), (9, "pku")),
)


class CpuModel(NamedTuple):
    """A CPU as CPUID describes it. `level` and `xlevel` are the highest basic and extended leaves.

    `unavailable` has every feature that was asked for and is not there, with the reason.
    """

    name: str
    vendor: str
    family: int
    model: int
    stepping: int
    level: int
    xlevel: int
    model_id: str
    features: frozenset[str]
    caches: str = "legacy"
    l3_cache: bool = True
    phys_bits: int = 40
    unavailable: tuple[tuple[str, str], ...] = ()
    check: bool = True

    @property
    def signature(self) -> int:
        """CPUID.1:EAX (SDM vol. 2, figure 3-6)."""
        family, extended = min(self.family, 15), max(self.family - 15, 0)
        return extended << 20 | self.model >> 4 << 16 | family << 8 | (self.model & 15) << 4 | self.stepping

    @property
    def xsave_components(self) -> int:
        """The bits that XCR0 may have."""
        if "xsave" not in self.features:
            return 0
        return sum(1 << bit for bit, feature in XSTATE_FEATURES if feature in self.features)

    @property
    def is_amd(self) -> bool:
        """Whether AMD's leaves describe it."""
        return self.vendor in AMD_VENDORS

    @property
    def warning(self) -> str | None:
        """One line about what was asked for and is not there; None when there is nothing to say."""
        if not self.unavailable or not self.check:
            return None
        return f"CPU {self.name}: {reasons(self.unavailable)}; `mpvm cpu show` says more"

    def word(self, word: FeatureWord) -> int:
        """The value of one feature word."""
        return feature_words(self)[word]


def find_model(name: str) -> str:
    """`name`, an alias as what it stands for: a special model, "NAME" or "NAME-vN". Raises `ConfigError`."""
    if name in SPECIAL_MODELS:
        return name
    from mpvm.cpu.table import DEFINITIONS

    base, _, version = name.rpartition("-v")
    if name in DEFINITIONS:
        return name
    if base in DEFINITIONS and version in map(str, range(1, len(DEFINITIONS[base].versions) + 2)):
        return name
    aliases = _aliases()
    if name in aliases:
        return aliases[name]
    import difflib

    known = [*SPECIAL_MODELS, *DEFINITIONS, *aliases]
    folded = {one.lower(): one for one in known}
    near = [folded[one] for one in difflib.get_close_matches(name.lower(), folded, n=2)]
    right = f"{' or '.join(near)} is right" if near else "`mpvm cpu list` lists what is right"
    raise ConfigError(f"cpu.model: {name!r} is no CPU model; {right}")


def model_names() -> list[tuple[str, str | None]]:
    """Every name there is, with the versioned one it stands for, None where it stands for itself."""
    from mpvm.cpu.table import DEFINITIONS

    names: list[tuple[str, str | None]] = [(name, None) for name in SPECIAL_MODELS]
    for name, definition in DEFINITIONS.items():
        names.append((name, f"{name}-v1"))
        for number in range(1, len(definition.versions) + 2):
            names.append((f"{name}-v{number}", None))
            alias = definition.versions[number - 2].alias if number > 1 else None
            if alias is not None:
                names.append((alias, f"{name}-v{number}"))
    return names


def defined_model(name: str) -> CpuModel:
    """The table's model of a name that `find_model` gives, whatever accelerators can do."""
    from mpvm.cpu.table import DEFINITIONS

    base, _, version = name.rpartition("-v")
    if base not in DEFINITIONS:
        base, version = name, "1"
    definition = DEFINITIONS[base]
    # All CPUs of ours are virtual, and say so.
    features = {"hypervisor"}.union(*(names.split() for names in definition.words.values()))
    model = _first_version(name, definition)
    for later in definition.versions[: int(version) - 1]:
        model = model._replace(model_id=later.model_id or model.model_id)
        for change in later.changes.split():
            if change[0] == "+":
                features.add(change[1:])
            elif change[0] == "-":
                features.discard(change[1:])
            else:
                key, _, value = change.partition("=")
                changed: dict[str, Any] = {key: int(value, 0)}
                model = model._replace(**changed)
    return model._replace(features=frozenset(features))


def feature_words(model: CpuModel) -> list[int]:
    """The model's feature words in the engine's order, `FEATURE_WORDS` of them."""
    words = [0] * FEATURE_WORDS
    for name in model.features:
        feature = FEATURES[name]
        words[feature.word] |= feature.mask
    if model.is_amd:
        for name in model.features.intersection(AMD_ALIASED_FEATURES):
            words[FeatureWord.CPUID_8000_0001_EDX] |= FEATURES[name].mask
    words[FeatureWord.XSAVE_COMPONENTS_LO] = model.xsave_components & 0xFFFFFFFF
    words[FeatureWord.XSAVE_COMPONENTS_HI] = model.xsave_components >> 32
    return words


def sorted_features(names: Set[str]) -> list[str]:
    """Features by word and bit."""
    return sorted(names, key=lambda name: FEATURES[name])


def by_word(names: Set[str]) -> dict[FeatureWord, list[str]]:
    """Features by word, in the order of their bits."""
    words: dict[FeatureWord, list[str]] = {}
    for name in sorted_features(names):
        words.setdefault(FEATURES[name].word, []).append(name)
    return words


def _first_version(name: str, definition: "Definition") -> CpuModel:
    return CpuModel(
        name=name,
        vendor=definition.vendor,
        family=definition.family,
        model=definition.model,
        stepping=definition.stepping,
        level=definition.level,
        xlevel=definition.xlevel,
        model_id=definition.model_id,
        features=frozenset(),
        caches=definition.caches,
    )


def _aliases() -> dict[str, str]:
    return {name: stands_for for name, stands_for in model_names() if stands_for is not None}


def reasons(unavailable: Sequence[tuple[str, str]]) -> str:
    """One line: what lacks a feature of its own, then what the accelerator can't do, by feature word."""
    parts = [f"{name} {reason}" for name, reason in unavailable if reason.startswith("needs ")]
    lacking = {name for name, reason in unavailable if not reason.startswith("needs ")}
    if lacking:
        accelerator = next(reason for name, reason in unavailable if name in lacking)
        words = [f"{' '.join(names)} ({WORD_SOURCES[word]})" for word, names in by_word(lacking).items()]
        parts.append(f"{accelerator} doesn't support {', '.join(words)}")
    return ", ".join(parts)
