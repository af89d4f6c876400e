"""CPUID feature flags by name: which bit of which feature word.

Source: SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.

Names are QEMU's. A feature word is one register of one CPUID leaf, or an MSR that has such bits, in the
order of the engine's own array of them (`CPUX86State.features`).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from mpvm.abi.feature_words import FeatureWord


class FeatureBit(NamedTuple):
    """Where a feature flag is."""

    word: FeatureWord
    bit: int

    @property
    def mask(self) -> int:
        """The flag as a mask of its word."""
        return 1 << self.bit


class CpuidRegister(NamedTuple):
    """Where CPUID has a feature word; `subleaf` is None where the leaf has none, `register` 0 is EAX."""

    function: int
    subleaf: int | None
    register: int

    def __str__(self) -> str:
        return f"CPUID.{self.function:02X}H:{REGISTERS[self.register]}"


class Msr(NamedTuple):
    """An MSR that is a feature word."""

    address: int

    def __str__(self) -> str:
        return f"MSR({self.address:X}H)"


REGISTERS: Final = ("EAX", "EBX", "ECX", "EDX")
_EAX, _EBX, _ECX, _EDX = range(4)

# Where the words that we have names for are.
WORD_SOURCES: Final[dict[FeatureWord, CpuidRegister | Msr]] = {
    FeatureWord.CPUID_1_EDX: CpuidRegister(1, None, _EDX),
    FeatureWord.CPUID_1_ECX: CpuidRegister(1, None, _ECX),
    FeatureWord.CPUID_7_0_EBX: CpuidRegister(7, 0, _EBX),
    FeatureWord.CPUID_7_0_ECX: CpuidRegister(7, 0, _ECX),
    FeatureWord.CPUID_7_0_EDX: CpuidRegister(7, 0, _EDX),
    FeatureWord.CPUID_7_1_EAX: CpuidRegister(7, 1, _EAX),
    FeatureWord.CPUID_8000_0001_EDX: CpuidRegister(0x80000001, None, _EDX),
    FeatureWord.CPUID_8000_0001_ECX: CpuidRegister(0x80000001, None, _ECX),
    FeatureWord.CPUID_8000_0007_EDX: CpuidRegister(0x80000007, None, _EDX),
    FeatureWord.CPUID_8000_0008_EBX: CpuidRegister(0x80000008, None, _EBX),
    FeatureWord.KVM: CpuidRegister(0x40000001, None, _EAX),
    FeatureWord.KVM_HINTS: CpuidRegister(0x40000001, None, _EDX),
    FeatureWord.SVM: CpuidRegister(0x8000000A, None, _EDX),
    FeatureWord.CPUID_D_1_EAX: CpuidRegister(0xD, 1, _EAX),
    FeatureWord.CPUID_6_EAX: CpuidRegister(6, None, _EAX),
    FeatureWord.ARCH_CAPABILITIES: Msr(0x10A),
    FeatureWord.CORE_CAPABILITY: Msr(0xCF),
}

# The bits of a word, from bit 0 on; "-" has no name or is not for a model to choose (OSXSAVE and OSPKE
# follow CR4).
_NAMES: Final = {
    FeatureWord.CPUID_1_EDX: (
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov"
        " pat pse36 pn clflush - ds acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"
    ),
    FeatureWord.CPUID_1_ECX: (
        "pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm"
        " - pcid dca sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave - avx f16c rdrand hypervisor"
    ),
    FeatureWord.CPUID_7_0_EBX: (
        "fsgsbase tsc-adjust - bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx -"
        " avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt"
        " clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl"
    ),
    FeatureWord.CPUID_7_0_ECX: (
        "- avx512vbmi umip pku - waitpkg avx512vbmi2 - gfni vaes vpclmulqdq avx512vnni"
        " avx512bitalg - avx512-vpopcntdq - la57 - - - - - rdpid - bus-lock-detect cldemote - movdiri"
        " movdir64b - - pks"
    ),
    FeatureWord.CPUID_7_0_EDX: (
        "- - avx512-4vnniw avx512-4fmaps fsrm - - - avx512-vp2intersect - md-clear - - - serialize -"
        " tsx-ldtrk - - arch-lbr - - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp -"
        " arch-capabilities core-capability ssbd"
    ),
    FeatureWord.CPUID_7_1_EAX: "- - - - avx-vnni avx512-bf16",
    FeatureWord.CPUID_8000_0001_EDX: (
        "- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr-opt pdpe1gb rdtscp"
        " - lm 3dnowext 3dnow"
    ),
    FeatureWord.CPUID_8000_0001_ECX: (
        "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop"
        " skinit wdt - lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb"
    ),
    FeatureWord.CPUID_8000_0007_EDX: "- - - - - - - - invtsc",
    FeatureWord.CPUID_8000_0008_EBX: (
        "clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - ibrs amd-stibp"
        " - - - - - - - - amd-ssbd virt-ssbd amd-no-ssb"
    ),
    FeatureWord.KVM: (
        "- kvm-nopiodelay kvm-mmu kvmclock kvm-asyncpf kvm-steal-time kvm-pv-eoi kvm-pv-unhalt"
        " - kvm-pv-tlb-flush - kvm-pv-ipi kvm-poll-control kvm-pv-sched-yield kvm-asyncpf-int"
        " kvm-msi-ext-dest-id - - - - - - - - kvmclock-stable-bit"
    ),
    FeatureWord.KVM_HINTS: "kvm-hint-dedicated",
    FeatureWord.SVM: (
        "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists - - pause-filter -"
        " pfthreshold avic - v-vmsave-vmload vgif - - - - - - - - - - - svme-addr-chk"
    ),
    FeatureWord.CPUID_D_1_EAX: "xsaveopt xsavec xgetbv1 xsaves xfd",
    FeatureWord.CPUID_6_EAX: "- - arat",
    FeatureWord.ARCH_CAPABILITIES: (
        "rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no tsx-ctrl taa-no"
    ),
    FeatureWord.CORE_CAPABILITY: "- - - - - split-lock-detect",
}

FEATURES: Final = {
    name: FeatureBit(word, bit)
    for word, names in _NAMES.items()
    for bit, name in enumerate(names.split())
    if name != "-"
}

# Other spellings that people know from /proc/cpuinfo and the manuals; "_" is taken for "-" anyway.
ALIASES: Final = {
    "sse3": "pni",
    "sse4-1": "sse4.1",
    "sse4-2": "sse4.2",
    "pclmuldq": "pclmulqdq",
    "ffxsr": "fxsr-opt",
    "xd": "nx",
    "i64": "lm",
    "lzcnt": "abm",
    "ospke": "pku",
}

# Bits that CPUID.80000001:EDX repeats from CPUID.1:EDX on AMD's CPUs (APM vol. 3, appendix E.4.2).
AMD_ALIASED_FEATURES: Final = (
    *("fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "mtrr", "pge", "mca", "cmov"),
    *("pat", "pse36", "mmx", "fxsr"),
)

# A feature and the one it is nothing without: this list's first word for each of the others.
_DEPENDENTS: Final = (
    "fxsr sse",
    "sse sse2",
    "sse2 pni pclmulqdq aes sha-ni",
    "pni ssse3 sse4a",
    "ssse3 sse4.1",
    "sse4.1 sse4.2",
    "mmx 3dnow mmxext",
    "3dnow 3dnowext",
    "xsave avx xsaveopt xsavec xgetbv1 xsaves",
    "xsavec xfd",
    "avx avx2 fma f16c vaes vpclmulqdq xop fma4",
    "avx2 avx512f avx-vnni",
    "avx512f avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512-4vnniw avx512-4fmaps",
    "avx512f avx512-vpopcntdq avx512vnni avx512vbmi avx512-vp2intersect",
    "avx512bw avx512vbmi2 avx512bitalg avx512-bf16 avx512-fp16",
    "apic x2apic tsc-deadline arat extapic",
    "tsc invtsc rdtscp tsc-adjust",
    "pae lm",
    "lm pdpe1gb pcid la57",
    "cx8 cx16",
    "svm npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists pause-filter avic",
    "svm v-vmsave-vmload vgif svme-addr-chk",
    "pause-filter pfthreshold",
    "arch-capabilities rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no",
    "arch-capabilities pschange-mc-no tsx-ctrl taa-no",
    "core-capability split-lock-detect",
)
REQUIRES: Final = {
    dependent: needed
    for needed, *dependents in (line.split() for line in _DEPENDENTS)
    for dependent in dependents
}


def features_of(read: Callable[[int, int], tuple[int, int, int, int]]) -> frozenset[str]:
    """The features that a CPUID has, by name: `read(function, subleaf)` gives its EAX, EBX, ECX and EDX.

    A leaf that is not there must read as zeros.
    """
    words = {
        source: read(source.function, source.subleaf or 0)[source.register]
        for source in WORD_SOURCES.values()
        if isinstance(source, CpuidRegister)
    }
    return frozenset(
        name
        for name, (word, bit) in FEATURES.items()
        if isinstance(source := WORD_SOURCES[word], CpuidRegister) and words[source] >> bit & 1
    )
