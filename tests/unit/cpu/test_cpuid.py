"""CPUID leaf by leaf, as SDM vol. 2 and APM vol. 3 lay them out."""

import struct

import pytest

from mpvm.abi.feature_words import FeatureWord
from mpvm.abi.layout import MAX_CPUID_ENTRIES
from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.cpu.cpuid import CpuidEntry, cpuid_entries, tsc_ratio
from mpvm.cpu.features import FEATURES
from mpvm.cpu.models import CpuModel, feature_words, model_names
from mpvm.cpu.resolve import resolve_model
from mpvm.cpu.topology import Topology, single_socket, topology


def model(text: str) -> CpuModel:
    return resolve_model(text, UnicornAccelerator())


MAX, QEMU64, EPYC, HASWELL = (model(name) for name in ("max", "qemu64", "EPYC", "Haswell"))
MODELS = [model(name) for name, stands_for in model_names() if stands_for is None]
TWELVE = topology(sockets=2, cores=3, threads=2)
DIES = topology(sockets=2, dies=3, cores=2, threads=2)
TSC_KHZ = 2_394_451


def leaves(
    cpu: CpuModel = MAX,
    index: int = 0,
    smp: int = 4,
    tsc_khz: int = TSC_KHZ,
    arranged: Topology | None = None,
) -> dict[tuple[int, int], CpuidEntry]:
    entries = cpuid_entries(cpu, arranged or single_socket(smp), index, tsc_khz)
    return {(e.function, e.subleaf): e for e in entries}


def text(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


@pytest.mark.parametrize("cpu", MODELS, ids=lambda cpu: cpu.name)
@pytest.mark.parametrize("smp", [1, 64])
def test_entries_fit_into_the_area_and_none_comes_twice(cpu: CpuModel, smp: int) -> None:
    entries = cpuid_entries(cpu, single_socket(smp), 0, TSC_KHZ)
    assert len(entries) <= MAX_CPUID_ENTRIES
    assert len({(e.function, e.subleaf) for e in entries}) == len(entries)


@pytest.mark.parametrize("cpu", MODELS, ids=lambda cpu: cpu.name)
def test_no_leaf_lies_beyond_the_highest_that_is_announced(cpu: CpuModel) -> None:
    table = leaves(cpu)
    for function, _ in table:
        # Each hypervisor interface has a range of its own.
        mask = 0xFFFFFF00 if function >> 30 == 1 else 0xC0000000
        assert function <= table[function & mask, 0].eax


@pytest.mark.parametrize("cpu", MODELS, ids=lambda cpu: cpu.name)
def test_every_register_has_32_bits(cpu: CpuModel) -> None:
    for entry in cpuid_entries(cpu, single_socket(64), 63, 4_999_999):
        assert all(0 <= value < 1 << 32 for value in entry)


def test_leaf_0_has_the_vendor_in_ebx_edx_ecx() -> None:
    for cpu, vendor, level in ((MAX, b"GenuineIntel", 0x16), (QEMU64, b"AuthenticAMD", 0xD)):
        leaf = leaves(cpu)[0, 0]
        assert leaf.eax == level
        assert text(leaf.ebx, leaf.edx, leaf.ecx) == vendor


def test_leaf_1_has_signature_apic_id_cores_and_cache_line() -> None:
    leaf = leaves(index=3, smp=6)[1, 0]
    assert leaf.eax == 0x30661
    assert leaf.ebx >> 24 == 3
    assert leaf.ebx >> 16 & 0xFF == 8, "the power of two that holds 6 cores"
    assert leaf.ebx >> 8 & 0xFF == 64 // 8


def test_the_ht_flag_tells_one_cpu_from_several() -> None:
    assert leaves(smp=1)[1, 0].edx & 1 << 28 == 0
    assert leaves(smp=2)[1, 0].edx & 1 << 28


@pytest.mark.parametrize("cpu", [cpu for cpu in MODELS if cpu.level >= 7], ids=lambda cpu: cpu.name)
def test_feature_leaves_hold_the_feature_words(cpu: CpuModel) -> None:
    table, words = leaves(cpu, smp=1), feature_words(cpu)
    assert table[1, 0].ecx == words[FeatureWord.CPUID_1_ECX]
    assert table[1, 0].edx == words[FeatureWord.CPUID_1_EDX]
    assert table[6, 0].eax == words[FeatureWord.CPUID_6_EAX]
    assert table[7, 0][3:] == (
        0,
        words[FeatureWord.CPUID_7_0_EBX],
        words[FeatureWord.CPUID_7_0_ECX],
        words[FeatureWord.CPUID_7_0_EDX],
    )
    assert table[0x80000001, 0].ecx == words[FeatureWord.CPUID_8000_0001_ECX]
    assert table[0x80000001, 0].edx == words[FeatureWord.CPUID_8000_0001_EDX]
    assert table[0x80000007, 0].edx == words[FeatureWord.CPUID_8000_0007_EDX] == 1 << 8


@pytest.mark.parametrize("bit", [FEATURES["x2apic"], FEATURES["tsc-deadline"], FEATURES["hypervisor"]])
def test_leaf_1_announces_what_the_machine_gives(bit: tuple[FeatureWord, int]) -> None:
    for cpu in MODELS[:2]:
        assert leaves(cpu)[1, 0].ecx >> bit[1] & 1


def test_osxsave_and_ospke_are_left_to_the_worker() -> None:
    table = leaves()
    assert table[1, 0].ecx & 1 << 27 == 0
    assert table[7, 0].ecx & 1 << 4 == 0


@pytest.mark.parametrize(("smp", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (8, 3), (64, 6)])
def test_the_topology_is_one_package_of_single_threaded_cores(smp: int, bits: int) -> None:
    table = leaves(index=smp - 1, smp=smp)
    threads, cores, end = (table[0xB, number] for number in range(3))
    assert (threads.eax, threads.ebx, threads.ecx) == (0, 1, 0x100)
    assert (cores.eax, cores.ebx, cores.ecx) == (bits, smp, 0x201)
    assert (end.eax, end.ebx, end.ecx) == (0, 0, 2)
    assert {threads.edx, cores.edx, end.edx} == {smp - 1}


def test_subleaves_are_marked_as_such() -> None:
    for entry in cpuid_entries(MAX, single_socket(4), 0, TSC_KHZ):
        assert entry.flags == (entry.function in (4, 7, 0xB, 0xD))


def decode_cache(leaf: CpuidEntry) -> tuple[int, int, int]:
    line, ways, sets = (leaf.ebx & 0xFFF) + 1, (leaf.ebx >> 22) + 1, leaf.ecx + 1
    return leaf.eax & 31, leaf.eax >> 5 & 7, line * ways * sets


def test_leaf_4_describes_four_caches_and_ends() -> None:
    table = leaves()
    caches = [decode_cache(table[4, number]) for number in range(4)]
    assert caches == [(1, 1, 32 << 10), (2, 1, 32 << 10), (3, 2, 4 << 20), (3, 3, 16 << 20)]
    assert table[4, 4][3:] == (0, 0, 0, 0)


def test_only_the_last_cache_is_shared_by_the_cores() -> None:
    table = leaves(smp=64)
    assert [(table[4, number].eax >> 14 & 0xFFF) + 1 for number in range(4)] == [1, 1, 1, 64]
    assert table[4, 0].eax >> 26 == 63


def test_leaf_2_sends_to_leaf_4() -> None:
    assert leaves()[2, 0][3:] == (0xFF01, 0, 0, 0)


def test_leaf_0xd_lays_out_the_xsave_area() -> None:
    table = leaves()
    assert table[0xD, 0][3:] == (0x203, 0xA88, 0xA88, 0)
    assert table[0xD, 1].eax == 0b101
    assert table[0xD, 9][3:] == (8, 0xA80, 0, 0)


def test_without_protection_keys_the_xsave_area_ends_with_its_header() -> None:
    table = leaves(model("max,-pku"))
    assert table[0xD, 0][3:] == (3, 576, 576, 0)
    assert (0xD, 9) not in table


def test_without_xsave_there_is_no_leaf_0xd() -> None:
    assert (0xD, 0) not in leaves(QEMU64)


def linux_tsc_khz(leaf: CpuidEntry) -> int:
    """native_calibrate_tsc() of Linux, with its 32-bit arithmetic."""
    crystal_khz = leaf.ecx // 1000
    return (crystal_khz * leaf.ebx & 0xFFFFFFFF) // leaf.eax


@pytest.mark.parametrize(
    "tsc_khz", [1_000_000, 1_000_300, 2_000_000, 2_099_998, 2_394_451, 2_899_999, 3_700_012, 4_999_999]
)
def test_leaf_0x15_gives_the_tsc_rate_even_in_32_bits(tsc_khz: int) -> None:
    leaf = leaves(tsc_khz=tsc_khz)[0x15, 0]
    assert leaf.ecx == 1_000_000_000
    assert linux_tsc_khz(leaf) == pytest.approx(tsc_khz, rel=10e-6)


def test_the_tsc_ratio_is_never_off_by_more_than_150_ppm() -> None:
    for tsc_khz in range(800_000, 5_000_000, 79_191):
        denominator, numerator = tsc_ratio(tsc_khz)
        assert numerator * 1_000_000 < 1 << 32
        assert 1_000_000 * numerator / denominator == pytest.approx(tsc_khz, rel=150e-6)


def test_leaf_0x16_has_the_rate_in_mhz() -> None:
    assert leaves()[0x16, 0][3:] == (2394, 2394, 100, 0)


def test_the_hypervisor_leaves_name_us_and_the_exact_rate() -> None:
    table = leaves()
    leaf = table[0x40000000, 0]
    assert leaf.eax == 0x40000010
    assert text(leaf.ebx, leaf.ecx, leaf.edx) == b"mpvmmpvmmpvm"
    assert table[0x40000010, 0][3:5] == (TSC_KHZ, 1_000_000)


def test_a_cpu_that_hides_the_hypervisor_has_no_hypervisor_leaves() -> None:
    assert [f for f, _ in leaves(model("max,-hypervisor")) if f >> 28 == 4] == []


def test_the_model_name_is_in_the_extended_leaves() -> None:
    table = leaves()
    name = b"".join(text(*table[0x80000002 + part, 0][3:]) for part in range(3))
    assert name.rstrip(b"\0") == b"mpvm max CPU"


@pytest.mark.parametrize("cpu", MODELS, ids=lambda cpu: cpu.name)
def test_addresses_have_40_physical_and_48_or_57_linear_bits_or_less_without_long_mode(cpu: CpuModel) -> None:
    if cpu.xlevel < 0x80000008:
        return
    short = 36 if "pse36" in cpu.features else 32
    linear = 57 if "la57" in cpu.features else 48
    assert leaves(cpu)[0x80000008, 0].eax == (linear << 8 | 40 if "lm" in cpu.features else short)


def test_amd_counts_its_cores_in_leaf_80000008() -> None:
    assert leaves(QEMU64, smp=6)[0x80000008, 0].ecx == 3 << 12 | 5
    assert leaves(MAX, smp=6)[0x80000008, 0].ecx == 0


def test_amd_has_cmp_legacy_only_with_several_cores() -> None:
    assert leaves(QEMU64, smp=2)[0x80000001, 0].ecx & 2
    assert leaves(QEMU64, smp=1)[0x80000001, 0].ecx & 2 == 0
    assert leaves(MAX, smp=2)[0x80000001, 0].ecx & 2 == 0


def test_amd_describes_its_caches_in_the_extended_leaves() -> None:
    table = leaves(QEMU64)
    l1, l2 = table[0x80000005, 0], table[0x80000006, 0]
    assert (l1.ecx >> 24, l1.edx >> 24, l1.ecx & 0xFF) == (64, 64, 64)
    assert (l2.ecx >> 16, l2.ecx >> 12 & 15, l2.ecx & 0xFF) == (512, 8, 64)
    assert ((l2.edx >> 18) * 512, l2.edx >> 12 & 15) == (16384, 8)


def test_three_levels_of_apic_ids_are_told_by_leaf_0xb() -> None:
    table = leaves(HASWELL, 7, arranged=TWELVE)
    assert table[0xB, 0][3:] == (1, 2, 0x100, 9)
    assert table[0xB, 1][3:] == (3, 6, 0x201, 9)
    assert table[1, 0].ebx >> 24 == 9
    assert table[1, 0].ebx >> 16 & 0xFF == 8
    assert (0x1F, 0) not in table


def test_dies_are_told_by_leaf_0x1f() -> None:
    table = leaves(HASWELL, 13, arranged=DIES)
    assert table[0, 0].eax == 0x1F
    assert [entry[3:6] for entry in (table[0x1F, number] for number in range(4))] == [
        *((1, 2, 0x100), (2, 4, 0x201), (4, 12, 0x502), (0, 0, 0x003)),
    ]
    assert {table[0x1F, number].edx for number in range(4)} == {0x11}


def test_caches_are_shared_by_the_threads_of_a_core_and_the_last_by_a_die() -> None:
    table = leaves(HASWELL, arranged=DIES)
    assert [(table[4, number].eax >> 14 & 0xFFF) + 1 for number in range(4)] == [2, 2, 2, 4]
    assert table[4, 0].eax >> 26 == 8 - 1, "6 cores of a socket take 3 bits"


def test_amd_tells_core_and_node_where_it_has_the_extensions() -> None:
    table = leaves(EPYC, 7, arranged=TWELVE)
    assert table[0x8000001E, 0][3:] == (9, 0x100, 1, 0)
    assert table[0x80000008, 0].ecx == 3 << 12 | 5
    assert (0x8000001E, 0) not in leaves(QEMU64)


def test_amd_describes_its_caches_in_leaf_0x8000001d_too() -> None:
    table = leaves(EPYC, arranged=TWELVE)
    assert [decode_cache(table[0x8000001D, number]) for number in range(4)] == [
        *((1, 1, 32 << 10), (2, 1, 64 << 10), (3, 2, 512 << 10), (3, 3, 8 << 20)),
    ]
    assert [(table[0x8000001D, number].eax >> 14 & 0xFFF) + 1 for number in range(4)] == [2, 2, 2, 6]
    assert table[0x8000001D, 4][3:] == (0, 0, 0, 0)


def test_the_last_cache_can_be_left_out() -> None:
    assert leaves(model("Haswell,l3-cache=off"))[4, 3][3:] == (0, 0, 0, 0)
    assert leaves(model("EPYC,l3-cache=off"))[0x80000006, 0].edx == 0


def test_a_cpu_without_leaf_4_has_descriptors() -> None:
    old = model("pentium2,-x2apic,-tsc-adjust,-arat,-invtsc,-tsc-deadline")
    assert old.level == 2
    assert leaves(old)[2, 0][3:] == (1, 0, 0, 0x2C307D)


def test_kvms_leaves_are_there_with_a_feature_of_kvms() -> None:
    assert (0x40000100, 0) not in leaves(MAX._replace(features=MAX.features - {"kvm-steal-time"}))
    table = leaves()
    assert text(*table[0x40000100, 0][4:]) == b"KVMKVMKVM\0\0\0"
    assert table[0x40000100, 0].eax == 0x40000101
    assert table[0x40000101, 0].eax == 1 << 5
