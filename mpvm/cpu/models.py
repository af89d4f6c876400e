"""CPU models: vendor, version and features by name, and a user's changes to them.

What `max` is, and why. Its features are all that the engine executes (QEMU 5.0's TCG, target/i386: the
masks TCG_* in cpu.c, and what translate.c and its helpers do) but for those that make it slower
(`ERMS` selects byte-wise string loops, which are the engine's slowest), that nobody asks for
(3DNow!, SSE4A, the AMD form of CR8), or that it has in name only (`MONITOR` never waits, `PCOMMIT` is gone
from the architecture, `MPX` and `SVM` are left to a later time).

Its vendor is Intel since only there Linux takes the TSC's frequency from leaf 0x15 instead of
measuring it against the PIT for tens of milliseconds. Its version is that of an in-order core
(family 6, model 0x36, the first Atoms' last): Linux has such cores on its list of CPUs that do not
speculate, which is true of an engine that translates, and leaves out page-table isolation and
retpolines. These could protect nothing here: how translated code is speculated on is up to the
host's code, not to the guest's. Of the MSRs that Linux touches on such a CPU the worker has
IA32_MISC_ENABLE and IA32_BIOS_SIGN_ID, and Linux takes the #GP of the others (IA32_FEAT_CTL,
MSR_PLATFORM_INFO) for their absence; IA32_ARCH_CAPABILITIES is one of these, so its flag is off.
"""

from typing import Final, NamedTuple

from mpvm.abi.errors import ConfigError
from mpvm.abi.layout import FEATURE_WORDS
from mpvm.cpu.features import ALIASES, AMD_ALIASED_FEATURES, FEATURES, REQUIRES, FeatureWord

VENDOR_INTEL: Final = "GenuineIntel"
VENDOR_AMD: Final = "AuthenticAMD"


def _named(names: str) -> frozenset[str]:
    return frozenset(names.split())


# What the engine's translator and the worker around it can do.
ENGINE_FEATURES: Final = _named(
    "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss"
    " pni pclmulqdq ssse3 cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave rdrand hypervisor"
    " fsgsbase bmi1 smep bmi2 erms adx smap clflushopt clwb pku"
    " syscall nx mmxext pdpe1gb rdtscp lm 3dnowext 3dnow lahf-lm cr8legacy abm sse4a 3dnowprefetch"
    " tsc-adjust invtsc xsaveopt xgetbv1 arat"
)

# What the machine adds to whatever CPU: it is virtual, its local APIC has x2APIC mode and a TSC-deadline
# timer that never stops, and its TSC runs at one rate and can be adjusted.
PLATFORM_FEATURES: Final = _named("hypervisor apic x2apic tsc-deadline tsc-adjust arat invtsc")

_MAX_LEAVES_OUT: Final = _named("erms 3dnow 3dnowext mmxext sse4a cr8legacy")

# XSAVE state components (SDM vol. 1, 13.1), and the feature that each comes with.
XSTATE_X87, XSTATE_SSE, XSTATE_PKRU = 0, 1, 9


class CpuModel(NamedTuple):
    """A CPU as CPUID describes it. `level` and `xlevel` are the highest basic and extended leaves."""

    name: str
    vendor: str
    family: int
    model: int
    stepping: int
    level: int
    xlevel: int
    model_id: str
    features: frozenset[str]

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
        return 1 << XSTATE_X87 | 1 << XSTATE_SSE | ("pku" in self.features) << XSTATE_PKRU

    def word(self, word: FeatureWord) -> int:
        """The value of one feature word."""
        return feature_words(self)[word]


MODELS: Final = {
    model.name: model
    for model in (
        CpuModel(
            name="max",
            vendor=VENDOR_INTEL,
            family=6,
            model=0x36,
            stepping=1,
            level=0x16,
            xlevel=0x80000008,
            model_id="mpvm max CPU",
            features=ENGINE_FEATURES - _MAX_LEAVES_OUT,
        ),
        # QEMU's, as of 7.2, without SVM, plus what every CPU of ours has.
        CpuModel(
            name="qemu64",
            vendor=VENDOR_AMD,
            family=15,
            model=107,
            stepping=1,
            level=0xD,
            xlevel=0x80000008,
            model_id="mpvm qemu64 CPU",
            features=PLATFORM_FEATURES
            | _named(
                "fpu de pse tsc msr pae mce cx8 sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2"
                " pni cx16 syscall nx lm lahf-lm"
            ),
        ),
    )
}
DEFAULT_MODEL: Final = "max"


def resolve_model(text: str, supported: frozenset[str] = ENGINE_FEATURES) -> CpuModel:
    """The model that `text` names: "max", "qemu64,+popcnt,-x2apic".

    Removing a feature removes those that need it. Raises `ConfigError` for an unknown model or feature,
    for one that is not `supported`, and for one without that it needs.
    """
    name, *changes = (part.strip() for part in text.split(","))
    if name not in MODELS:
        raise ConfigError(f"cpu.model: {name!r} is no CPU model; {' or '.join(MODELS)} is right")
    added, removed = set[str](), set[str]()
    for change in changes:
        feature = _feature(change)
        (added if change[0] == "+" else removed).add(feature)
    features = (MODELS[name].features | added) - removed
    for feature in sorted(added):
        if feature not in supported:
            raise ConfigError(f"cpu.model: the engine has no {feature!r}; leave out +{feature}")
        if feature in removed:
            raise ConfigError(f"cpu.model: {feature!r} is both added and removed; one of them is right")
        needed = REQUIRES.get(feature)
        if needed is not None and needed not in features:
            raise ConfigError(
                f"cpu.model: {feature!r} needs {needed!r}; add +{needed} or leave out +{feature}"
            )
    return MODELS[name]._replace(features=_without_orphans(features))


def feature_words(model: CpuModel) -> list[int]:
    """The model's feature words in the engine's order, `FEATURE_WORDS` of them."""
    words = [0] * FEATURE_WORDS
    for name in model.features:
        feature = FEATURES[name]
        words[feature.word] |= feature.mask
    if model.vendor == VENDOR_AMD:
        for name in model.features.intersection(AMD_ALIASED_FEATURES):
            words[FeatureWord.CPUID_8000_0001_EDX] |= FEATURES[name].mask
    words[FeatureWord.XSAVE_COMPONENTS_LO] = model.xsave_components & 0xFFFFFFFF
    words[FeatureWord.XSAVE_COMPONENTS_HI] = model.xsave_components >> 32
    return words


def _feature(change: str) -> str:
    """The feature that "+name" or "-name" is about."""
    if change[:1] not in ("+", "-"):
        raise ConfigError(f"cpu.model: {change!r} is no change of a feature; +name or -name is right")
    name = change[1:].lower().replace("_", "-")
    name = ALIASES.get(name, name)
    if name not in FEATURES:
        import difflib  # only here: a start that goes well does without it

        near = difflib.get_close_matches(name, FEATURES, n=3)
        hint = f"{' or '.join(near)} is" if near else "names as in QEMU's are"
        raise ConfigError(f"cpu.model: {change[1:]!r} is no CPU feature; {hint} right")
    return name


def _without_orphans(features: frozenset[str]) -> frozenset[str]:
    """`features` less those that need one which is not there."""
    kept = frozenset(name for name in features if REQUIRES.get(name, name) in features)
    return kept if kept == features else _without_orphans(kept)
