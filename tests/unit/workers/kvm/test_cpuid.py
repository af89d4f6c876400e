"""The CPU model's leaves, filtered by what KVM says it supports."""

from mpvm.abi.kvm.structs import CpuidEntry2
from mpvm.abi.layout import CpuidEntry
from workers.kvm import cpuid

_INDEXED = 1
_X2APIC, _TSC_DEADLINE, _MONITOR, _SSE3 = 1 << 21, 1 << 24, 1 << 3, 1


def test_features_that_kvm_lacks_are_off_and_the_local_apics_are_not_kvms_to_refuse() -> None:
    model = [CpuidEntry(1, 0, 0, 0x600, 7, _SSE3 | _MONITOR | _X2APIC | _TSC_DEADLINE, 0)]
    (entry,) = cpuid.filtered(model, [CpuidEntry2(1, 0, 0, 0, 0, _SSE3)])
    assert (entry.eax, entry.ebx, entry.ecx) == (0x600, 7, _SSE3 | _X2APIC | _TSC_DEADLINE)


def test_leaves_without_features_are_the_models() -> None:
    model = [CpuidEntry(0x40000000, 0, 0, 1, 2, 3, 4)]
    (entry,) = cpuid.filtered(model, [CpuidEntry2(0x40000000, 0, 0, 9, 9, 9, 9)])
    assert (entry.eax, entry.ebx, entry.ecx, entry.edx) == (1, 2, 3, 4)


def test_a_component_of_the_xsave_area_lies_where_the_host_has_it_or_is_left_out() -> None:
    model = [
        CpuidEntry(0xD, 0, _INDEXED, 0x207, 0, 0, 0),
        CpuidEntry(0xD, 2, _INDEXED, 256, 576, 0, 0),
        CpuidEntry(0xD, 9, _INDEXED, 8, 0xA80, 0, 0),
    ]
    host = [
        CpuidEntry2(0xD, 0, _INDEXED, 0x203, 0, 0, 0),
        CpuidEntry2(0xD, 9, _INDEXED, 8, 0x980, 0, 0),
    ]
    entries = cpuid.filtered(model, host)
    assert [(entry.index, entry.eax, entry.ebx) for entry in entries] == [(0, 0x203, 0), (9, 8, 0x980)]
    assert cpuid.xsave_components(entries) == 0x203
    assert cpuid.xsave_place(entries, 9) == 0x980
    assert cpuid.xsave_place(entries, 2) is None
