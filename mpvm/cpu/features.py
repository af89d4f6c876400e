"""CPUID feature flags by name: which bit of which feature word.

Source: SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.

Names are QEMU's. A feature word is one register of one CPUID leaf, in the order of the engine's own
array of them (`CPUX86State.features`).
"""

from enum import IntEnum
from typing import Final, NamedTuple


class FeatureWord(IntEnum):
    """Index into the engine's feature words; it has 34, those without flags of ours stay 0."""

    CPUID_1_EDX = 0
    CPUID_1_ECX = 1
    CPUID_7_0_EBX = 2
    CPUID_7_0_ECX = 3
    CPUID_7_0_EDX = 4
    CPUID_7_1_EAX = 5
    CPUID_8000_0001_EDX = 6
    CPUID_8000_0001_ECX = 7
    CPUID_8000_0007_EDX = 8
    CPUID_8000_0008_EBX = 9
    CPUID_C000_0001_EDX = 10
    KVM = 11
    KVM_HINTS = 12
    HYPERV_EAX = 13
    HYPERV_EBX = 14
    HYPERV_EDX = 15
    HV_RECOMM_EAX = 16
    HV_NESTED_EAX = 17
    SVM = 18
    CPUID_D_1_EAX = 19
    CPUID_6_EAX = 20
    XSAVE_COMPONENTS_LO = 21
    XSAVE_COMPONENTS_HI = 22
    ARCH_CAPABILITIES = 23
    CORE_CAPABILITY = 24
    VMX_PROCBASED_CTLS = 25
    VMX_SECONDARY_CTLS = 26
    VMX_PINBASED_CTLS = 27
    VMX_EXIT_CTLS = 28
    VMX_ENTRY_CTLS = 29
    VMX_MISC = 30
    VMX_EPT_VPID_CAPS = 31
    VMX_BASIC = 32
    VMX_VMFUNC = 33


class FeatureBit(NamedTuple):
    """Where a feature flag is."""

    word: FeatureWord
    bit: int

    @property
    def mask(self) -> int:
        """The flag as a mask of its word."""
        return 1 << self.bit


# The 32 bits of a word, from bit 0 on; "-" has no name or is not for a model to choose
# (OSXSAVE and OSPKE follow CR4, HT and CMP_LEGACY the number of vCPUs).
_NAMES: Final = {
    FeatureWord.CPUID_1_EDX: (
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov"
        " pat pse36 pn clflush - ds acpi mmx fxsr sse sse2 ss - tm ia64 pbe"
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
        " avx512bitalg - avx512-vpopcntdq - la57 - - - - - rdpid - - cldemote - movdiri movdir64b - - -"
    ),
    FeatureWord.CPUID_7_0_EDX: (
        "- - avx512-4vnniw avx512-4fmaps fsrm - - - - - md-clear - - - - -"
        " - - - - - - - - - - spec-ctrl stibp - arch-capabilities core-capability ssbd"
    ),
    FeatureWord.CPUID_8000_0001_EDX: (
        "- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr-opt pdpe1gb rdtscp"
        " - lm 3dnowext 3dnow"
    ),
    FeatureWord.CPUID_8000_0001_ECX: (
        "lahf-lm - svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop"
        " skinit wdt - lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb - - - - - - -"
    ),
    FeatureWord.CPUID_8000_0007_EDX: "- - - - - - - - invtsc" + " -" * 23,
    FeatureWord.CPUID_8000_0008_EBX: (
        "clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - - amd-stibp"
        " - - - - - - - - amd-ssbd virt-ssbd amd-no-ssb - - - - -"
    ),
    FeatureWord.CPUID_D_1_EAX: "xsaveopt xsavec xgetbv1 xsaves" + " -" * 28,
    FeatureWord.CPUID_6_EAX: "- - arat" + " -" * 29,
}

FEATURES: Final = {
    name: FeatureBit(word, bit)
    for word, names in _NAMES.items()
    for bit, name in enumerate(names.split())
    if name != "-"
}

# Other spellings that people know from /proc/cpuinfo and the manuals; "_" is taken for "-" anyway.
ALIASES: Final = {"sse3": "pni", "sse4-1": "sse4.1", "sse4-2": "sse4.2", "lzcnt": "abm", "ospke": "pku"}

# Bits that CPUID.80000001:EDX repeats from CPUID.1:EDX on AMD's CPUs (APM vol. 3, appendix E.4.2).
AMD_ALIASED_FEATURES: Final = (
    *("fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "mtrr", "pge", "mca", "cmov"),
    *("pat", "pse36", "mmx", "fxsr"),
)

# A feature and the one it is nothing without.
REQUIRES: Final = {
    "sse": "fxsr",
    "sse2": "sse",
    "pni": "sse2",
    "ssse3": "pni",
    "sse4.1": "ssse3",
    "sse4.2": "sse4.1",
    "pclmulqdq": "sse2",
    "aes": "sse2",
    "sse4a": "pni",
    "xsaveopt": "xsave",
    "xgetbv1": "xsave",
    "3dnowext": "3dnow",
    "3dnow": "mmx",
    "mmxext": "mmx",
    "x2apic": "apic",
    "tsc-deadline": "apic",
    "arat": "apic",
    "invtsc": "tsc",
    "rdtscp": "tsc",
    "lm": "pae",
    "lahf-lm": "lm",
    "syscall": "lm",
    "pdpe1gb": "lm",
    "cx16": "cx8",
}
