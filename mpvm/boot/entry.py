"""CPU states in which boot protocols enter a kernel, each with a fresh FPU."""

import struct
from typing import Final

from mpvm.boot.e820 import FIRMWARE_END
from mpvm.cpu import state
from mpvm.cpu.state import CpuState, DescriptorTableState, SegmentState, reset_state
from mpvm.memory.ram import GuestRam

FLAT_LIMIT = 0xFFFFFFFF
TSS32_LIMIT = 0x67
# Flat code and data of 32 bits, then of 16, in the place of firmware.
_GDT: Final = (0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00009B000000FFFF, 0x000093000000FFFF)
_GDT_ADDRESS: Final = FIRMWARE_END - 0x100


def real_mode(segment: int, offset: int) -> CpuState:
    """16-bit real mode at `segment`:`offset`, all other segments 0, interrupts off, the BIOS's IVT at 0."""
    entry = _after_firmware()
    entry.cs = SegmentState(segment << 4, 0xFFFF, segment, state.AR_CODE16)
    entry.idtr = DescriptorTableState(0, 0x3FF)
    entry.rip = offset
    return entry


def protected_mode(address: int, ram: GuestRam) -> CpuState:
    """32-bit protected mode at `address`: flat segments, no paging, interrupts off.

    No protocol has kernels rely on the GDT. There is one in `ram` all the same, as with GRUB and QEMU, for
    kernels that load a segment register before they have their own.
    """
    ram.write(_GDT_ADDRESS, struct.pack(f"<{len(_GDT)}Q", *_GDT))
    entry = _in_protected_mode(address)
    entry.gdtr = DescriptorTableState(_GDT_ADDRESS, 8 * len(_GDT) - 1)
    return entry


def long_mode(
    address: int, page_table: int, gdt: DescriptorTableState, code_selector: int, data_selector: int
) -> CpuState:
    """64-bit mode at `address`: paging by `page_table`, flat segments that `gdt` holds, interrupts off."""
    entry = _in_protected_mode(address)
    _load_flat_segments(entry, code_selector, state.AR_CODE64, data_selector)
    entry.gdtr = gdt
    entry.cr0 |= state.CR0_PG
    entry.cr3 = page_table
    entry.cr4 = state.CR4_PAE
    entry.efer = state.EFER_LME | state.EFER_LMA
    return entry


def _in_protected_mode(address: int) -> CpuState:
    entry = _after_firmware()
    _load_flat_segments(entry, 0x08, state.AR_CODE32, 0x10)
    entry.tr = SegmentState(limit=TSS32_LIMIT, access_rights=state.AR_BUSY_TSS)
    entry.idtr = DescriptorTableState(0, 0x3FF)
    entry.cr0 |= state.CR0_PE
    entry.rip = address
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
