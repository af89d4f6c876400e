"""The CPU model's CPUID as this host's KVM can run it (KVM_GET_SUPPORTED_CPUID).

The kernel itself keeps the bits that follow the CPU's state: OSXSAVE, OSPKE, APIC, the XSAVE area's size.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from mpvm.abi.kvm.constants import CpuidFlag
from mpvm.abi.kvm.structs import CpuidEntry2
from mpvm.abi.layout import CpuidEntry

# Leaf and subleaf, register: feature bits that are not KVM's to refuse. The local APIC is ours.
_HTT, _APIC, _X2APIC, _TSC_DEADLINE, _HYPERVISOR = 1 << 28, 1 << 9, 1 << 21, 1 << 24, 1 << 31
_CMP_LEGACY, _ARAT = 1 << 1, 1 << 2
_FEATURES: Final[dict[tuple[int, int], dict[str, int]]] = {
    (1, 0): {"ecx": _X2APIC | _TSC_DEADLINE | _HYPERVISOR, "edx": _HTT | _APIC},
    (6, 0): {"eax": _ARAT},
    (7, 0): {"ebx": 0, "ecx": 0, "edx": 0},
    (7, 1): {"eax": 0},
    (0xD, 1): {"eax": 0},
    (0x80000001, 0): {"ecx": _CMP_LEGACY, "edx": 0},
    (0x80000007, 0): {"edx": 0},
    (0x80000008, 0): {"ebx": 0},
}
_XSAVE_LEAF: Final = 0xD


def _key(entry: CpuidEntry | CpuidEntry2) -> tuple[int, int]:
    return entry.function, entry.index if entry.flags & CpuidFlag.SIGNIFCANT_INDEX else 0


def filtered(model: Iterable[CpuidEntry], supported: Sequence[CpuidEntry2]) -> list[CpuidEntry2]:
    """The leaves of `model`, without what `supported` lacks; XSAVE's components where the host has them."""
    offered = {_key(entry): entry for entry in supported}
    components = _components(offered)
    entries = []
    for wanted in model:
        entry = CpuidEntry2(
            wanted.function, wanted.index, wanted.flags, wanted.eax, wanted.ebx, wanted.ecx, wanted.edx
        )
        have = offered.get(_key(entry), CpuidEntry2())
        for register, ours in _FEATURES.get(_key(entry), {}).items():
            setattr(entry, register, getattr(entry, register) & (getattr(have, register) | ours))
        if entry.function == _XSAVE_LEAF and entry.index == 0:
            entry.eax &= components & 0xFFFFFFFF
            entry.edx &= components >> 32
        elif entry.function == _XSAVE_LEAF and entry.index > 1:
            if not components >> entry.index & 1:
                continue
            entry.eax, entry.ebx = have.eax, have.ebx
        entries.append(entry)
    return entries


def _components(offered: dict[tuple[int, int], CpuidEntry2]) -> int:
    leaf = offered.get((_XSAVE_LEAF, 0))
    return 0 if leaf is None else leaf.edx << 32 | leaf.eax


def xsave_components(entries: Sequence[CpuidEntry2]) -> int:
    """The components that XCR0 may enable, a bit each."""
    return _components({_key(entry): entry for entry in entries})


def xsave_place(entries: Sequence[CpuidEntry2], component: int) -> int | None:
    """Offset of a component of the XSAVE area; None when there is none."""
    for entry in entries:
        if entry.function == _XSAVE_LEAF and entry.index == component and entry.eax:
            return int(entry.ebx)
    return None
