"""The MSRs that the control block has (SDM vol. 4), for KVM_GET_MSRS and KVM_SET_MSRS."""

from collections.abc import Callable
from typing import Final

from mpvm.abi.control_block import MC_BANK_MSRS, MTRR_FIXED, MTRR_VARIABLE, GuestState

APIC_BASE: Final = 0x1B
_FIXED_MTRRS: Final = (0x250, 0x258, 0x259, *range(0x268, 0x270))
_SCALARS: Final = {
    APIC_BASE: "apic_base",
    0x3B: "tsc_adjust",
    0x174: "sysenter_cs",
    0x175: "sysenter_esp",
    0x176: "sysenter_eip",
    0x17A: "mcg_status",
    0x17B: "mcg_ctl",
    0x1A0: "misc_enable",
    0x1D9: "debugctl",
    0x277: "pat",
    0x2FF: "mtrr_def_type",
    0xC0000080: "efer",
    0xC0000081: "star",
    0xC0000082: "lstar",
    0xC0000083: "cstar",
    0xC0000084: "sfmask",
    0xC0000102: "kernel_gs_base",
    0xC0000103: "tsc_aux",
}
_SEGMENT_BASES: Final = {0xC0000100: "fs", 0xC0000101: "gs"}
# MSR to array of the guest state and index.
_ARRAYS: Final = (
    {msr: ("mtrr_fixed", index) for index, msr in enumerate(_FIXED_MTRRS[:MTRR_FIXED])}
    | {0x200 + index: ("mtrr_variable", index) for index in range(MTRR_VARIABLE)}
    | {0x400 + index: ("mc_banks", index) for index in range(MC_BANK_MSRS)}
)
_CANONICAL: Final = frozenset((0x175, 0x176, 0xC0000082, 0xC0000083, 0xC0000100, 0xC0000101, 0xC0000102))


def indices() -> list[int]:
    """All of them, in order."""
    return sorted([*_SCALARS, *_SEGMENT_BASES, *_ARRAYS])


def read(guest: GuestState, index: int) -> int | None:
    """Its value; None when there is none of that index."""
    if index in _SCALARS:
        return int(getattr(guest, _SCALARS[index]))
    if index in _SEGMENT_BASES:
        return int(getattr(guest, _SEGMENT_BASES[index]).base)
    if index in _ARRAYS:
        name, at = _ARRAYS[index]
        return int(getattr(guest, name)[at])
    return None


def _pat_valid(value: int) -> bool:
    return all(value >> 8 * i & 0xFF in (0, 1, 4, 5, 6, 7) for i in range(8))


_VALID: Final[dict[int, Callable[[int], bool]]] = {
    0x277: _pat_valid,
    0xC0000080: lambda value: not value & ~0xD01,
}


def write(guest: GuestState, index: int, value: int) -> bool:
    """Set it; False when there is none of that index, or it can't have the value."""
    canonical = value >> 47 in (0, (1 << 17) - 1)
    valid = _VALID.get(index)
    if (index in _CANONICAL and not canonical) or (valid is not None and not valid(value)):
        return False
    if index in _SCALARS:
        setattr(guest, _SCALARS[index], value)
    elif index in _SEGMENT_BASES:
        getattr(guest, _SEGMENT_BASES[index]).base = value
    elif index in _ARRAYS:
        name, at = _ARRAYS[index]
        getattr(guest, name)[at] = value
    else:
        return False
    return True
