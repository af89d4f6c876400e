"""The order of the words of CPU features, which is the engine's (QEMU's enum FeatureWord, as of 5.0)."""

from enum import IntEnum
from typing import Final


class FeatureWord(IntEnum):
    """Index into `VcpuArea.features`; words without flags of ours stay 0."""

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


FEATURE_WORDS: Final = len(FeatureWord)
