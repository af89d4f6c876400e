"""What the CPUID instruction answers (SDM vol. 2, CPUID; AMD APM vol. 3, appendix E).

Entries are for one vCPU, in KVM's form. A worker answers from them and changes what follows the CPU's
state: OSXSAVE (1:ECX[27]), OSPKE (7:ECX[4]), APIC (1:EDX[9], IA32_APIC_BASE) and the XSAVE area's
size for the present XCR0 (0xd.0:EBX; here it is the size for all components). A leaf between 0 and
the highest one that has no entry is all zeros.
"""

from functools import cache
from typing import Final, NamedTuple

from mpvm.abi.feature_words import FeatureWord
from mpvm.cpu.caches import (
    AMD_L1_TLB,
    AMD_L2_TLB,
    CACHES,
    LEAF2_DESCRIPTORS,
    LEAF2_USE_LEAF4,
    Cache,
)
from mpvm.cpu.models import VENDOR_INTEL, CpuModel, feature_words
from mpvm.cpu.topology import Topology

SIGNIFICANT_INDEX: Final = 1  # KVM_CPUID_FLAG_SIGNIFCANT_INDEX

HYPERVISOR_SIGNATURE: Final = b"mpvmmpvmmpvm"
HYPERVISOR_LEAF: Final = 0x40000000
TIMING_LEAF: Final = 0x40000010
# KVM's interface, where guests find it beside another's: they look at every 0x100 for its signature.
KVM_SIGNATURE: Final = b"KVMKVMKVM\0\0\0"
KVM_LEAF: Final = 0x40000100
KVM_FEATURES_LEAF: Final = 0x40000101

# The local APIC timer counts at this rate, which CPUID calls the core crystal clock.
CRYSTAL_HZ: Final = 1_000_000_000
CRYSTAL_KHZ: Final = CRYSTAL_HZ // 1000

LINEAR_ADDRESS_BITS: Final = 48
LINEAR_ADDRESS_BITS_LA57: Final = 57
CLFLUSH_QWORDS: Final = 8

HT_BIT: Final = 1 << 28  # CPUID.1:EDX
CMP_LEGACY_BIT: Final = 1 << 1  # CPUID.80000001:ECX

# Standard-format XSAVE area (SDM vol. 1, 13.4): legacy region, header, then components at fixed offsets.
XSAVE_HEADER_END: Final = 576
# Component: size, offset.
XSAVE_COMPONENT: Final = {
    2: (256, 576),
    3: (64, 960),
    4: (64, 1024),
    5: (64, 1088),
    6: (512, 1152),
    7: (1024, 1664),
    9: (8, 2688),
}

# Leaves of the topology: what a level's subleaf is about (SDM vol. 2, leaves 0xb and 0x1f).
_SMT, _CORE, _DIE = 1, 2, 5

_MAX_LEGACY_COUNT: Final = 0xFF
_MAX_CORES_FIELD: Final = 64


class CpuidEntry(NamedTuple):
    """As `struct kvm_cpuid_entry2`; flags bit 0: `subleaf` (its `index`) is significant."""

    function: int
    subleaf: int
    flags: int
    eax: int
    ebx: int
    ecx: int
    edx: int


def cpuid_entries(model: CpuModel, topology: Topology, index: int, tsc_khz: int) -> list[CpuidEntry]:
    """All leaves of vCPU `index` in order."""
    level = highest_leaf(model, topology)
    entries = _basic_leaves(model, topology, index, level)
    entries += _topology_leaves(topology, index)
    if "xsave" in model.features:
        entries += _xsave_leaves(model)
    if model.vendor == VENDOR_INTEL:
        entries += _intel_leaves(model, topology, tsc_khz)
    if "hypervisor" in model.features:
        entries += _hypervisor_leaves(model, tsc_khz)
    if model.xlevel >= 0x80000000:
        entries += _extended_leaves(model, topology)
    if model.is_amd:
        entries += _amd_leaves(model, topology, index)
    return sorted(entry for entry in entries if entry.function <= _limit(model, level, entry.function))


def highest_leaf(model: CpuModel, topology: Topology) -> int:
    """The highest basic leaf: dies are told by leaf 0x1f alone."""
    return max(model.level, 0x1F) if topology.dies > 1 and model.level >= 0xB else model.level


@cache
def tsc_ratio(tsc_khz: int) -> tuple[int, int]:
    """Denominator and numerator of the TSC's rate to the crystal's, for leaf 0x15.

    Linux multiplies the numerator by the crystal's kHz in 32 bits, so it is kept as small as that needs:
    the ratio then is the best that there is, some 100 ppm off in the worst case and mostly far less.
    """

    def ratio(numerator: int) -> tuple[float, int, int]:
        denominator = max(1, (numerator * CRYSTAL_KHZ + tsc_khz // 2) // tsc_khz)
        error = abs(numerator * CRYSTAL_KHZ / denominator - tsc_khz)
        return error, denominator, numerator

    # Searched one by one: `fractions` would take longer to import.
    _, denominator, numerator = min(map(ratio, range(1, 0xFFFFFFFF // CRYSTAL_KHZ + 1)))
    return denominator, numerator


def _limit(model: CpuModel, level: int, function: int) -> int:
    if function >= 0x80000000:
        return model.xlevel
    return KVM_FEATURES_LEAF if function >= HYPERVISOR_LEAF else level


def _leaf(function: int, eax: int = 0, ebx: int = 0, ecx: int = 0, edx: int = 0) -> CpuidEntry:
    return CpuidEntry(function, 0, 0, eax, ebx, ecx, edx)


def _subleaf(
    function: int, subleaf: int, eax: int = 0, ebx: int = 0, ecx: int = 0, edx: int = 0
) -> CpuidEntry:
    return CpuidEntry(function, subleaf, SIGNIFICANT_INDEX, eax, ebx, ecx, edx)


def _words(text: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(text[start : start + 4], "little") for start in range(0, len(text), 4))


def _address_space(count: int) -> int:
    """APIC IDs, or cores, set aside for `count`: a power of two (SDM vol. 2, notes to leaves 1 and 4)."""
    return 1 << (count - 1).bit_length()


def _basic_leaves(model: CpuModel, topology: Topology, index: int, level: int) -> list[CpuidEntry]:
    words = feature_words(model)
    ebx, edx, ecx = _words(model.vendor.encode())
    logical = min(1 << topology.socket_shift, _MAX_LEGACY_COUNT)
    several = topology.threads_per_socket > 1
    return [
        _leaf(0, level, ebx, ecx, edx),
        _leaf(
            1,
            model.signature,
            topology.apic_id(index) << 24 | logical << 16 | CLFLUSH_QWORDS << 8,
            words[FeatureWord.CPUID_1_ECX],
            words[FeatureWord.CPUID_1_EDX] | (HT_BIT if several else 0),
        ),
        _leaf(6, words[FeatureWord.CPUID_6_EAX]),
        _subleaf(
            7,
            0,
            1 if words[FeatureWord.CPUID_7_1_EAX] else 0,
            words[FeatureWord.CPUID_7_0_EBX],
            words[FeatureWord.CPUID_7_0_ECX],
            words[FeatureWord.CPUID_7_0_EDX],
        ),
        _subleaf(7, 1, words[FeatureWord.CPUID_7_1_EAX]),
    ]


def _topology_leaves(topology: Topology, index: int) -> list[CpuidEntry]:
    """Leaf 0xb, and with dies leaf 0x1f: each level's width below the next one's, and vCPUs in it."""
    apic_id = topology.apic_id(index)
    smt = (_SMT, topology.core_shift, topology.threads)
    core = (_CORE, topology.socket_shift, topology.threads_per_socket)
    leaves: dict[int, tuple[tuple[int, int, int], ...]] = {0xB: (smt, core)}
    if topology.dies > 1:
        die = (_DIE, topology.socket_shift, topology.threads_per_socket)
        leaves[0x1F] = (smt, (_CORE, topology.die_shift, topology.threads_per_die), die)
    return [
        _subleaf(function, number, shift, count, kind << 8 | number, apic_id)
        for function, levels in leaves.items()
        for number, (kind, shift, count) in enumerate((*levels, (0, 0, 0)))
    ]


def _xsave_leaves(model: CpuModel) -> list[CpuidEntry]:
    components = model.xsave_components
    extended = {bit: place for bit, place in XSAVE_COMPONENT.items() if components >> bit & 1}
    size = max([XSAVE_HEADER_END, *(offset + size for size, offset in extended.values())])
    return [
        _subleaf(0xD, 0, components & 0xFFFFFFFF, size, size, components >> 32),
        _subleaf(0xD, 1, model.word(FeatureWord.CPUID_D_1_EAX)),
        *(_subleaf(0xD, bit, size, offset) for bit, (size, offset) in extended.items()),
    ]


def caches(model: CpuModel) -> tuple[Cache, ...]:
    """The caches that the model describes, from the first level on."""
    name = "legacy-amd" if model.is_amd and model.caches == "legacy" else model.caches
    return tuple(cache for cache in CACHES[name] if cache.level < 3 or model.l3_cache)


def _intel_leaves(model: CpuModel, topology: Topology, tsc_khz: int) -> list[CpuidEntry]:
    denominator, numerator = tsc_ratio(tsc_khz)
    mhz = tsc_khz // 1000
    described = caches(model)
    ids_of_a_core, ids_of_a_die = 1 << topology.core_shift, 1 << topology.die_shift
    cores = min(_address_space(topology.cores * topology.dies), _MAX_CORES_FIELD)
    leaf2 = _leaf(2, LEAF2_USE_LEAF4 << 8 | 1) if model.level >= 4 else _leaf(2, 1, edx=LEAF2_DESCRIPTORS)
    return [
        leaf2,
        *(
            _subleaf(
                4, number, *cache.deterministic(ids_of_a_die if cache.level == 3 else ids_of_a_core, cores)
            )
            for number, cache in enumerate(described)
        ),
        _subleaf(4, len(described)),
        _leaf(0x15, denominator, numerator, CRYSTAL_HZ),
        _leaf(0x16, mhz, mhz, 100),
    ]


def _hypervisor_leaves(model: CpuModel, tsc_khz: int) -> list[CpuidEntry]:
    """Ours at 0x40000000, and KVM's behind it when the model has a feature of KVM's."""
    leaves = [
        _leaf(HYPERVISOR_LEAF, TIMING_LEAF, *_words(HYPERVISOR_SIGNATURE)),
        _leaf(TIMING_LEAF, tsc_khz, CRYSTAL_KHZ),
    ]
    words = feature_words(model)
    if words[FeatureWord.KVM]:
        leaves += [
            _leaf(KVM_LEAF, KVM_FEATURES_LEAF, *_words(KVM_SIGNATURE)),
            _leaf(KVM_FEATURES_LEAF, words[FeatureWord.KVM], edx=words[FeatureWord.KVM_HINTS]),
        ]
    return leaves


def _extended_leaves(model: CpuModel, topology: Topology) -> list[CpuidEntry]:
    words = feature_words(model)
    ebx, edx, ecx = _words(model.vendor.encode()) if model.is_amd else (0, 0, 0)
    name = _words(model.model_id.encode().ljust(48, b"\0"))
    several = topology.threads_per_socket > 1
    leaves = [
        _leaf(0x80000000, model.xlevel, ebx, ecx, edx),
        _leaf(
            0x80000001,
            model.signature if model.is_amd else 0,
            0,
            words[FeatureWord.CPUID_8000_0001_ECX] | (CMP_LEGACY_BIT if model.is_amd and several else 0),
            words[FeatureWord.CPUID_8000_0001_EDX],
        ),
        *(_leaf(0x80000002 + part, *name[part * 4 : part * 4 + 4]) for part in range(3)),
        _leaf(0x80000007, edx=words[FeatureWord.CPUID_8000_0007_EDX]),
        _leaf(
            0x80000008,
            _address_bits(model),
            words[FeatureWord.CPUID_8000_0008_EBX],
            (topology.socket_shift << 12 | topology.threads_per_socket - 1)
            if model.is_amd and several
            else 0,
        ),
    ]
    if not model.is_amd:
        leaves.append(_leaf(0x80000006, ecx=caches(model)[2].amd_l2))
    return leaves


def _address_bits(model: CpuModel) -> int:
    if "lm" not in model.features:
        return 36 if "pse36" in model.features else 32
    linear = LINEAR_ADDRESS_BITS_LA57 if "la57" in model.features else LINEAR_ADDRESS_BITS
    return linear << 8 | model.phys_bits


def _amd_leaves(model: CpuModel, topology: Topology, index: int) -> list[CpuidEntry]:
    data, instructions, l2, *l3 = described = caches(model)
    place = topology.place(index)
    leaves = [
        _leaf(0x80000005, AMD_L1_TLB, AMD_L1_TLB, data.amd_l1, instructions.amd_l1),
        _leaf(0x80000006, 0, AMD_L2_TLB, l2.amd_l2, l3[0].amd_l3 if l3 else 0),
    ]
    if "svm" in model.features:
        leaves.append(_leaf(0x8000000A, 1, 16, 0, model.word(FeatureWord.SVM)))
    if "topoext" not in model.features:
        return leaves
    nodes = topology.dies - 1 << 8 | place.socket * topology.dies + place.die
    return [
        *leaves,
        *(
            _subleaf(
                0x8000001D,
                number,
                *cache.deterministic(topology.threads_per_die if cache.level == 3 else topology.threads),
            )
            for number, cache in enumerate(described)
        ),
        _subleaf(0x8000001D, len(described)),
        _leaf(0x8000001E, topology.apic_id(index), topology.threads - 1 << 8 | place.core, nodes),
    ]
