"""CPU models, their feature words, and what a user may change."""

import re
import subprocess
from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.abi.feature_words import FEATURE_WORDS, FeatureWord
from mpvm.accel.unicorn import ENGINE_FEATURES, UnicornAccelerator
from mpvm.cpu.features import FEATURES, REQUIRES, WORD_SOURCES, CpuidRegister, features_of
from mpvm.cpu.models import (
    DEFAULT_MODEL,
    CpuModel,
    by_word,
    defined_model,
    feature_words,
    find_model,
    model_names,
)
from mpvm.cpu.options import parse_cpu
from mpvm.cpu.resolve import resolve_model
from mpvm.cpu.table import DEFINITIONS
from tests.unit.cpu.capable import CAPABLE

UNICORN = UnicornAccelerator()
NAMES = [name for name, stands_for in model_names() if stands_for is None]
DEFINED = [name for name in NAMES if "-v" in name]

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


def resolve(text: str) -> CpuModel:
    return resolve_model(text, UNICORN)


def test_there_are_as_many_feature_words_as_the_engine_has() -> None:
    assert FEATURE_WORDS == 34
    assert len(feature_words(resolve("max"))) == FEATURE_WORDS


def test_every_word_of_features_says_where_it_is() -> None:
    assert {word for word, _ in FEATURES.values()} == WORD_SOURCES.keys()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_table_has_each_feature_in_its_word(name: str) -> None:
    for word, features in DEFINITIONS[name].words.items():
        for feature in features.split():
            assert FEATURES[feature].word.name == word


@pytest.mark.parametrize("name", DEFINED)
def test_a_model_can_be_as_the_table_has_it(name: str) -> None:
    model, defined = resolve_model(name, CAPABLE), defined_model(name)
    assert model == defined._replace(level=model.level, xlevel=model.xlevel)
    assert (model.level, model.xlevel) >= (defined.level, defined.xlevel)
    assert model.unavailable == ()


@pytest.mark.parametrize("name", NAMES)
def test_no_model_has_a_feature_that_the_engine_lacks_or_one_without_what_it_needs(name: str) -> None:
    model = resolve(name)
    assert model.features <= ENGINE_FEATURES <= set(FEATURES)
    assert [
        feature for feature in model.features if REQUIRES.get(feature, feature) not in model.features
    ] == []


def test_a_name_without_a_version_is_the_first_one() -> None:
    assert resolve_model("Haswell", CAPABLE)[1:] == resolve_model("Haswell-v1", CAPABLE)[1:]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Haswell-noTSX", "Haswell-v2"),
        ("Skylake-Server-noTSX-IBRS", "Skylake-Server-v3"),
        ("EPYC-IBPB", "EPYC-v2"),
        ("max", "max"),
        ("qemu64", "qemu64"),
    ],
)
def test_an_alias_stands_for_a_version(alias: str, name: str) -> None:
    assert find_model(alias) == name


def test_a_version_changes_the_one_before_it() -> None:
    first, second, third, fourth = (defined_model(f"Haswell-v{number}") for number in (1, 2, 3, 4))
    assert first.features - second.features == {"hle", "rtm"}
    assert third.features - first.features == {"spec-ctrl"}
    assert fourth.features ^ second.features == {"spec-ctrl"}
    assert [model.stepping for model in (first, second, third, fourth)] == [4, 1, 4, 1]
    assert third.model_id == "Intel Core Processor (Haswell, IBRS)"


@pytest.mark.parametrize("feature", ["svm", "monitor", "hle", "rtm", "pcid", "invpcid", "mpx", "avx", "avx2"])
def test_what_the_accelerator_can_not_do_is_left_out_and_told(feature: str) -> None:
    assert feature not in resolve("max").features
    model = resolve(f"max,+{feature}")
    assert feature not in model.features
    assert feature in dict(model.unavailable)


def test_the_warning_is_one_line_by_feature_word() -> None:
    assert resolve("Haswell").warning == (
        "CPU Haswell: unicorn doesn't support fma pcid avx f16c (CPUID.01H:ECX),"
        " hle avx2 invpcid rtm (CPUID.07H:EBX); `mpvm cpu show` says more"
    )
    assert resolve("max").warning is None
    assert resolve("Haswell,check=off").warning is None


def test_enforce_refuses_what_can_not_be_had() -> None:
    with pytest.raises(ConfigError, match=r"unicorn doesn't support avx \(CPUID.01H:ECX\); without"):
        resolve("max,+avx,enforce")
    assert resolve("max,enforce").unavailable == ()
    assert resolve("Haswell,-fma,-pcid,-avx,-f16c,-hle,-avx2,-invpcid,-rtm,enforce").unavailable == ()


def test_the_accelerator_switches_features_in_models_of_the_table_unless_the_user_does() -> None:
    assert resolve("qemu64").features >= {"x2apic", "tsc-deadline", "invtsc"}
    assert resolve("qemu64,-x2apic").features & {"x2apic", "invtsc"} == {"invtsc"}
    assert "svm" not in resolve("qemu64").features
    assert ("svm", "unicorn") in resolve("qemu64,+svm").unavailable


def test_the_host_is_as_far_there_as_the_accelerator_can_be_it() -> None:
    host, whole = resolve("host"), resolve_model("host", CAPABLE)
    assert host.features <= ENGINE_FEATURES
    assert host[1:8] == whole[1:8]
    vendor = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "vendor_id" in line)
    assert host.vendor in vendor
    assert {"sse2", "lm", "nx"} < whole.features


def test_the_base_has_no_features() -> None:
    assert resolve("base").features == frozenset()
    assert resolve("base,+sse2,+sse,+fxsr").features == {"sse2", "sse", "fxsr"}


def test_the_default_model_is_a_model() -> None:
    assert resolve(DEFAULT_MODEL).name == "max"


@pytest.mark.parametrize(
    ("name", "signature"),
    [("max", 0x00030661), ("qemu64", 0x00060FB1), ("EPYC-Rome", 0x00830F10), ("Haswell", 0x000306C4)],
)
def test_a_signature_is_encoded_as_the_manual_says(name: str, signature: int) -> None:
    assert resolve(name).signature == signature


def test_amd_cpus_repeat_their_basic_features_in_the_extended_leaf() -> None:
    words = feature_words(resolve("qemu64"))
    aliased = 0x0183F3FF
    extended = words[FeatureWord.CPUID_8000_0001_EDX]
    assert extended & aliased == words[FeatureWord.CPUID_1_EDX] & aliased
    assert feature_words(resolve("max"))[FeatureWord.CPUID_8000_0001_EDX] & aliased == 0


def test_xcr0_may_have_what_the_features_come_with() -> None:
    words = feature_words(resolve("max"))
    assert words[FeatureWord.XSAVE_COMPONENTS_LO] == 0x203
    assert words[FeatureWord.XSAVE_COMPONENTS_HI] == 0
    assert feature_words(resolve("max,-pku"))[FeatureWord.XSAVE_COMPONENTS_LO] == 3
    assert feature_words(resolve("qemu64"))[FeatureWord.XSAVE_COMPONENTS_LO] == 0
    assert resolve_model("Skylake-Server", CAPABLE).xsave_components == 0x2E7


def test_features_are_added_and_removed() -> None:
    model = resolve("qemu64, +popcnt, -nx")
    assert resolve("qemu64").features ^ model.features == {"popcnt", "nx"}
    assert resolve("qemu64,popcnt=on,nx=off").features == model.features
    assert resolve("qemu64,popcnt,nx=no").features == model.features


def test_removing_a_feature_removes_what_needs_it() -> None:
    removed = resolve("max").features - resolve("max,-sse").features
    assert removed == {
        *("sse", "sse2", "pni", "ssse3", "sse4.1", "sse4.2", "pclmulqdq", "aes"),
    }


def test_a_feature_without_what_it_needs_is_left_out_and_told() -> None:
    model = resolve("qemu64,+xsaveopt")
    assert "xsaveopt" not in model.features
    assert model.warning == "CPU qemu64: xsaveopt needs xsave; `mpvm cpu show` says more"


def test_levels_rise_to_what_the_features_need() -> None:
    assert (resolve("pentium3").level, resolve("pentium3").xlevel) == (7, 0x80000007), (
        "for tsc-adjust and invtsc"
    )
    assert resolve("Conroe,+smep").level == 10
    assert resolve("Penryn,+xsave").level == 0xD
    assert resolve("Penryn,+xsave,level=10").level == 10


@pytest.mark.parametrize(
    ("spelling", "name"), [("sse4_2", "sse4.2"), ("SSE3", "pni"), ("lahf_lm", "lahf-lm")]
)
def test_other_spellings_of_a_feature_are_understood(spelling: str, name: str) -> None:
    assert name not in resolve(f"max,-{spelling}").features


def test_properties_are_set() -> None:
    model = resolve(
        "max,family=0x17,model=1,stepping=2,level=0xd,xlevel=0x8000001e,phys_bits=40,"
        "vendor=AuthenticAMD,model-id=Some CPU,l3-cache=off"
    )
    assert model[1:8] == ("AuthenticAMD", 0x17, 1, 2, 0xD, 0x8000001E, "Some CPU")
    assert (model.phys_bits, model.l3_cache) == (40, False)


@pytest.mark.parametrize(
    "text", ["host-phys-bits", "host-phys-bits=off", "migratable=no", "kvm=off", "hv_time", "hv-synic=on"]
)
def test_qemus_properties_of_its_own_host_change_nothing(text: str) -> None:
    assert resolve(f"max,{text}") == resolve("max")
    with pytest.raises(ConfigError, match="is no switch; on or off is right"):
        resolve("max,host-phys-bits=40")
    with pytest.raises(ConfigError, match="'hv_vpindex' is no CPU feature or property"):
        resolve("max,hv_vpindex")


def test_the_width_of_addresses_is_the_accelerators() -> None:
    assert resolve_model("max,phys-bits=46", CAPABLE).phys_bits == 46
    with pytest.raises(ConfigError, match="unicorn has no phys-bits=46; phys-bits=40 is right"):
        resolve("max,phys-bits=46")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pentium9", "'pentium9' is no CPU model; pentium"),
        ("haswell", "'haswell' is no CPU model; Haswell"),
        ("Haswell-v9", "'Haswell-v9' is no CPU model; Haswell"),
        ("xyzzy", "'xyzzy' is no CPU model; `mpvm cpu list` lists what is right"),
        ("", "'' is no CPU model"),
        ("max,+sse4.3", r"'sse4.3' is no CPU feature or property; sse4\.\d or sse4.* is right"),
        ("max,+qqqqqq", "'qqqqqq' is no CPU feature or property; names as in QEMU's are right"),
        ("max,", "'' is no CPU feature"),
        ("max,popcnt=2", "'popcnt=2' is no switch; on or off is right"),
        ("max,+nx,-nx", "'nx' is both added and removed"),
        ("max,stepping=16", "stepping=16 is out of range; a number from 0 to 15 is right"),
        ("max,family=big", "family=big is out of range; a number from 0 to 270 is right"),
        ("max,phys-bits=53", "phys-bits=53 is out of range; a number from 32 to 52 is right"),
        ("max,vendor=Intel", "vendor=Intel is no vendor; 12 characters are right"),
        ("max,enforce=1", "'enforce=1' is no switch; on or off is right"),
    ],
)
def test_what_is_no_model_is_refused_with_what_would_be(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_cpu(text)


def test_the_features_of_a_cpuid_are_named() -> None:
    def read(function: int, subleaf: int) -> tuple[int, int, int, int]:
        return {(1, 0): (0, 0, 1 << 28, 1 << 26), (7, 1): (1 << 4, 0, 0, 0)}.get(
            (function, subleaf), (0,) * 4
        )

    assert features_of(read) == {"avx", "sse2", "avx-vnni"}


def test_features_are_listed_by_word_and_bit() -> None:
    assert by_word({"avx", "sse2", "pni"}) == {
        FeatureWord.CPUID_1_EDX: ["sse2"],
        FeatureWord.CPUID_1_ECX: ["pni", "avx"],
    }


def test_a_word_is_told_as_the_manual_writes_it() -> None:
    assert str(WORD_SOURCES[FeatureWord.CPUID_7_0_EBX]) == "CPUID.07H:EBX"
    assert str(WORD_SOURCES[FeatureWord.ARCH_CAPABILITIES]) == "MSR(10AH)"
    assert WORD_SOURCES[FeatureWord.CPUID_D_1_EAX] == CpuidRegister(0xD, 1, 0)
