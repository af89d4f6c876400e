"""KVM's register structures from and to the control block's guest state."""

from typing import Final

from mpvm.abi.control_bits import Interruptibility
from mpvm.abi.control_block import DescriptorTable, GuestState, Segment
from mpvm.abi.kvm import structs
from mpvm.cpu.state import GPR_NAMES, XSTATE_BV, XSTATE_X87_SSE

_UNUSABLE: Final = 1 << 16
# KVM's names of segments, and the SDM's.
_SEGMENTS: Final = {name: name for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr")} | {"ldt": "ldtr"}
_CONTROL: Final = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")
# Fields of KVM's segment, their shift and width in the VMCS format (SDM vol. 3, table 24-2).
_ACCESS_RIGHTS: Final = {
    "type": (0, 0xF),
    "s": (4, 1),
    "dpl": (5, 3),
    "present": (7, 1),
    "avl": (12, 1),
    "l": (13, 1),
    "db": (14, 1),
    "g": (15, 1),
    "unusable": (16, 1),
}
# Fields of KVM's fpu, and where FXSAVE has them (SDM vol. 1, table 10-2).
_FXSAVE: Final = {"fcw": (0, 2), "fsw": (2, 2), "ftwx": (4, 1), "last_opcode": (6, 2), "last_ip": (8, 8)}
_FXSAVE_ALL: Final = _FXSAVE | {"last_dp": (16, 8), "mxcsr": (24, 4)}
_ST_AT: Final = 32
_XMM_AT: Final = 160
_REGISTER_BYTES: Final = 16


def regs_of(guest: GuestState) -> structs.Regs:
    """General registers, RIP, RFLAGS."""
    regs = structs.Regs(rip=guest.rip, rflags=guest.rflags)
    for index, name in enumerate(GPR_NAMES):
        setattr(regs, name, guest.gpr[index])
    return regs


def load_regs(guest: GuestState, regs: structs.Regs) -> None:
    """The other way; bit 1 of RFLAGS is always set."""
    for index, name in enumerate(GPR_NAMES):
        guest.gpr[index] = getattr(regs, name)
    guest.rip, guest.rflags = regs.rip, regs.rflags | 2


def _segment_of(segment: Segment) -> structs.Segment:
    found = structs.Segment(base=segment.base, limit=segment.limit, selector=segment.selector)
    for name, (shift, mask) in _ACCESS_RIGHTS.items():
        setattr(found, name, segment.access_rights >> shift & mask)
    return found


def _load_segment(guest: GuestState, name: str, segment: structs.Segment) -> None:
    rights = sum((getattr(segment, field) & mask) << shift for field, (shift, mask) in _ACCESS_RIGHTS.items())
    if not segment.present:
        rights |= _UNUSABLE
    setattr(guest, name, Segment(segment.base, segment.limit, segment.selector, 0, rights))


def sregs_of(guest: GuestState) -> structs.Sregs:
    """Segments, descriptor tables, control registers."""
    sregs = structs.Sregs(
        gdt=structs.Dtable(guest.gdtr.base, guest.gdtr.limit),
        idt=structs.Dtable(guest.idtr.base, guest.idtr.limit),
    )
    for theirs, ours in _SEGMENTS.items():
        setattr(sregs, theirs, _segment_of(getattr(guest, ours)))
    for name in _CONTROL:
        setattr(sregs, name, getattr(guest, name))
    return sregs


def load_sregs(guest: GuestState, sregs: structs.Sregs) -> None:
    """The other way."""
    for theirs, ours in _SEGMENTS.items():
        _load_segment(guest, ours, getattr(sregs, theirs))
    for name in _CONTROL:
        setattr(guest, name, getattr(sregs, name))
    guest.gdtr = DescriptorTable(sregs.gdt.base, sregs.gdt.limit)
    guest.idtr = DescriptorTable(sregs.idt.base, sregs.idt.limit)
    # Those of the table at CR3: KVM_SET_SREGS has no others.
    guest.pdpte[:] = [0] * len(guest.pdpte)


_CR0_PE, _CR0_NW, _CR0_CD, _CR0_PG = 1 << 0, 1 << 29, 1 << 30, 1 << 31
_CR4_PAE: Final = 1 << 5
_CR4_KNOWN: Final = 0x751FFF
_EFER_LME, _EFER_LMA = 1 << 8, 1 << 10


def sregs_valid(sregs: structs.Sregs) -> bool:
    """Whether KVM_SET_SREGS takes them: what no CPU can be in, it refuses (kvm_is_valid_sregs)."""
    if sregs.cr0 >> 32 or sregs.cr4 & ~_CR4_KNOWN:
        return False
    if (sregs.cr0 & _CR0_NW and not sregs.cr0 & _CR0_CD) or (sregs.cr0 & _CR0_PG and not sregs.cr0 & _CR0_PE):
        return False
    if sregs.efer & _EFER_LME and sregs.cr0 & _CR0_PG:
        return bool(sregs.cr4 & _CR4_PAE and sregs.efer & _EFER_LMA)
    return not (sregs.efer & _EFER_LMA or sregs.cs.l)


def fpu_of(guest: GuestState) -> structs.Fpu:
    """x87 and SSE."""
    area, fpu = bytes(guest.xsave), structs.Fpu()
    for name, (at, size) in _FXSAVE_ALL.items():
        setattr(fpu, name, int.from_bytes(area[at : at + size], "little"))
    for index in range(8):
        at = _ST_AT + _REGISTER_BYTES * index
        fpu.fpr[index][:] = area[at : at + _REGISTER_BYTES]
    for index in range(16):
        at = _XMM_AT + _REGISTER_BYTES * index
        fpu.xmm[index][:] = area[at : at + _REGISTER_BYTES]
    return fpu


def load_fpu(guest: GuestState, fpu: structs.Fpu) -> None:
    """The other way."""
    for name, (at, size) in _FXSAVE_ALL.items():
        guest.xsave[at : at + size] = getattr(fpu, name).to_bytes(size, "little")
    for first, registers in ((_ST_AT, fpu.fpr), (_XMM_AT, fpu.xmm)):
        for index, register in enumerate(registers):
            at = first + _REGISTER_BYTES * index
            guest.xsave[at : at + _REGISTER_BYTES] = bytes(register)
    guest.mxcsr = fpu.mxcsr
    guest.xsave[XSTATE_BV.start] |= XSTATE_X87_SSE


def load_xsave(guest: GuestState, xsave: structs.Xsave) -> None:
    """The XSAVE area in standard format; MXCSR is in it, too."""
    guest.xsave[:] = bytes(xsave)
    guest.mxcsr = int.from_bytes(bytes(guest.xsave[24:28]), "little")


def shadow_of(guest: GuestState) -> int:
    """KVM_X86_SHADOW_*: the two reasons change places."""
    state = guest.interruptibility
    sti, mov_ss = state & Interruptibility.BLOCKING_BY_STI, state & Interruptibility.BLOCKING_BY_MOV_SS
    return (2 if sti else 0) | (1 if mov_ss else 0)


def load_shadow(guest: GuestState, shadow: int) -> None:
    """The other way."""
    guest.interruptibility &= ~(Interruptibility.BLOCKING_BY_STI | Interruptibility.BLOCKING_BY_MOV_SS)
    if shadow & 2:
        guest.interruptibility |= Interruptibility.BLOCKING_BY_STI
    elif shadow & 1:
        guest.interruptibility |= Interruptibility.BLOCKING_BY_MOV_SS
