"""Registers between KVM's vCPU and the control block's guest state.

The local APIC (and with it CR8) and IA32_APIC_BASE are the worker's own, in shared memory; KVM gets copies.
"""

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any, Final

from mpvm.abi import control_block
from mpvm.abi.control_bits import EventType, Interruptibility, InterruptionInformation
from mpvm.abi.control_block import GuestState, ResetValue
from mpvm.abi.kvm import structs
from mpvm.abi.kvm.constants import SREGS2_FLAGS_PDPTRS_VALID, Shadow, VcpuEventValid
from mpvm.abi.kvm.vcpu import Vcpu
from workers.kvm import cpuid

_GPRS: Final = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
# Segment registers: the control block's name, KVM's.
_SEGMENTS: Final = (
    *(("es", "es"), ("cs", "cs"), ("ss", "ss"), ("ds", "ds")),
    *(("fs", "fs"), ("gs", "gs"), ("ldtr", "ldt"), ("tr", "tr")),
)
_CONTROL: Final = ("cr0", "cr2", "cr3", "cr4", "efer")
_MSRS: Final = {
    "star": 0xC0000081,
    "lstar": 0xC0000082,
    "cstar": 0xC0000083,
    "sfmask": 0xC0000084,
    "kernel_gs_base": 0xC0000102,
    "tsc_aux": 0xC0000103,
    "sysenter_cs": 0x174,
    "sysenter_esp": 0x175,
    "sysenter_eip": 0x176,
    "pat": 0x277,
    "misc_enable": 0x1A0,
    "mtrr_def_type": 0x2FF,
    "mcg_status": 0x17A,
    "mcg_ctl": 0x17B,
    "debugctl": 0x1D9,
    # KVM itself tells the guest of the time that others have had.
    "steal_time": 0x4B564D03,
}
_MSR_FILES: Final = {
    "mtrr_fixed": (0x250, 0x258, 0x259, *range(0x268, 0x270)),
    "mtrr_variable": tuple(range(0x200, 0x200 + control_block.MTRR_VARIABLE)),
    "mc_banks": tuple(range(0x400, 0x400 + control_block.MC_BANK_MSRS)),
}
MSR_APIC_BASE: Final = 0x1B

# Access rights in the VMCS format (SDM vol. 3, table 24-2): KVM's name, lowest bit, width.
_ACCESS_RIGHTS: Final = (
    *(("type", 0, 4), ("s", 4, 1), ("dpl", 5, 2), ("present", 7, 1)),
    *(("avl", 12, 1), ("l", 13, 1), ("db", 14, 1), ("g", 15, 1), ("unusable", 16, 1)),
)

# XSAVE area (SDM vol. 1, 13.4): MXCSR, its mask, the header's XSTATE_BV and the rest of the header.
_MXCSR: Final = slice(24, 28)
_MXCSR_MASK: Final = slice(28, 32)
_ALL_MXCSR: Final = 0xFFFF
_XSTATE_BV: Final = slice(512, 520)
_XSAVE_HEADER_REST: Final = slice(520, 576)
_XSTATE_X87_SSE: Final = 3
_XSTATE_PKRU: Final = 9

_SHADOWS: Final = (
    (Interruptibility.BLOCKING_BY_STI, Shadow.INT_STI),
    (Interruptibility.BLOCKING_BY_MOV_SS, Shadow.INT_MOV_SS),
)
_VECTOR: Final = 0xFF
_TYPE_SHIFT: Final = 8
_NMI_VECTOR: Final = 2


def _named_msrs() -> Iterator[tuple[str, int | None, int]]:
    """Field, index in the field if it is an array, number."""
    for name, msr in _MSRS.items():
        yield name, None, msr
    for name, numbers in _MSR_FILES.items():
        for index, msr in enumerate(numbers):
            yield name, index, msr


class Registers:
    """All registers of `vcpu`, from and to `control`; `leaves` are what its CPUID says."""

    def __init__(
        self, vcpu: Vcpu, control: control_block.ControlBlock, leaves: Sequence[structs.CpuidEntry2]
    ) -> None:
        self._vcpu = vcpu
        self._control = control
        self._components = cpuid.xsave_components(leaves) | _XSTATE_X87_SSE
        place = cpuid.xsave_place(leaves, _XSTATE_PKRU)
        self._pkru = None if place is None else slice(place, place + 4)
        # KVM stops at the first MSR that it does not have, so those are left out for good.
        self._msrs = [msr for msr in _named_msrs() if vcpu.get_msrs([msr[2]])]
        self._reset = ResetState(vcpu, leaves, [msr for _, _, msr in self._msrs])

    def power_on(self, apic_base: int) -> None:
        """The state after power-up."""
        self._reset.power_on(apic_base)

    def init(self, apic_base: int) -> None:
        """The state after INIT."""
        self._reset.init(apic_base)

    def load_memory_types(self) -> None:
        """The MTRRs from the control block, which firmware sets on all processors."""
        guest = self._control.guest
        self._vcpu.set_msrs(
            {
                msr: getattr(guest, name) if index is None else getattr(guest, name)[index]
                for name, index, msr in self._msrs
                if name.startswith("mtrr_")
            }
        )

    def take_back(self) -> tuple[bool, int | None]:
        """What KVM was given and has not delivered: whether an NMI, an external interrupt's vector."""
        events = self._vcpu.get_vcpu_events()
        nmi = bool(events.nmi.pending)
        vector = events.interrupt.nr if events.interrupt.injected and not events.interrupt.soft else None
        if nmi or vector is not None:
            events.nmi.pending = events.interrupt.injected = 0
            events.flags = int(VcpuEventValid.NMI_PENDING)
            self._vcpu.set_vcpu_events(events)
        return nmi, vector

    def save(self) -> None:
        """KVM to the control block, but for the local APIC's."""
        guest = self._control.guest
        regs, sregs = self._vcpu.get_regs(), self._vcpu.get_sregs2()
        for index, name in enumerate(_GPRS):
            guest.gpr[index] = getattr(regs, name)
        guest.rip, guest.rflags = regs.rip, regs.rflags
        for ours, theirs in _SEGMENTS:
            _save_segment(getattr(guest, ours), getattr(sregs, theirs))
        for table, theirs in ((guest.gdtr, sregs.gdt), (guest.idtr, sregs.idt)):
            table.base, table.limit = theirs.base, theirs.limit
        for name in _CONTROL:
            setattr(guest, name, getattr(sregs, name))
        guest.pdpte[:] = sregs.pdptrs if sregs.flags & SREGS2_FLAGS_PDPTRS_VALID else [0] * 4
        debugregs = self._vcpu.get_debugregs()
        guest.dr[:4] = debugregs.db[:]
        guest.dr[6], guest.dr[7] = debugregs.dr6, debugregs.dr7
        values = self._vcpu.get_msrs([msr for _, _, msr in self._msrs])
        for name, place, msr in self._msrs:
            if place is None:
                setattr(guest, name, values[msr])
            else:
                getattr(guest, name)[place] = values[msr]
        self._save_fpu(guest)
        self._save_events(guest)

    def load_general(self) -> None:
        """The control block's general-purpose registers, RIP and RFLAGS to KVM."""
        guest = self._control.guest
        regs = structs.Regs(rip=guest.rip, rflags=guest.rflags)
        for index, name in enumerate(_GPRS):
            setattr(regs, name, guest.gpr[index])
        self._vcpu.set_regs(regs)

    def load(self) -> int | None:
        """The control block to KVM; an MSR whose value it refuses, if there is one."""
        guest = self._control.guest
        self._vcpu.set_sregs2(self._sregs(guest))
        self.load_general()
        self._load_fpu(guest)
        debugregs = structs.Debugregs(dr6=guest.dr[6], dr7=guest.dr[7])
        debugregs.db[:] = guest.dr[:4]
        self._vcpu.set_debugregs(debugregs)
        values = {
            msr: getattr(guest, name) if index is None else getattr(guest, name)[index]
            for name, index, msr in self._msrs
        }
        done = self._vcpu.set_msrs(values)
        self._load_events(guest)
        return None if done == len(values) else list(values)[done]

    def _sregs(self, guest: GuestState) -> structs.Sregs2:
        sregs = structs.Sregs2(cr8=guest.cr8, apic_base=guest.apic_base)
        for ours, theirs in _SEGMENTS:
            _load_segment(getattr(sregs, theirs), getattr(guest, ours))
        for table, ours in ((sregs.gdt, guest.gdtr), (sregs.idt, guest.idtr)):
            table.base, table.limit = ours.base, ours.limit
        for name in _CONTROL:
            setattr(sregs, name, getattr(guest, name))
        return sregs

    def _save_fpu(self, guest: GuestState) -> None:
        area = bytearray(self._vcpu.get_xsave())
        # What bits MXCSR has is up to the host.
        area[_MXCSR_MASK] = _ALL_MXCSR.to_bytes(4, "little")
        guest.xsave[:] = area
        guest.mxcsr = int.from_bytes(area[_MXCSR], "little")
        guest.xcr0 = self._vcpu.get_xcrs().get(0, 1)
        if self._pkru is not None:
            present = int.from_bytes(area[_XSTATE_BV], "little") >> _XSTATE_PKRU & 1
            guest.pkru = int.from_bytes(area[self._pkru], "little") if present else 0

    def _load_fpu(self, guest: GuestState) -> None:
        area = bytearray(guest.xsave)
        present = int.from_bytes(area[_XSTATE_BV], "little") & self._components | _XSTATE_X87_SSE
        area[_MXCSR] = guest.mxcsr.to_bytes(4, "little")
        if self._pkru is not None:
            present |= 1 << _XSTATE_PKRU
            area[self._pkru] = (guest.pkru & 0xFFFFFFFF).to_bytes(4, "little")
        area[_XSTATE_BV] = present.to_bytes(8, "little")
        area[_XSAVE_HEADER_REST] = bytes(56)
        self._vcpu.set_xcrs({0: guest.xcr0})
        self._vcpu.set_xsave(structs.Xsave.from_buffer(area))

    def _save_events(self, guest: GuestState) -> None:
        """What KVM has taken and not delivered yet is the event that the next entry injects."""
        events = self._vcpu.get_vcpu_events()
        blocking = Interruptibility.BLOCKING_BY_NMI if events.nmi.masked else Interruptibility(0)
        for ours, theirs in _SHADOWS:
            if events.interrupt.shadow & theirs:
                blocking |= ours
        guest.interruptibility = int(blocking)
        entry = self._control.entry
        if entry.interruption_information & InterruptionInformation.VALID:
            return
        if events.exception.injected or events.exception.pending:
            kind = EventType.HARDWARE_EXCEPTION
            vector = events.exception.nr
            if events.exception.has_error_code:
                entry.exception_error_code = events.exception.error_code
                vector |= InterruptionInformation.DELIVER_ERROR_CODE
        elif events.nmi.injected:
            kind, vector = EventType.NMI, _NMI_VECTOR
        else:
            # After a software interrupt, RIP is at its instruction, which runs again.
            return
        entry.interruption_information = InterruptionInformation.VALID | kind << _TYPE_SHIFT | vector

    def _load_events(self, guest: GuestState) -> None:
        events = structs.VcpuEvents(flags=VcpuEventValid.NMI_PENDING | VcpuEventValid.SHADOW)
        events.nmi.masked = bool(guest.interruptibility & Interruptibility.BLOCKING_BY_NMI)
        for ours, theirs in _SHADOWS:
            if guest.interruptibility & ours:
                events.interrupt.shadow |= theirs
        self._vcpu.set_vcpu_events(events)


def inject(vcpu: Vcpu, entry: control_block.EntryControls) -> int | None:
    """Hand the event of the entry controls to KVM; it is in delivery then. An external interrupt's vector."""
    information = entry.interruption_information
    entry.interruption_information = information & ~InterruptionInformation.VALID
    vector, kind = int(information & _VECTOR), information >> _TYPE_SHIFT & 7
    if kind == EventType.EXTERNAL_INTERRUPT:
        vcpu.interrupt(vector)
        return vector
    events = vcpu.get_vcpu_events()
    if kind == EventType.NMI:
        events.nmi.injected = 1
    else:
        events.exception.injected, events.exception.nr = 1, vector
        events.exception.has_error_code = bool(information & InterruptionInformation.DELIVER_ERROR_CODE)
        events.exception.error_code = entry.exception_error_code
    events.flags = int(VcpuEventValid.NMI_PENDING)
    vcpu.set_vcpu_events(events)
    return None


def _save_segment(to: control_block.Segment, source: structs.Segment) -> None:
    to.base, to.limit, to.selector = source.base, source.limit, source.selector
    to.access_rights = sum(getattr(source, name) << bit for name, bit, _ in _ACCESS_RIGHTS)


def _load_segment(to: structs.Segment, source: control_block.Segment) -> None:
    to.base, to.limit, to.selector = source.base, source.limit, source.selector
    for name, bit, width in _ACCESS_RIGHTS:
        setattr(to, name, source.access_rights >> bit & (1 << width) - 1)


class ResetState:
    """The registers as KVM has made the vCPU: those of a reset (SDM vol. 3, table 9-1)."""

    _CD_NW: Final = 3 << 29

    def __init__(self, vcpu: Vcpu, leaves: Sequence[structs.CpuidEntry2], msrs: Sequence[int]) -> None:
        self._vcpu = vcpu
        self._regs, self._sregs = vcpu.get_regs(), vcpu.get_sregs()
        # EDX has the signature, as CPUID.1:EAX.
        self._regs.rdx = next((leaf.eax for leaf in leaves if leaf.function == 1), 0)
        self._debugregs, self._xsave, self._xcrs = vcpu.get_debugregs(), vcpu.get_xsave(), vcpu.get_xcrs()
        # Machine-check banks report, and memory types are as firmware leaves them.
        self._msrs = vcpu.get_msrs(msrs) | {
            _MSRS["misc_enable"]: ResetValue.MISC_ENABLE,
            _MSRS["mtrr_def_type"]: ResetValue.MTRR_DEF_TYPE,
        }

    def init(self, apic_base: int) -> None:
        """INIT: the FPU, most MSRs and the caches' state stay."""
        sregs = _copy(self._sregs)
        sregs.cr0 = sregs.cr0 & ~self._CD_NW | self._vcpu.get_sregs().cr0 & self._CD_NW
        sregs.apic_base = apic_base
        self._vcpu.set_sregs(sregs)
        self._vcpu.set_regs(self._regs)
        self._vcpu.set_debugregs(self._debugregs)
        self._vcpu.set_vcpu_events(
            structs.VcpuEvents(flags=VcpuEventValid.NMI_PENDING | VcpuEventValid.SHADOW)
        )

    def power_on(self, apic_base: int) -> None:
        """All of it."""
        self._vcpu.set_xcrs(self._xcrs)
        self._vcpu.set_xsave(self._xsave)
        self._vcpu.set_msrs(self._msrs)
        self.init(apic_base)


def _copy(value: Any) -> Any:
    return type(value).from_buffer_copy(value)


assert ctypes.sizeof(structs.Xsave) == control_block.XSAVE_BYTES
