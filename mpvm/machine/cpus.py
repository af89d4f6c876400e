"""Tells the vCPUs' areas which CPU each one is, and puts them into the reset state."""

from collections.abc import Sequence
from typing import Final

from mpvm.abi.layout import MAX_CPUID_ENTRIES, CpuidEntry, VcpuArea
from mpvm.cpu.cpuid import cpuid_entries
from mpvm.cpu.models import CpuModel, feature_words
from mpvm.cpu.state import reset_state
from mpvm.cpu.topology import Topology

# The local APIC's ID register, offset / 4; the ID is its top byte (SDM vol. 3, 10.4.6).
APIC_ID: Final = 0x020 // 4


def describe(areas: Sequence[VcpuArea], model: CpuModel, topology: Topology, tsc_khz: int) -> None:
    """Write APIC ID, CPUID entries and feature words of the CPU that each area's vCPU is into the area."""
    words = feature_words(model)
    for area in areas:
        area.apic_id = topology.apic_id(area.index)
        area.lapic.regs[APIC_ID] = area.apic_id << 24 & 0xFFFFFFFF
        entries = cpuid_entries(model, topology, area.index, tsc_khz)
        assert len(entries) <= MAX_CPUID_ENTRIES, f"{model.name} has {len(entries)} CPUID entries"
        for place, entry in zip(area.cpuid, entries, strict=False):
            place.function, place.index, place.flags, place.eax, place.ebx, place.ecx, place.edx = entry
        area.cpuid_count = len(entries)
        for index, word in enumerate(words):
            area.features[index] = word


def leaf(area: VcpuArea, function: int) -> CpuidEntry:
    """The first CPUID entry of `function`, all zeros when there is none."""
    for entry in area.cpuid[: area.cpuid_count]:
        if entry.function == function:
            found: CpuidEntry = entry
            return found
    return CpuidEntry(function=function)


def reset(areas: Sequence[VcpuArea]) -> None:
    """Guest state as after power-up, EDX with the CPU's signature (SDM vol. 3, table 9-1)."""
    for area in areas:
        reset_state(leaf(area, 1).eax, bsp=bool(area.is_bsp)).store(area.control.guest)
