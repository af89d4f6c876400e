"""What the CPUID instruction answers (SDM vol. 2, CPUID; AMD APM vol. 3, appendix E).

Entries are for one vCPU, in KVM's form. A worker answers from them and changes what follows the CPU's
state: OSXSAVE (1:ECX[27]), OSPKE (7:ECX[4]), APIC (1:EDX[9], IA32_APIC_BASE) and the XSAVE area's
size for the present XCR0 (0xd.0:EBX; here it is the size for all components). A leaf between 0 and
the highest one that has no entry is all zeros.
"""

from functools import cache
from typing import Final, NamedTuple

from mpvm.cpu.features import FeatureWord
from mpvm.cpu.models import VENDOR_AMD, VENDOR_INTEL, XSTATE_PKRU, CpuModel, feature_words

SIGNIFICANT_INDEX: Final = 1  # KVM_CPUID_FLAG_SIGNIFCANT_INDEX

HYPERVISOR_SIGNATURE: Final = b"mpvmmpvmmpvm"
HYPERVISOR_LEAF: Final = 0x40000000
TIMING_LEAF: Final = 0x40000010

# The local APIC timer counts at this rate, which CPUID calls the core crystal clock.
CRYSTAL_HZ: Final = 1_000_000_000
CRYSTAL_KHZ: Final = CRYSTAL_HZ // 1000

PHYSICAL_ADDRESS_BITS: Final = 40
LINEAR_ADDRESS_BITS: Final = 48
CLFLUSH_QWORDS: Final = 8

HT_BIT: Final = 1 << 28  # CPUID.1:EDX
CMP_LEGACY_BIT: Final = 1 << 1  # CPUID.80000001:ECX

# Standard-format XSAVE area (SDM vol. 1, 13.4): legacy region, header, then components at fixed offsets.
XSAVE_HEADER_END: Final = 576
XSAVE_COMPONENT: Final = {XSTATE_PKRU: (8, 0xA80)}  # size, offset

_LEAF2_USE_LEAF4: Final = 0x0000FF01
_TOPOLOGY_SMT, _TOPOLOGY_CORE = 1, 2


class CpuidEntry(NamedTuple):
    """As `struct kvm_cpuid_entry2`; flags bit 0: `subleaf` (its `index`) is significant."""

    function: int
    subleaf: int
    flags: int
    eax: int
    ebx: int
    ecx: int
    edx: int


class Cache(NamedTuple):
    """A cache as leaf 4 describes it; `type` 1 data, 2 instruction, 3 unified."""

    type: int
    level: int
    kib: int
    ways: int
    shared: bool

    @property
    def sets(self) -> int:
        """Sets of lines of 64 bytes."""
        return self.kib * 1024 // (_LINE_BYTES * self.ways)


_LINE_BYTES: Final = 64
L1D, L1I, L2, L3 = (
    Cache(1, 1, 32, 8, shared=False),
    Cache(2, 1, 32, 8, shared=False),
    Cache(3, 2, 1024, 16, shared=False),
    Cache(3, 3, 16384, 16, shared=True),
)
# AMD's encoding of associativity (APM vol. 3, table E-3).
_AMD_WAYS: Final = {8: 6, 16: 8}


def cpuid_entries(model: CpuModel, index: int, smp: int, tsc_khz: int) -> list[CpuidEntry]:
    """All leaves of vCPU `index`, its APIC ID, in order: one package of `smp` cores with one thread each."""
    entries = _basic_leaves(model, index, smp)
    if "xsave" in model.features:
        entries += _xsave_leaves(model)
    if model.vendor == VENDOR_INTEL:
        entries += _intel_leaves(smp, tsc_khz)
    entries += _hypervisor_leaves(tsc_khz) if "hypervisor" in model.features else []
    entries += _extended_leaves(model, smp)
    return sorted(entry for entry in entries if entry.function <= _limit(model, entry.function))


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


def apic_id_bits(smp: int) -> int:
    """Bits of an APIC ID that tell the cores of the package apart."""
    return (smp - 1).bit_length()


def _limit(model: CpuModel, function: int) -> int:
    if function >= 0x80000000:
        return model.xlevel
    return TIMING_LEAF if function >= HYPERVISOR_LEAF else model.level


def _leaf(function: int, eax: int = 0, ebx: int = 0, ecx: int = 0, edx: int = 0) -> CpuidEntry:
    return CpuidEntry(function, 0, 0, eax, ebx, ecx, edx)


def _subleaf(
    function: int, subleaf: int, eax: int = 0, ebx: int = 0, ecx: int = 0, edx: int = 0
) -> CpuidEntry:
    return CpuidEntry(function, subleaf, SIGNIFICANT_INDEX, eax, ebx, ecx, edx)


def _words(text: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(text[start : start + 4], "little") for start in range(0, len(text), 4))


def _basic_leaves(model: CpuModel, index: int, smp: int) -> list[CpuidEntry]:
    words = feature_words(model)
    ebx, edx, ecx = _words(model.vendor.encode())
    # The field is the number of APIC IDs set aside, a power of two (SDM vol. 2, note to table 3-8).
    logical = 1 << apic_id_bits(smp)
    ht = HT_BIT if smp > 1 else 0
    return [
        _leaf(0, model.level, ebx, ecx, edx),
        _leaf(
            1,
            model.signature,
            index << 24 | logical << 16 | CLFLUSH_QWORDS << 8,
            words[FeatureWord.CPUID_1_ECX],
            words[FeatureWord.CPUID_1_EDX] | ht,
        ),
        _leaf(6, words[FeatureWord.CPUID_6_EAX]),
        _subleaf(
            7,
            0,
            0,
            words[FeatureWord.CPUID_7_0_EBX],
            words[FeatureWord.CPUID_7_0_ECX],
            words[FeatureWord.CPUID_7_0_EDX],
        ),
        _subleaf(0xB, 0, 0, 1, _TOPOLOGY_SMT << 8, index),
        _subleaf(0xB, 1, apic_id_bits(smp), smp, _TOPOLOGY_CORE << 8 | 1, index),
        _subleaf(0xB, 2, 0, 0, 2, index),
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


def _intel_leaves(smp: int, tsc_khz: int) -> list[CpuidEntry]:
    denominator, numerator = tsc_ratio(tsc_khz)
    mhz = tsc_khz // 1000
    return [
        _leaf(2, _LEAF2_USE_LEAF4),
        *(_subleaf(4, number, *_cache_leaf(cache, smp)) for number, cache in enumerate((L1D, L1I, L2, L3))),
        _subleaf(4, 4),
        _leaf(0x15, denominator, numerator, CRYSTAL_HZ),
        _leaf(0x16, mhz, mhz, 100),
    ]


def _cache_leaf(cache: Cache, smp: int) -> tuple[int, int, int]:
    id_space = 1 << apic_id_bits(smp)
    sharing = id_space if cache.shared else 1
    self_initializing = 1 << 8
    eax = cache.type | cache.level << 5 | self_initializing | sharing - 1 << 14 | id_space - 1 << 26
    return eax, _LINE_BYTES - 1 | cache.ways - 1 << 22, cache.sets - 1


def _hypervisor_leaves(tsc_khz: int) -> list[CpuidEntry]:
    return [
        _leaf(HYPERVISOR_LEAF, TIMING_LEAF, *_words(HYPERVISOR_SIGNATURE)),
        _leaf(TIMING_LEAF, tsc_khz, CRYSTAL_KHZ),
    ]


def _extended_leaves(model: CpuModel, smp: int) -> list[CpuidEntry]:
    words = feature_words(model)
    is_amd = model.vendor == VENDOR_AMD
    ebx, edx, ecx = _words(model.vendor.encode()) if is_amd else (0, 0, 0)
    name = _words(model.model_id.encode().ljust(48, b"\0"))
    cmp_legacy = CMP_LEGACY_BIT if is_amd and smp > 1 else 0
    l2 = L2.kib << 16 | _AMD_WAYS[L2.ways] << 12 | 1 << 8 | _LINE_BYTES
    leaves = [
        _leaf(0x80000000, model.xlevel, ebx, ecx, edx),
        _leaf(
            0x80000001,
            model.signature if is_amd else 0,
            0,
            words[FeatureWord.CPUID_8000_0001_ECX] | cmp_legacy,
            words[FeatureWord.CPUID_8000_0001_EDX],
        ),
        *(_leaf(0x80000002 + part, *name[part * 4 : part * 4 + 4]) for part in range(3)),
        _leaf(0x80000007, edx=words[FeatureWord.CPUID_8000_0007_EDX]),
        _leaf(
            0x80000008,
            LINEAR_ADDRESS_BITS << 8 | PHYSICAL_ADDRESS_BITS,
            words[FeatureWord.CPUID_8000_0008_EBX],
            (apic_id_bits(smp) << 12 | smp - 1) if is_amd else 0,
        ),
    ]
    if not is_amd:
        return [*leaves, _leaf(0x80000006, ecx=l2)]
    l1d, l1i = (cache.kib << 24 | cache.ways << 16 | 1 << 8 | _LINE_BYTES for cache in (L1D, L1I))
    # The L3's size is in units of 512 KiB.
    l3 = L3.kib // 512 << 18 | _AMD_WAYS[L3.ways] << 12 | 1 << 8 | _LINE_BYTES
    return [*leaves, _leaf(0x80000005, ecx=l1d, edx=l1i), _leaf(0x80000006, ecx=l2, edx=l3)]
