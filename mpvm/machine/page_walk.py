"""Linear to guest-physical addresses by the guest's own page tables (SDM vol. 3, chapter 4).

For looking at a stopped vCPU (crash reports, later a debugger): nothing is written, no rights are checked.
"""

from typing import Final, NamedTuple

from mpvm.abi.control_block import GuestState
from mpvm.memory.ram import GuestRam

CR0_PG: Final = 1 << 31
CR4_PSE: Final = 1 << 4
CR4_PAE: Final = 1 << 5
CR4_LA57: Final = 1 << 12
EFER_LMA: Final = 1 << 10
PTE_PRESENT: Final = 1 << 0
PTE_LARGE: Final = 1 << 7
PTE_ADDRESS: Final = 0x000F_FFFF_FFFF_F000


class _Format(NamedTuple):
    """A paging mode: index shifts of its levels, bits of an index, bytes of an entry."""

    shifts: tuple[int, ...]
    index_bits: int
    entry_bytes: int


_TWO_LEVELS: Final = _Format((22, 12), 10, 4)
_PAE: Final = _Format((30, 21, 12), 9, 8)
_FOUR_LEVELS: Final = _Format((39, 30, 21, 12), 9, 8)
_FIVE_LEVELS: Final = _Format((48, 39, 30, 21, 12), 9, 8)


def _format(guest: GuestState) -> _Format:
    if guest.efer & EFER_LMA:
        return _FIVE_LEVELS if guest.cr4 & CR4_LA57 else _FOUR_LEVELS
    return _PAE if guest.cr4 & CR4_PAE else _TWO_LEVELS


def translate(guest: GuestState, ram: GuestRam, linear: int) -> int | None:
    """The guest-physical address of `linear`, None when it is not mapped or its tables are not in RAM."""
    if not guest.cr0 & CR0_PG:
        return linear & 0xFFFFFFFF
    mode = _format(guest)
    table = guest.cr3 & PTE_ADDRESS
    if mode is _PAE:
        # The page-directory-pointer table is aligned to 32 bytes only (SDM vol. 3, 4.4.1).
        table = guest.cr3 & 0xFFFFFFE0
    for level, shift in enumerate(mode.shifts):
        index = linear >> shift & ((1 << mode.index_bits) - 1)
        if mode is _PAE and level == 0:
            index &= 3
        address = table + index * mode.entry_bytes
        if not ram.contains(address, mode.entry_bytes):
            return None
        entry = int.from_bytes(ram.read(address, mode.entry_bytes), "little")
        if not entry & PTE_PRESENT:
            return None
        offset_mask = (1 << shift) - 1
        large = entry & PTE_LARGE and shift != 12 and not (mode is _PAE and level == 0)
        if mode is _TWO_LEVELS and large:
            if guest.cr4 & CR4_PSE:
                # PSE-36: bits 20:13 are bits 39:32 of the address.
                return (entry & 0xFFC00000) | (entry >> 13 & 0xFF) << 32 | linear & offset_mask
        elif large or shift == 12:
            return (entry & PTE_ADDRESS & ~offset_mask) | linear & offset_mask
        table = entry & PTE_ADDRESS
    return None


def read_linear(guest: GuestState, ram: GuestRam, linear: int, size: int) -> bytes:
    """Up to `size` bytes at `linear`, fewer where the mapping or the RAM ends."""
    out = bytearray()
    while len(out) < size:
        address = translate(guest, ram, linear + len(out))
        count = min(size - len(out), 0x1000 - (linear + len(out) & 0xFFF))
        if address is None or not ram.contains(address, count):
            break
        out += ram.read(address, count)
    return bytes(out)
