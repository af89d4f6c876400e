"""CPU models, their feature words, and what a user may change."""

import re
import subprocess
from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.abi.layout import FEATURE_WORDS
from mpvm.cpu.features import FEATURES, REQUIRES, FeatureWord
from mpvm.cpu.models import (
    DEFAULT_MODEL,
    ENGINE_FEATURES,
    MODELS,
    PLATFORM_FEATURES,
    feature_words,
    resolve_model,
)

# Sections of GCC's <cpuid.h>, by the comments above them.
GCC_SECTIONS = {
    ("", "%ecx"): FeatureWord.CPUID_1_ECX,
    ("", "%edx"): FeatureWord.CPUID_1_EDX,
    ("0x80000001", "%ecx"): FeatureWord.CPUID_8000_0001_ECX,
    ("0x80000001", "%edx"): FeatureWord.CPUID_8000_0001_EDX,
    ("7", "%ebx"): FeatureWord.CPUID_7_0_EBX,
    ("7", "%ecx"): FeatureWord.CPUID_7_0_ECX,
    ("7", "%edx"): FeatureWord.CPUID_7_0_EDX,
    ("0xd, %ecx == 1", ""): FeatureWord.CPUID_D_1_EAX,
}
GCC_NAMES = {
    "sse3": "pni",
    "pclmul": "pclmulqdq",
    "cmpxchg16b": "cx16",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "rdrnd": "rdrand",
    "cmpxchg8b": "cx8",
    "fxsave": "fxsr",
    "lahf_lm": "lahf-lm",
    "prfchw": "3dnowprefetch",
    "3dnowp": "3dnowext",
    "bmi": "bmi1",
    "sha": "sha-ni",
    "avx512vpopcntdq": "avx512-vpopcntdq",
    "avx5124vnniw": "avx512-4vnniw",
    "avx5124fmaps": "avx512-4fmaps",
}


def gcc_bits() -> dict[str, tuple[FeatureWord, int]]:
    command = ["gcc", "-print-file-name=include/cpuid.h"]
    header = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    leaf, register, bits = "", "", {}
    for line in Path(header).read_text().splitlines():
        if match := re.match(r"/\* .*\(%eax == (.*?)\)", line):
            leaf, register = match[1], ""
        elif match := re.match(r"/\* (%e[a-d]x)\s+\*/", line):
            register = match[1]
        elif match := re.match(r"#define bit_(\w+)\s+\(1u? << (\d+)\)", line):
            word = GCC_SECTIONS.get((leaf, register))
            name = match[1].lower()
            name = GCC_NAMES.get(name, name)
            if word is not None and name in FEATURES:
                bits[name] = (word, int(match[2]))
    return bits


def test_features_are_where_gcc_has_them() -> None:
    bits = gcc_bits()
    assert len(bits) > 50
    assert {name: tuple(FEATURES[name]) for name in bits} == bits


@pytest.mark.parametrize(
    ("name", "word", "bit"),
    [
        ("apic", FeatureWord.CPUID_1_EDX, 9),
        ("sep", FeatureWord.CPUID_1_EDX, 11),
        ("ss", FeatureWord.CPUID_1_EDX, 27),
        ("monitor", FeatureWord.CPUID_1_ECX, 3),
        ("pcid", FeatureWord.CPUID_1_ECX, 17),
        ("x2apic", FeatureWord.CPUID_1_ECX, 21),
        ("tsc-deadline", FeatureWord.CPUID_1_ECX, 24),
        ("hypervisor", FeatureWord.CPUID_1_ECX, 31),
        ("tsc-adjust", FeatureWord.CPUID_7_0_EBX, 1),
        ("smep", FeatureWord.CPUID_7_0_EBX, 7),
        ("erms", FeatureWord.CPUID_7_0_EBX, 9),
        ("smap", FeatureWord.CPUID_7_0_EBX, 20),
        ("umip", FeatureWord.CPUID_7_0_ECX, 2),
        ("la57", FeatureWord.CPUID_7_0_ECX, 16),
        ("arch-capabilities", FeatureWord.CPUID_7_0_EDX, 29),
        ("syscall", FeatureWord.CPUID_8000_0001_EDX, 11),
        ("nx", FeatureWord.CPUID_8000_0001_EDX, 20),
        ("pdpe1gb", FeatureWord.CPUID_8000_0001_EDX, 26),
        ("rdtscp", FeatureWord.CPUID_8000_0001_EDX, 27),
        ("svm", FeatureWord.CPUID_8000_0001_ECX, 2),
        ("topoext", FeatureWord.CPUID_8000_0001_ECX, 22),
        ("invtsc", FeatureWord.CPUID_8000_0007_EDX, 8),
        ("amd-ssbd", FeatureWord.CPUID_8000_0008_EBX, 24),
        ("xgetbv1", FeatureWord.CPUID_D_1_EAX, 2),
        ("arat", FeatureWord.CPUID_6_EAX, 2),
    ],
)
def test_a_feature_that_gcc_does_not_know_is_where_the_manual_has_it(
    name: str, word: FeatureWord, bit: int
) -> None:
    assert FEATURES[name] == (word, bit)


def test_there_are_as_many_feature_words_as_the_engine_has() -> None:
    assert len(FeatureWord) == FEATURE_WORDS
    assert [len(feature_words(model)) for model in MODELS.values()] == [34, 34]


def test_no_model_has_a_feature_that_the_engine_lacks() -> None:
    assert set().union(*(model.features for model in MODELS.values())) <= ENGINE_FEATURES <= set(FEATURES)


def test_no_model_has_a_feature_without_what_it_needs() -> None:
    for model in MODELS.values():
        assert [name for name in model.features if REQUIRES.get(name, name) not in model.features] == []


def test_every_model_has_what_the_machine_gives() -> None:
    for model in MODELS.values():
        assert model.features >= PLATFORM_FEATURES


@pytest.mark.parametrize(
    "feature", ["svm", "monitor", "hle", "rtm", "pcid", "invpcid", "mpx", "la57", "umip", "avx", "avx2"]
)
def test_the_largest_model_lacks_what_is_not_there(feature: str) -> None:
    assert feature not in resolve_model("max").features
    with pytest.raises(ConfigError, match=f"the engine has no '{feature}'; leave out"):
        resolve_model(f"max,+{feature}")


def test_the_default_model_is_a_model() -> None:
    assert resolve_model(DEFAULT_MODEL).name == "max"


@pytest.mark.parametrize(("name", "signature"), [("max", 0x00030661), ("qemu64", 0x00060FB1)])
def test_a_signature_is_encoded_as_the_manual_says(name: str, signature: int) -> None:
    assert MODELS[name].signature == signature


def test_amd_cpus_repeat_their_basic_features_in_the_extended_leaf() -> None:
    words = feature_words(MODELS["qemu64"])
    aliased = 0x0183F3FF
    extended = words[FeatureWord.CPUID_8000_0001_EDX]
    assert extended & aliased == words[FeatureWord.CPUID_1_EDX] & aliased
    assert feature_words(MODELS["max"])[FeatureWord.CPUID_8000_0001_EDX] & aliased == 0


def test_xcr0_may_have_x87_sse_and_protection_keys() -> None:
    words = feature_words(MODELS["max"])
    assert words[FeatureWord.XSAVE_COMPONENTS_LO] == 0x203
    assert words[FeatureWord.XSAVE_COMPONENTS_HI] == 0
    assert feature_words(resolve_model("max,-pku"))[FeatureWord.XSAVE_COMPONENTS_LO] == 3
    assert feature_words(MODELS["qemu64"])[FeatureWord.XSAVE_COMPONENTS_LO] == 0


def test_features_are_added_and_removed() -> None:
    model = resolve_model("qemu64, +popcnt, -nx")
    assert "popcnt" in model.features
    assert "nx" not in model.features
    assert MODELS["qemu64"].features ^ model.features == {"popcnt", "nx"}


def test_removing_a_feature_removes_what_needs_it() -> None:
    removed = MODELS["max"].features - resolve_model("max,-sse").features
    assert removed == {
        *("sse", "sse2", "pni", "ssse3", "sse4.1", "sse4.2", "pclmulqdq", "aes"),
    }


@pytest.mark.parametrize(
    ("spelling", "name"), [("sse4_2", "sse4.2"), ("SSE3", "pni"), ("lahf_lm", "lahf-lm")]
)
def test_other_spellings_of_a_feature_are_understood(spelling: str, name: str) -> None:
    assert name not in resolve_model(f"max,-{spelling}").features


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pentium", "'pentium' is no CPU model; max or qemu64 is right"),
        ("", "'' is no CPU model"),
        ("max,+sse4.3", r"'sse4.3' is no CPU feature; sse4\.\d or sse4.* is right"),
        ("max,+qqqqqq", "'qqqqqq' is no CPU feature; names as in QEMU's are right"),
        ("max,popcnt", r"'popcnt' is no change of a feature; \+name or -name is right"),
        ("max,", "'' is no change of a feature"),
        ("max,+nx,-nx", "'nx' is both added and removed"),
        ("qemu64,+xsaveopt", r"'xsaveopt' needs 'xsave'; add \+xsave or leave out \+xsaveopt"),
    ],
)
def test_what_is_no_model_is_refused_with_what_would_be(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_model(text)


def test_another_engine_may_have_more() -> None:
    assert "avx" in resolve_model("max,+avx", ENGINE_FEATURES | {"avx"}).features
