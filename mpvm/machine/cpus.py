"""Tells the vCPUs' areas which CPU each one is, and puts them into the reset state."""

from collections.abc import Sequence

from mpvm.abi.errors import ConfigError
from mpvm.abi.layout import MAX_CPUID_ENTRIES, CpuidEntry, VcpuArea
from mpvm.cpu.cpuid import cpuid_entries
from mpvm.cpu.models import feature_words, resolve_model
from mpvm.cpu.state import reset_state


def describe(areas: Sequence[VcpuArea], text: str, tsc_khz: int) -> None:
    """Write CPUID entries and feature words of the model that `text` names into every area.

    Raises `ConfigError` when there is no such model.
    """
    model = resolve_model(text)
    words = feature_words(model)
    for area in areas:
        entries = cpuid_entries(model, area.index, len(areas), tsc_khz)
        if len(entries) > MAX_CPUID_ENTRIES:
            raise ConfigError(f"cpu.model: {text} has {len(entries)} CPUID entries, {MAX_CPUID_ENTRIES} fit")
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
