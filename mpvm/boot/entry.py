"""CPU states in which boot protocols enter a kernel, each with a fresh FPU."""

from mpvm.cpu import state
from mpvm.cpu.state import CpuState, DescriptorTableState, SegmentState, reset_state

FLAT_LIMIT = 0xFFFFFFFF
TSS32_LIMIT = 0x67


def real_mode(segment: int, offset: int) -> CpuState:
    """16-bit real mode at `segment`:`offset`, all other segments 0, interrupts off, the BIOS's IVT at 0."""
    entry = _after_firmware()
    entry.cs = SegmentState(segment << 4, 0xFFFF, segment, state.AR_CODE16)
    entry.idtr = DescriptorTableState(0, 0x3FF)
    entry.rip = offset
    return entry


def protected_mode(address: int) -> CpuState:
    """32-bit protected mode at `address`: flat segments, no paging, no valid GDT, interrupts off."""
    entry = _after_firmware()
    _load_flat_segments(entry, 0x08, state.AR_CODE32, 0x10)
    entry.tr = SegmentState(limit=TSS32_LIMIT, access_rights=state.AR_BUSY_TSS)
    entry.gdtr = DescriptorTableState(0, 0)
    entry.idtr = DescriptorTableState(0, 0)
    entry.cr0 |= state.CR0_PE
    entry.rip = address
    return entry


def long_mode(
    address: int, page_table: int, gdt: DescriptorTableState, code_selector: int, data_selector: int
) -> CpuState:
    """64-bit mode at `address`: paging by `page_table`, flat segments that `gdt` holds, interrupts off."""
    entry = protected_mode(address)
    _load_flat_segments(entry, code_selector, state.AR_CODE64, data_selector)
    entry.gdtr = gdt
    entry.cr0 |= state.CR0_PG
    entry.cr3 = page_table
    entry.cr4 = state.CR4_PAE
    entry.efer = state.EFER_LME | state.EFER_LMA
    return entry


def _after_firmware() -> CpuState:
    entry = reset_state()
    entry.cr0 = state.CR0_ET
    entry.xsave = state.xsave_area(state.FXSAVE_FNINIT)
    return entry


def _load_flat_segments(entry: CpuState, code_selector: int, code_rights: int, data_selector: int) -> None:
    data = SegmentState(0, FLAT_LIMIT, data_selector, state.AR_DATA32)
    entry.cs = SegmentState(0, FLAT_LIMIT, code_selector, code_rights)
    entry.ds = entry.es = entry.ss = entry.fs = entry.gs = data
