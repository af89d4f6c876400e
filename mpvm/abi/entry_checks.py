"""What the SDM checks at a VM entry (vol. 3, 26.2 and 26.3), for every accelerator: a table.

A check that fails makes the entry a FAIL_ENTRY exit with the check's number. The guest is always one without
EPT and unrestricted: CR0.PE and CR0.PG may be clear. They run when the owner has written guest state or
controls, never at the entries between.
"""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from mpvm.abi.control_bits import (
    ActivityState,
    EventType,
    Interruptibility,
    InterruptionInformation,
    PinBased,
    ProcessorBased,
    Secondary,
    Unconditional,
)
from mpvm.abi.control_block import MAX_MSR_LIST, ControlBlock, Segment


class EntryCheck(IntEnum):
    """The number of a check, in `ExitInformation.failed_check`."""

    NONE = 0
    PIN_BASED_RESERVED = 1
    PROCESSOR_BASED_RESERVED = 2
    SECONDARY_RESERVED = 3
    UNCONDITIONAL_RESERVED = 4
    UNSUPPORTED = 5
    CR3_TARGET_COUNT = 6
    MSR_STORE_LIST = 7
    MSR_LOAD_COUNT = 8
    MSR_LOAD = 9
    EVENT_TYPE = 10
    EVENT_VECTOR = 11
    EVENT_ERROR_CODE_DELIVERY = 12
    EVENT_ERROR_CODE = 13
    EVENT_INSTRUCTION_LENGTH = 14
    CR0_RESERVED = 20
    CR0_PAGING = 21
    CR0_CACHING = 22
    CR4_RESERVED = 23
    CR4_PCIDE = 24
    CR3_WIDTH = 25
    CR8_RESERVED = 26
    DR6_RESERVED = 27
    DR7_RESERVED = 28
    EFER_RESERVED = 29
    EFER_LMA = 30
    EFER_PAE = 31
    PAT_TYPES = 32
    MSR_CANONICAL = 33
    APIC_BASE = 34
    XCR0 = 35
    MXCSR = 36
    TSC_AUX = 37
    V86_SEGMENT = 40
    CS_TYPE = 41
    CS_DPL = 42
    CS_L_AND_D = 43
    SS_TYPE = 44
    SS_DPL = 45
    DATA_SEGMENT_TYPE = 46
    SEGMENT_PRESENT = 47
    SEGMENT_RESERVED = 48
    SEGMENT_GRANULARITY = 49
    SEGMENT_BASE = 50
    TR_TYPE = 51
    TR_SELECTOR = 52
    LDTR_TYPE = 53
    LDTR_SELECTOR = 54
    TABLE_BASE = 55
    TABLE_LIMIT = 56
    RIP = 60
    RFLAGS_RESERVED = 61
    RFLAGS_VM = 62
    RFLAGS_IF = 63
    ACTIVITY_STATE = 64
    ACTIVITY_HLT = 65
    ACTIVITY_BLOCKING = 66
    ACTIVITY_EVENT = 67
    INTERRUPTIBILITY_RESERVED = 68
    BLOCKING_BY_BOTH = 69
    BLOCKING_BY_STI = 70
    BLOCKING_OF_EVENT = 71
    BLOCKING_BY_SMI = 72
    PENDING_DEBUG_EXCEPTIONS = 73
    PDPTE_RESERVED = 74


class Check(NamedTuple):
    """`holds(control)` is what an entry needs; `text` says so, `section` where (SDM vol. 3)."""

    number: EntryCheck
    section: str
    text: str
    holds: Callable[[ControlBlock], bool]


_CR0_PE, _CR0_NW, _CR0_CD, _CR0_PG = 1 << 0, 1 << 29, 1 << 30, 1 << 31
_CR4_PAE, _CR4_LA57, _CR4_PCIDE = 1 << 5, 1 << 12, 1 << 17
# VME to PKS: bits that CPUs have (SDM vol. 3, 2.5).
CR4_ARCHITECTURAL: Final = 0x01F77FFF
_EFER_SCE, _EFER_LME, _EFER_LMA, _EFER_NXE = 1 << 0, 1 << 8, 1 << 10, 1 << 11
# SVME, LMSLE, FFXSR: AMD's (APM vol. 2, 3.1.7).
_EFER_VALID = _EFER_SCE | _EFER_LME | _EFER_LMA | _EFER_NXE | 7 << 12
_RFLAGS_ONE, _RFLAGS_ZERO = 1 << 1, ~((1 << 22) - 1) | 1 << 15 | 1 << 5 | 1 << 3
_RFLAGS_IF, _RFLAGS_VM = 1 << 9, 1 << 17
_AR_S, _AR_P, _AR_L, _AR_DB, _AR_G, _AR_UNUSABLE = 1 << 4, 1 << 7, 1 << 13, 1 << 14, 1 << 15, 1 << 16
_AR_RESERVED = 0xF00 | 0xFFFE0000
_AR_V86 = 0xF3
_TYPE_ACCESSED, _TYPE_READABLE, _TYPE_CODE = 1 << 0, 1 << 1, 1 << 3
_PAT_TYPES = frozenset({0, 1, 4, 5, 6, 7})
_WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})
_APIC_BASE_EXTD, _APIC_BASE_EN = 1 << 10, 1 << 11
_MXCSR_RESERVED = 0xFFFF0000
_FXSAVE_MXCSR = slice(24, 28)
_DB_VECTOR, _MC_VECTOR, _NMI_VECTOR = 1, 18, 2
_PHYSICAL_BITS = 52
_PDPTE_RESERVED = 0x1E6 | ~((1 << _PHYSICAL_BITS) - 1)
_INSTRUCTION_EVENTS = frozenset(
    {EventType.SOFTWARE_INTERRUPT, EventType.PRIVILEGED_SOFTWARE_EXCEPTION, EventType.SOFTWARE_EXCEPTION}
)


def _all_bits(flags: type[IntFlag]) -> int:
    bits = 0
    for member in flags:
        bits |= int(member)
    return bits


_PIN_BASED, _PROCESSOR_BASED = _all_bits(PinBased), _all_bits(ProcessorBased)
_SECONDARY, _UNCONDITIONAL = _all_bits(Secondary), _all_bits(Unconditional)
_INTERRUPTIBILITY = _all_bits(Interruptibility)
_EVENT_BITS = 0x7FF | InterruptionInformation.DELIVER_ERROR_CODE | InterruptionInformation.VALID


def _canonical(control: ControlBlock, address: int) -> bool:
    width = 57 if control.guest.cr4 & _CR4_LA57 else 48
    return address >> width - 1 in (0, (1 << 65 - width) - 1)


def _event(control: ControlBlock) -> tuple[int, int] | None:
    """Type and vector of the event to inject."""
    information = control.entry.interruption_information
    if not information & InterruptionInformation.VALID:
        return None
    return information >> 8 & 7, information & 0xFF


def _event_type(control: ControlBlock) -> bool:
    event = _event(control)
    return event is None or (
        event[0] in EventType._value2member_map_
        and not control.entry.interruption_information & ~_EVENT_BITS & 0xFFFFFFFF
    )


def _event_vector(control: ControlBlock) -> bool:
    event = _event(control)
    if event is None:
        return True
    kind, vector = event
    return (kind != EventType.NMI or vector == _NMI_VECTOR) and (
        kind != EventType.HARDWARE_EXCEPTION or vector < 32
    )


def _event_error_code_delivery(control: ControlBlock) -> bool:
    event = _event(control)
    if event is None:
        return True
    kind, vector = event
    delivers = bool(control.entry.interruption_information & InterruptionInformation.DELIVER_ERROR_CODE)
    return delivers == (
        kind == EventType.HARDWARE_EXCEPTION
        and vector in _WITH_ERROR_CODE
        and bool(control.guest.cr0 & _CR0_PE)
    )


def _event_error_code(control: ControlBlock) -> bool:
    information = control.entry.interruption_information
    delivered = InterruptionInformation.VALID | InterruptionInformation.DELIVER_ERROR_CODE
    return information & delivered != delivered or not control.entry.exception_error_code >> 16


def _event_instruction_length(control: ControlBlock) -> bool:
    event = _event(control)
    return event is None or event[0] not in _INSTRUCTION_EVENTS or 1 <= control.entry.instruction_length <= 15


def _secondary(control: ControlBlock) -> bool:
    execution = control.execution
    active = execution.processor_based & ProcessorBased.ACTIVATE_SECONDARY_CONTROLS
    return not active or not execution.secondary & ~_SECONDARY


def _msr_store_list(control: ControlBlock) -> bool:
    count = control.exit_controls.msr_store_count
    return count <= MAX_MSR_LIST and not any(
        entry.reserved for entry in control.exit_controls.msr_store[:count]
    )


def _long_mode(control: ControlBlock) -> bool:
    return bool(control.guest.efer & _EFER_LMA)


def _v86(control: ControlBlock) -> bool:
    return bool(control.guest.rflags & _RFLAGS_VM)


def _code64(control: ControlBlock) -> bool:
    return _long_mode(control) and bool(control.guest.cs.access_rights & _AR_L)


def _efer_lma(control: ControlBlock) -> bool:
    guest = control.guest
    paging, lme = bool(guest.cr0 & _CR0_PG), bool(guest.efer & _EFER_LME)
    return bool(guest.efer & _EFER_LMA) == (paging and lme)


def _pat(control: ControlBlock) -> bool:
    return all(entry in _PAT_TYPES for entry in control.guest.pat.to_bytes(8, "little"))


def _msr_canonical(control: ControlBlock) -> bool:
    guest = control.guest
    return all(
        _canonical(control, address)
        for address in (
            guest.sysenter_esp,
            guest.sysenter_eip,
            guest.lstar,
            guest.cstar,
            guest.kernel_gs_base,
        )
    )


def _apic_base(control: ControlBlock) -> bool:
    base = control.guest.apic_base
    return base >> _PHYSICAL_BITS == 0 and (not base & _APIC_BASE_EXTD or bool(base & _APIC_BASE_EN))


def _xcr0(control: ControlBlock) -> bool:
    xcr0 = control.guest.xcr0
    return bool(xcr0 & 1) and (xcr0 & 6) != 4 and not xcr0 >> 63


def _mxcsr(control: ControlBlock) -> bool:
    guest = control.guest
    image = int.from_bytes(bytes(guest.xsave[_FXSAVE_MXCSR]), "little")
    return not (guest.mxcsr | image) & _MXCSR_RESERVED


_DATA = ("ds", "es", "fs", "gs")
_CODE_AND_DATA = ("cs", "ss", *_DATA)


def _usable(segment: Segment) -> bool:
    return not segment.access_rights & _AR_UNUSABLE


def _v86_segments(control: ControlBlock) -> bool:
    return not _v86(control) or all(
        (segment.base, segment.limit, segment.access_rights) == (segment.selector << 4, 0xFFFF, _AR_V86)
        for segment in (getattr(control.guest, name) for name in _CODE_AND_DATA)
    )


def _dpl(segment: Segment) -> int:
    return int(segment.access_rights >> 5 & 3)


def _cs_type(control: ControlBlock) -> bool:
    cs = control.guest.cs
    kind = cs.access_rights & 0xF
    return _v86(control) or (_usable(cs) and bool(cs.access_rights & _AR_S) and kind in (3, 9, 11, 13, 15))


def _cs_dpl(control: ControlBlock) -> bool:
    cs, ss = control.guest.cs, control.guest.ss
    if _v86(control):
        return True
    kind = cs.access_rights & 0xF
    if kind == 3:
        return _dpl(cs) == 0
    return _dpl(cs) == _dpl(ss) if kind in (9, 11) else _dpl(cs) <= _dpl(ss)


def _ss_type(control: ControlBlock) -> bool:
    ss = control.guest.ss
    return (
        _v86(control)
        or not _usable(ss)
        or (bool(ss.access_rights & _AR_S) and ss.access_rights & 0xF in (3, 7))
    )


def _ss_dpl(control: ControlBlock) -> bool:
    guest = control.guest
    real = not guest.cr0 & _CR0_PE or guest.cs.access_rights & 0xF == 3
    return _v86(control) or not real or _dpl(guest.ss) == 0


def _data_type(segment: Segment) -> bool:
    kind = segment.access_rights & 0xF
    return (
        bool(segment.access_rights & _AR_S)
        and bool(kind & _TYPE_ACCESSED)
        and (not kind & _TYPE_CODE or bool(kind & _TYPE_READABLE))
    )


def _data_types(control: ControlBlock) -> bool:
    segments = [getattr(control.guest, name) for name in _DATA]
    return _v86(control) or all(not _usable(segment) or _data_type(segment) for segment in segments)


def _checked(control: ControlBlock) -> list[Segment]:
    names = (*_CODE_AND_DATA, "tr", "ldtr")
    segments = [getattr(control.guest, name) for name in names]
    return [segment for segment in segments if _usable(segment)]


def _granular(segment: Segment) -> bool:
    if segment.access_rights & _AR_G:
        return not ~segment.limit & 0xFFF
    return not segment.limit >> 20


def _bases(control: ControlBlock) -> bool:
    guest = control.guest
    wide = [guest.tr, guest.fs, guest.gs, *([guest.ldtr] if _usable(guest.ldtr) else [])]
    narrow = [guest.cs, *(segment for segment in (guest.ss, guest.ds, guest.es) if _usable(segment))]
    return all(_canonical(control, segment.base) for segment in wide) and not any(
        segment.base >> 32 for segment in narrow
    )


def _tr_type(control: ControlBlock) -> bool:
    rights = control.guest.tr.access_rights
    allowed = (11,) if _long_mode(control) else (3, 11)
    return not rights & (_AR_UNUSABLE | _AR_S) and rights & 0xF in allowed


def _ldtr_type(control: ControlBlock) -> bool:
    ldtr = control.guest.ldtr
    return not _usable(ldtr) or (ldtr.access_rights & 0xF == 2 and not ldtr.access_rights & _AR_S)


def _rip(control: ControlBlock) -> bool:
    rip = control.guest.rip
    return _canonical(control, rip) if _code64(control) else not rip >> 32


def _external_interrupt_needs_if(control: ControlBlock) -> bool:
    event = _event(control)
    injected = event is not None and event[0] == EventType.EXTERNAL_INTERRUPT
    return not injected or bool(control.guest.rflags & _RFLAGS_IF)


_BLOCKING_SHADOW = Interruptibility.BLOCKING_BY_STI | Interruptibility.BLOCKING_BY_MOV_SS


def _activity_blocking(control: ControlBlock) -> bool:
    guest = control.guest
    return guest.activity_state == ActivityState.ACTIVE or not guest.interruptibility & _BLOCKING_SHADOW


def _activity_event(control: ControlBlock) -> bool:
    event = _event(control)
    if event is None:
        return True
    match control.guest.activity_state:
        case ActivityState.HLT:
            return event[0] in (EventType.EXTERNAL_INTERRUPT, EventType.NMI) or event in (
                (EventType.HARDWARE_EXCEPTION, _DB_VECTOR),
                (EventType.HARDWARE_EXCEPTION, _MC_VECTOR),
            )
        case ActivityState.SHUTDOWN:
            return event[0] == EventType.NMI or event == (EventType.HARDWARE_EXCEPTION, _MC_VECTOR)
        case ActivityState.WAIT_FOR_SIPI:
            return False
    return True


def _blocking_of_event(control: ControlBlock) -> bool:
    event = _event(control)
    injected = event is not None and event[0] in (EventType.EXTERNAL_INTERRUPT, EventType.NMI)
    return not injected or not control.guest.interruptibility & _BLOCKING_SHADOW


def _pdptes(control: ControlBlock) -> bool:
    guest = control.guest
    used = guest.cr0 & _CR0_PG and guest.cr4 & _CR4_PAE and not _long_mode(control)
    return not used or not any(entry & 1 and entry & _PDPTE_RESERVED for entry in guest.pdpte)


CHECKS: Final = (
    Check(
        EntryCheck.PIN_BASED_RESERVED,
        "26.2.1.1",
        "reserved pin-based controls are clear",
        lambda c: not c.execution.pin_based & ~_PIN_BASED,
    ),
    Check(
        EntryCheck.PROCESSOR_BASED_RESERVED,
        "26.2.1.1",
        "reserved processor-based controls are clear",
        lambda c: not c.execution.processor_based & ~_PROCESSOR_BASED,
    ),
    Check(EntryCheck.SECONDARY_RESERVED, "26.2.1.1", "reserved secondary controls are clear", _secondary),
    Check(
        EntryCheck.UNCONDITIONAL_RESERVED,
        "25.1.2",
        "no other instructions can be made to exit",
        lambda c: not c.execution.unconditional & ~_UNCONDITIONAL,
    ),
    Check(
        EntryCheck.CR3_TARGET_COUNT,
        "26.2.1.1",
        "there are at most 4 CR3-target values",
        lambda c: c.execution.cr3_target_count <= 4,
    ),
    Check(
        EntryCheck.MSR_STORE_LIST,
        "26.2.1.2",
        f"an MSR list has at most {MAX_MSR_LIST} entries, reserved bits 0",
        _msr_store_list,
    ),
    Check(
        EntryCheck.MSR_LOAD_COUNT,
        "26.2.1.3",
        f"an MSR list has at most {MAX_MSR_LIST} entries",
        lambda c: c.entry.msr_load_count <= MAX_MSR_LIST,
    ),
    Check(EntryCheck.EVENT_TYPE, "26.2.1.3", "the event to inject has a type that there is", _event_type),
    Check(
        EntryCheck.EVENT_VECTOR, "26.2.1.3", "an NMI has vector 2, an exception one below 32", _event_vector
    ),
    Check(
        EntryCheck.EVENT_ERROR_CODE_DELIVERY,
        "26.2.1.3",
        "exactly the exceptions that have an error code deliver one",
        _event_error_code_delivery,
    ),
    Check(EntryCheck.EVENT_ERROR_CODE, "26.2.1.3", "an error code has 16 bits", _event_error_code),
    Check(
        EntryCheck.EVENT_INSTRUCTION_LENGTH,
        "26.2.1.3",
        "the length of an INT is 1 to 15",
        _event_instruction_length,
    ),
    Check(EntryCheck.CR0_RESERVED, "26.3.1.1", "CR0 has 32 bits", lambda c: not c.guest.cr0 >> 32),
    Check(
        EntryCheck.CR0_PAGING,
        "26.3.1.1",
        "CR0.PG needs CR0.PE",
        lambda c: not c.guest.cr0 & _CR0_PG or bool(c.guest.cr0 & _CR0_PE),
    ),
    Check(
        EntryCheck.CR0_CACHING,
        "26.3.1.1",
        "CR0.NW needs CR0.CD",
        lambda c: not c.guest.cr0 & _CR0_NW or bool(c.guest.cr0 & _CR0_CD),
    ),
    Check(
        EntryCheck.CR4_RESERVED,
        "26.3.1.1",
        "reserved bits of CR4 are clear",
        lambda c: not c.guest.cr4 & ~CR4_ARCHITECTURAL,
    ),
    Check(
        EntryCheck.CR4_PCIDE,
        "26.3.1.1",
        "CR4.PCIDE needs IA-32e mode",
        lambda c: not c.guest.cr4 & _CR4_PCIDE or _long_mode(c),
    ),
    Check(
        EntryCheck.CR3_WIDTH,
        "26.3.1.1",
        f"CR3 is below 2^{_PHYSICAL_BITS}",
        lambda c: not c.guest.cr3 >> _PHYSICAL_BITS,
    ),
    Check(EntryCheck.CR8_RESERVED, "2.5", "CR8 is a priority, 0 to 15", lambda c: c.guest.cr8 < 16),
    Check(EntryCheck.DR6_RESERVED, "17.2.3", "DR6 has 32 bits", lambda c: not c.guest.dr[6] >> 32),
    Check(EntryCheck.DR7_RESERVED, "26.3.1.1", "DR7 has 32 bits", lambda c: not c.guest.dr[7] >> 32),
    Check(
        EntryCheck.EFER_RESERVED,
        "26.3.1.1",
        "reserved bits of EFER are clear",
        lambda c: not c.guest.efer & ~_EFER_VALID,
    ),
    Check(
        EntryCheck.EFER_LMA, "26.3.1.1", "EFER.LMA is set with EFER.LME and CR0.PG, and only then", _efer_lma
    ),
    Check(
        EntryCheck.EFER_PAE,
        "26.3.1.1",
        "IA-32e mode needs CR4.PAE",
        lambda c: not _long_mode(c) or bool(c.guest.cr4 & _CR4_PAE),
    ),
    Check(EntryCheck.PAT_TYPES, "26.3.1.1", "the PAT has memory types that there are", _pat),
    Check(
        EntryCheck.MSR_CANONICAL, "26.3.1.1", "MSRs that hold an address hold a canonical one", _msr_canonical
    ),
    Check(EntryCheck.APIC_BASE, "10.12.1", "IA32_APIC_BASE is x2APIC mode only if enabled", _apic_base),
    Check(EntryCheck.XCR0, "2.6", "XCR0 has the x87, and AVX only with SSE", _xcr0),
    Check(EntryCheck.MXCSR, "vol. 1, 10.2.3", "reserved bits of MXCSR are clear", _mxcsr),
    Check(EntryCheck.TSC_AUX, "vol. 4, 2.1", "IA32_TSC_AUX has 32 bits", lambda c: not c.guest.tsc_aux >> 32),
    Check(
        EntryCheck.V86_SEGMENT,
        "26.3.1.2",
        "in virtual-8086 mode a segment has base selector * 16, limit FFFFH, access rights F3H",
        _v86_segments,
    ),
    Check(
        EntryCheck.CS_TYPE,
        "26.3.1.2",
        "CS is an accessed code segment, or a data segment of type 3",
        _cs_type,
    ),
    Check(
        EntryCheck.CS_DPL, "26.3.1.2", "the DPL of CS is that of SS, or below for a conforming one", _cs_dpl
    ),
    Check(
        EntryCheck.CS_L_AND_D,
        "26.3.1.2",
        "CS.D is clear in 64-bit mode",
        lambda c: not (_code64(c) and c.guest.cs.access_rights & _AR_DB),
    ),
    Check(EntryCheck.SS_TYPE, "26.3.1.2", "SS is a writable, accessed data segment", _ss_type),
    Check(EntryCheck.SS_DPL, "26.3.1.2", "the DPL of SS is 0 in real-address mode", _ss_dpl),
    Check(
        EntryCheck.DATA_SEGMENT_TYPE, "26.3.1.2", "DS, ES, FS and GS are readable and accessed", _data_types
    ),
    Check(
        EntryCheck.SEGMENT_PRESENT,
        "26.3.1.2",
        "a usable segment is present",
        lambda c: all(segment.access_rights & _AR_P for segment in _checked(c)),
    ),
    Check(
        EntryCheck.SEGMENT_RESERVED,
        "26.3.1.2",
        "reserved bits of access rights are clear",
        lambda c: not any(segment.access_rights & _AR_RESERVED for segment in _checked(c)),
    ),
    Check(
        EntryCheck.SEGMENT_GRANULARITY,
        "26.3.1.2",
        "a limit is what its granularity can say",
        lambda c: _v86(c) or all(map(_granular, _checked(c))),
    ),
    Check(
        EntryCheck.SEGMENT_BASE,
        "26.3.1.2",
        "bases are canonical; those of CS, SS, DS and ES have 32 bits",
        _bases,
    ),
    Check(EntryCheck.TR_TYPE, "26.3.1.2", "TR is a busy TSS, in IA-32e mode a 64-bit one", _tr_type),
    Check(EntryCheck.TR_SELECTOR, "26.3.1.2", "TR is in the GDT", lambda c: not c.guest.tr.selector & 4),
    Check(EntryCheck.LDTR_TYPE, "26.3.1.2", "a usable LDTR is an LDT", _ldtr_type),
    Check(
        EntryCheck.LDTR_SELECTOR,
        "26.3.1.2",
        "LDTR is in the GDT",
        lambda c: not _usable(c.guest.ldtr) or not c.guest.ldtr.selector & 4,
    ),
    Check(
        EntryCheck.TABLE_BASE,
        "26.3.1.3",
        "the bases of GDTR and IDTR are canonical",
        lambda c: _canonical(c, c.guest.gdtr.base) and _canonical(c, c.guest.idtr.base),
    ),
    Check(
        EntryCheck.TABLE_LIMIT,
        "26.3.1.3",
        "the limits of GDTR and IDTR have 16 bits",
        lambda c: not (c.guest.gdtr.limit | c.guest.idtr.limit) >> 16,
    ),
    Check(EntryCheck.RIP, "26.3.1.4", "RIP is canonical in 64-bit mode, and has 32 bits elsewhere", _rip),
    Check(
        EntryCheck.RFLAGS_RESERVED,
        "26.3.1.4",
        "reserved bits of RFLAGS are as they are",
        lambda c: not c.guest.rflags & _RFLAGS_ZERO and bool(c.guest.rflags & _RFLAGS_ONE),
    ),
    Check(
        EntryCheck.RFLAGS_VM,
        "26.3.1.4",
        "RFLAGS.VM needs protected mode, and not IA-32e mode",
        lambda c: not _v86(c) or (bool(c.guest.cr0 & _CR0_PE) and not _long_mode(c)),
    ),
    Check(
        EntryCheck.RFLAGS_IF,
        "26.3.1.4",
        "an external interrupt needs RFLAGS.IF",
        _external_interrupt_needs_if,
    ),
    Check(
        EntryCheck.ACTIVITY_STATE,
        "26.3.1.5",
        "there is such an activity state",
        lambda c: c.guest.activity_state in ActivityState._value2member_map_,
    ),
    Check(
        EntryCheck.ACTIVITY_HLT,
        "26.3.1.5",
        "only ring 0 is halted",
        lambda c: c.guest.activity_state != ActivityState.HLT or _dpl(c.guest.ss) == 0,
    ),
    Check(
        EntryCheck.ACTIVITY_BLOCKING,
        "26.3.1.5",
        "blocking by STI or MOV SS is for an active vCPU",
        _activity_blocking,
    ),
    Check(EntryCheck.ACTIVITY_EVENT, "26.3.1.5", "the event can end the activity state", _activity_event),
    Check(
        EntryCheck.INTERRUPTIBILITY_RESERVED,
        "26.3.1.5",
        "reserved bits of the interruptibility state are clear",
        lambda c: not c.guest.interruptibility & ~_INTERRUPTIBILITY,
    ),
    Check(
        EntryCheck.BLOCKING_BY_BOTH,
        "26.3.1.5",
        "there is blocking by STI or by MOV SS, not by both",
        lambda c: c.guest.interruptibility & _BLOCKING_SHADOW != _BLOCKING_SHADOW,
    ),
    Check(
        EntryCheck.BLOCKING_BY_STI,
        "26.3.1.5",
        "blocking by STI needs RFLAGS.IF",
        lambda c: (
            not c.guest.interruptibility & Interruptibility.BLOCKING_BY_STI
            or bool(c.guest.rflags & _RFLAGS_IF)
        ),
    ),
    Check(
        EntryCheck.BLOCKING_OF_EVENT, "26.3.1.5", "STI or MOV SS does not block the event", _blocking_of_event
    ),
    Check(
        EntryCheck.BLOCKING_BY_SMI,
        "26.3.1.5",
        "there is no system-management mode",
        lambda c: not c.guest.interruptibility & Interruptibility.BLOCKING_BY_SMI,
    ),
    Check(
        EntryCheck.PENDING_DEBUG_EXCEPTIONS,
        "26.3.1.5",
        "reserved bits of pending debug exceptions are clear",
        lambda c: not c.guest.pending_debug_exceptions & ~0x1500F,
    ),
    Check(EntryCheck.PDPTE_RESERVED, "26.3.1.6", "reserved bits of present PDPTEs are clear", _pdptes),
)

_BY_NUMBER: Final = {check.number: check for check in CHECKS}


def failed_check(control: ControlBlock) -> EntryCheck:
    """The first check that `control` fails, or `EntryCheck.NONE`."""
    for check in CHECKS:
        if not check.holds(control):
            return check.number
    return EntryCheck.NONE


def describe(number: int) -> str:
    """One line about the check `number`: its name, what is right, and where it says so."""
    check = _BY_NUMBER.get(number)  # type: ignore[call-overload]
    if check is not None:
        return f"{check.number.name}: {check.text} (SDM vol. 3, {check.section})"
    if number == EntryCheck.MSR_LOAD:
        return "MSR_LOAD: each MSR of the list can be loaded with its value (SDM vol. 3, 26.4)"
    return f"check {number}"
