"""VM entries: events to inject, MSRs to load and store, and what makes one fail (SDM vol. 3, chapter 26)."""

import ctypes
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpvm.abi import entry_checks
from mpvm.abi.control_bits import ActivityState, EventType, InterruptionInformation, ProcessorBased, Secondary
from mpvm.abi.control_block import ControlBlock, GuestState, MsrEntry
from mpvm.abi.entry_checks import CHECKS, EntryCheck
from mpvm.abi.exits import ExitReason
from tests.unit.engine.long_mode import RFLAGS_IF, LongModeMachine
from tests.unit.engine.real_mode import RealModeMachine

DB, NMI, BP, UD, GP, PF = 1, 2, 3, 6, 13, 14
VALID, ERROR_CODE = InterruptionInformation.VALID, InterruptionInformation.DELIVER_ERROR_CODE
STAR, PAT, FS_BASE, X2APIC_ID, NOBODYS = 0xC0000081, 0x277, 0xC0000100, 0x802, 0x1234


def inject(
    machine: LongModeMachine, kind: EventType, vector: int, error: int | None = None, length: int = 0
) -> None:
    entry = machine.area.control.entry
    entry.interruption_information = VALID | kind << 8 | vector | (0 if error is None else ERROR_CODE)
    entry.exception_error_code = error or 0
    entry.instruction_length = length
    machine.engine.apply_controls()


def failure(machine: LongModeMachine | RealModeMachine) -> EntryCheck:
    assert machine.engine.run() == ExitReason.FAIL_ENTRY
    return EntryCheck(machine.area.control.exit.failed_check)


@pytest.mark.parametrize(
    ("kind", "vector", "error", "length"),
    [
        (EventType.EXTERNAL_INTERRUPT, 0x40, None, 0),
        (EventType.NMI, NMI, None, 0),
        (EventType.HARDWARE_EXCEPTION, UD, None, 0),
        (EventType.HARDWARE_EXCEPTION, GP, 0x50, 0),
        (EventType.HARDWARE_EXCEPTION, PF, 2, 0),
        (EventType.SOFTWARE_INTERRUPT, 0x80, None, 2),
        (EventType.SOFTWARE_EXCEPTION, BP, None, 1),
        (EventType.PRIVILEGED_SOFTWARE_EXCEPTION, DB, None, 1),
    ],
)
def test_an_event_is_delivered_before_the_first_instruction(
    long_mode: LongModeMachine, kind: EventType, vector: int, error: int | None, length: int
) -> None:
    long_mode.boot("at: nop; nop; done", rflags=RFLAGS_IF | 2)
    inject(long_mode, kind, vector, error, length)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (vector, error or 0)
    assert event.rip == long_mode.label("at") + length
    assert not long_mode.area.control.entry.interruption_information & VALID
    long_mode.finish()


def test_an_injected_exception_does_not_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("done")
    long_mode.area.control.execution.exception_bitmap = 0xFFFFFFFF
    inject(long_mode, EventType.HARDWARE_EXCEPTION, UD)
    assert long_mode.event().vector == UD


def test_an_event_that_is_injected_in_an_instructions_exit_comes_before_the_instruction(
    long_mode: LongModeMachine,
) -> None:
    long_mode.boot("nop; at: cpuid; done", rflags=RFLAGS_IF | 2)
    long_mode.apply(unconditional=1)
    long_mode.run_to_control(ExitReason.CPUID)
    inject(long_mode, EventType.EXTERNAL_INTERRUPT, 0x40)
    assert long_mode.event().rip == long_mode.label("at")
    long_mode.run_to_control(ExitReason.CPUID)
    long_mode.finish()


def test_an_event_that_is_injected_in_a_ports_exit_comes_after_the_access(long_mode: LongModeMachine) -> None:
    long_mode.boot("inb $0x60, %al; at: nop; movb %al, %bl; done", rflags=RFLAGS_IF | 2)
    long_mode.apply(processor_based=ProcessorBased.UNCONDITIONAL_IO_EXITING)
    long_mode.run_to_control(ExitReason.IO)
    inject(long_mode, EventType.EXTERNAL_INTERRUPT, 0x40)
    long_mode.run_to_control(ExitReason.IO, 0x77)
    assert (long_mode.last_event().vector, long_mode.last_event().rip) == (0x40, long_mode.label("at"))
    long_mode.run_to_control(ExitReason.IO)
    assert long_mode.area.control.guest.gpr[3] & 0xFF == 0x77


def test_an_event_ends_hlt(long_mode: LongModeMachine) -> None:
    long_mode.boot("sti; hlt; after: done")
    long_mode.apply(pin_based=1 << 6, preemption_timer_value=1000)
    state = long_mode.run_to_control(ExitReason.PREEMPTION_TIMER)
    while state.activity_state != ActivityState.HLT:
        state = long_mode.run_to_control(ExitReason.PREEMPTION_TIMER)
    long_mode.apply(pin_based=0)
    inject(long_mode, EventType.EXTERNAL_INTERRUPT, 0x40)
    assert (long_mode.event().vector, long_mode.last_event().rip) == (0x40, long_mode.label("after"))


def test_a_fault_while_an_injected_event_is_delivered_is_the_guests(long_mode: LongModeMachine) -> None:
    long_mode.boot("done", rflags=RFLAGS_IF | 2)
    long_mode.set_gate(0x40, present=False)
    inject(long_mode, EventType.EXTERNAL_INTERRUPT, 0x40)
    assert (long_mode.event().vector, long_mode.last_event().error_code) == (11, 0x40 * 8 + 3)


def test_an_interrupt_is_injected_in_real_mode(real_mode: RealModeMachine) -> None:
    real_mode.boot("hlt; handler: movw $0x1234, %bx; done")
    handler = real_mode.label("handler")
    real_mode.store(0x40 * 4, handler, 2)
    real_mode.store(0x40 * 4 + 2, 0, 2)
    real_mode.area.control.guest.rflags |= RFLAGS_IF
    real_mode.engine.load_state()
    real_mode.area.control.entry.interruption_information = VALID | 0x40
    real_mode.engine.apply_controls()
    assert real_mode.finish().rbx & 0xFFFF == 0x1234


def test_an_exception_in_real_mode_has_no_error_code(real_mode: RealModeMachine) -> None:
    real_mode.boot("hlt; handler: movw $0x1234, %bx; done")
    real_mode.store(GP * 4, real_mode.label("handler"), 2)
    real_mode.store(GP * 4 + 2, 0, 2)
    entry, exception = real_mode.area.control.entry, VALID | EventType.HARDWARE_EXCEPTION << 8 | GP
    entry.interruption_information = exception | ERROR_CODE
    real_mode.engine.apply_controls()
    assert failure(real_mode) is EntryCheck.EVENT_ERROR_CODE_DELIVERY
    entry.interruption_information = exception
    real_mode.engine.apply_controls()
    assert real_mode.finish().rbx & 0xFFFF == 0x1234


# --- MSR lists ------------------------------------------------------------------------------------------


def test_msrs_are_loaded_at_an_entry_and_stored_at_an_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0xc0000081, %ecx; rdmsr; incl %eax; wrmsr; mark; done")
    control = long_mode.area.control
    control.entry.msr_load[0] = MsrEntry(index=STAR, data=0x55)
    control.entry.msr_load_count = 1
    control.exit_controls.msr_store[0].index = STAR
    control.exit_controls.msr_store_count = 1
    long_mode.engine.apply_controls()
    long_mode.mark()
    assert control.exit_controls.msr_store[0].data == 0x56
    control.entry.msr_load_count = 0
    long_mode.finish()
    assert control.exit_controls.msr_store[0].data == 0x56


@pytest.mark.parametrize(
    ("index", "data", "reserved"),
    [(PAT, 0xFF, 0), (FS_BASE, 0, 0), (X2APIC_ID, 0, 0), (NOBODYS, 0, 0), (STAR, 0, 1)],
)
def test_an_msr_that_can_not_be_loaded_fails_the_entry(
    long_mode: LongModeMachine, index: int, data: int, reserved: int
) -> None:
    long_mode.boot("done")
    entry = long_mode.area.control.entry
    entry.msr_load[0] = MsrEntry(index=STAR, data=7)
    entry.msr_load[1] = MsrEntry(index=index, data=data, reserved=reserved)
    entry.msr_load_count = 2
    long_mode.engine.apply_controls()
    assert failure(long_mode) is EntryCheck.MSR_LOAD
    assert (long_mode.area.control.exit.qualification, long_mode.area.control.exit.msr_index) == (2, index)
    entry.msr_load_count = 0
    long_mode.finish()


# --- Checks ---------------------------------------------------------------------------------------------

Change = Callable[[ControlBlock], None]


def setting(path: str, value: int) -> Change:
    def change(control: ControlBlock) -> None:
        *way, last = path.split(".")
        target = control
        for name in way:
            target = getattr(target, name)
        setattr(target, last, value)

    return change


def array(path: str, index: int, value: int) -> Change:
    def change(control: ControlBlock) -> None:
        getattr(control.guest, path)[index] = value

    return change


def event(information: int, error: int = 0, length: int = 0) -> Change:
    def change(control: ControlBlock) -> None:
        control.entry.interruption_information = VALID | information
        control.entry.exception_error_code = error
        control.entry.instruction_length = length

    return change


def several(*changes: Change) -> Change:
    def change(control: ControlBlock) -> None:
        for one in changes:
            one(control)

    return change


#: For each check, a change of a good state that it finds first.
BAD: dict[EntryCheck, Change] = {
    EntryCheck.PIN_BASED_RESERVED: setting("execution.pin_based", 1 << 1),
    EntryCheck.PROCESSOR_BASED_RESERVED: setting("execution.processor_based", 1 << 21),
    EntryCheck.SECONDARY_RESERVED: several(
        setting("execution.processor_based", ProcessorBased.ACTIVATE_SECONDARY_CONTROLS),
        setting("execution.secondary", 1 << 1),
    ),
    EntryCheck.UNCONDITIONAL_RESERVED: setting("execution.unconditional", 1 << 3),
    EntryCheck.UNSUPPORTED: setting("guest.cr4", 1 << 5 | 1 << 13),
    EntryCheck.CR3_TARGET_COUNT: setting("execution.cr3_target_count", 5),
    EntryCheck.MSR_STORE_LIST: setting("exit_controls.msr_store_count", 33),
    EntryCheck.MSR_LOAD_COUNT: setting("entry.msr_load_count", 33),
    EntryCheck.EVENT_TYPE: event(1 << 8),
    EntryCheck.EVENT_VECTOR: event(EventType.NMI << 8 | 3),
    EntryCheck.EVENT_ERROR_CODE_DELIVERY: event(EventType.HARDWARE_EXCEPTION << 8 | GP),
    EntryCheck.EVENT_ERROR_CODE: event(EventType.HARDWARE_EXCEPTION << 8 | GP | ERROR_CODE, error=1 << 16),
    EntryCheck.EVENT_INSTRUCTION_LENGTH: event(EventType.SOFTWARE_INTERRUPT << 8 | 0x80),
    EntryCheck.CR0_RESERVED: setting("guest.cr0", 1 << 32 | 0x80010033),
    EntryCheck.CR0_PAGING: setting("guest.cr0", 1 << 31),
    EntryCheck.CR0_CACHING: setting("guest.cr0", 0x80010033 | 1 << 29),
    EntryCheck.CR4_RESERVED: setting("guest.cr4", 1 << 40),
    EntryCheck.CR4_PCIDE: several(
        setting("guest.cr4", 1 << 17), setting("guest.efer", 0), setting("guest.cr0", 0x33)
    ),
    EntryCheck.CR3_WIDTH: setting("guest.cr3", 1 << 52),
    EntryCheck.CR8_RESERVED: setting("guest.cr8", 16),
    EntryCheck.DR6_RESERVED: array("dr", 6, 1 << 32),
    EntryCheck.DR7_RESERVED: array("dr", 7, 1 << 32),
    EntryCheck.EFER_RESERVED: setting("guest.efer", 0xD03),
    EntryCheck.EFER_LMA: setting("guest.efer", 0x901),
    EntryCheck.EFER_PAE: setting("guest.cr4", 0),
    EntryCheck.PAT_TYPES: setting("guest.pat", 2),
    EntryCheck.MSR_CANONICAL: setting("guest.lstar", 1 << 47),
    EntryCheck.APIC_BASE: setting("guest.apic_base", 1 << 10),
    EntryCheck.XCR0: setting("guest.xcr0", 2),
    EntryCheck.MXCSR: setting("guest.mxcsr", 1 << 16),
    EntryCheck.TSC_AUX: setting("guest.tsc_aux", 1 << 32),
    EntryCheck.V86_SEGMENT: setting("guest.rflags", 1 << 17 | 2),
    EntryCheck.CS_TYPE: setting("guest.cs.access_rights", 0xA092),
    EntryCheck.CS_DPL: setting("guest.cs.access_rights", 0xA0FB),
    EntryCheck.CS_L_AND_D: setting("guest.cs.access_rights", 0xE09B),
    EntryCheck.SS_TYPE: setting("guest.ss.access_rights", 0xC091),
    EntryCheck.SS_DPL: several(
        setting("guest.cs.access_rights", 0x93), setting("guest.ss.access_rights", 0xC0F3)
    ),
    EntryCheck.DATA_SEGMENT_TYPE: setting("guest.fs.access_rights", 0xC092),
    EntryCheck.SEGMENT_PRESENT: setting("guest.es.access_rights", 0xC013),
    EntryCheck.SEGMENT_RESERVED: setting("guest.es.access_rights", 0xC193),
    EntryCheck.SEGMENT_GRANULARITY: setting("guest.es.limit", 0xFFFFF000),
    EntryCheck.SEGMENT_BASE: setting("guest.gs.base", 1 << 47),
    EntryCheck.TR_TYPE: setting("guest.tr.access_rights", 0x89),
    EntryCheck.TR_SELECTOR: setting("guest.tr.selector", 0x3C),
    EntryCheck.LDTR_TYPE: setting("guest.ldtr.access_rights", 0x8B),
    EntryCheck.LDTR_SELECTOR: several(
        setting("guest.ldtr.access_rights", 0x82), setting("guest.ldtr.selector", 4)
    ),
    EntryCheck.TABLE_BASE: setting("guest.idtr.base", 1 << 47),
    EntryCheck.TABLE_LIMIT: setting("guest.gdtr.limit", 1 << 16),
    EntryCheck.RIP: setting("guest.rip", 1 << 47),
    EntryCheck.RFLAGS_RESERVED: setting("guest.rflags", 0),
    EntryCheck.RFLAGS_VM: several(
        setting("guest.rflags", 1 << 17 | 2),
        *(setting(f"guest.{name}.base", 0) for name in ("cs", "ss", "ds", "es", "fs", "gs")),
        *(setting(f"guest.{name}.selector", 0) for name in ("cs", "ss", "ds", "es", "fs", "gs")),
        *(setting(f"guest.{name}.limit", 0xFFFF) for name in ("cs", "ss", "ds", "es", "fs", "gs")),
        *(setting(f"guest.{name}.access_rights", 0xF3) for name in ("cs", "ss", "ds", "es", "fs", "gs")),
    ),
    EntryCheck.RFLAGS_IF: event(0x40),
    EntryCheck.ACTIVITY_STATE: setting("guest.activity_state", 4),
    EntryCheck.ACTIVITY_HLT: several(
        setting("guest.activity_state", ActivityState.HLT),
        setting("guest.cs.access_rights", 0xA0FB),
        setting("guest.ss.access_rights", 0xC0F3),
    ),
    EntryCheck.ACTIVITY_BLOCKING: several(
        setting("guest.activity_state", ActivityState.HLT), setting("guest.interruptibility", 2)
    ),
    EntryCheck.ACTIVITY_EVENT: several(
        setting("guest.activity_state", ActivityState.HLT), event(EventType.HARDWARE_EXCEPTION << 8 | UD)
    ),
    EntryCheck.INTERRUPTIBILITY_RESERVED: setting("guest.interruptibility", 1 << 5),
    EntryCheck.BLOCKING_BY_BOTH: setting("guest.interruptibility", 3),
    EntryCheck.BLOCKING_BY_STI: setting("guest.interruptibility", 1),
    EntryCheck.BLOCKING_OF_EVENT: several(
        setting("guest.interruptibility", 2), event(EventType.NMI << 8 | NMI)
    ),
    EntryCheck.BLOCKING_BY_SMI: setting("guest.interruptibility", 4),
    EntryCheck.PENDING_DEBUG_EXCEPTIONS: setting("guest.pending_debug_exceptions", 1 << 4),
    EntryCheck.PDPTE_RESERVED: several(
        setting("guest.efer", 0), setting("guest.cs.access_rights", 0xC09B), array("pdpte", 0, 3)
    ),
}


@pytest.mark.parametrize("check", [check for check in EntryCheck if check not in (0, EntryCheck.MSR_LOAD)])
def test_a_bad_entry_fails_and_says_which_check(long_mode: LongModeMachine, check: EntryCheck) -> None:
    long_mode.boot("done")
    good = ControlBlock.from_buffer_copy(long_mode.area.control)
    BAD[check](long_mode.area.control)
    long_mode.engine.apply_controls()
    assert failure(long_mode) is check
    assert long_mode.engine.error()
    # Put right, it goes on.
    ctypes.memmove(ctypes.addressof(long_mode.area.control), ctypes.addressof(good), ctypes.sizeof(good))
    long_mode.engine.apply_controls()
    long_mode.finish()


def test_each_check_has_a_number_and_a_text_of_its_own() -> None:
    assert len({check.number for check in CHECKS}) == len(CHECKS)
    lines = [entry_checks.describe(check) for check in EntryCheck if check]
    assert len(set(lines)) == len(lines)


def test_secondary_controls_that_are_not_active_are_not_checked(long_mode: LongModeMachine) -> None:
    long_mode.boot("done")
    long_mode.apply(secondary=1 << 1 | Secondary.WBINVD_EXITING)
    long_mode.finish()


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(
            st.integers(0, ctypes.sizeof(GuestState) // 8 - 1 - 512),
            st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 63).map(lambda bit: 1 << bit)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_random_guest_state_never_crashes(long_mode: LongModeMachine, words: list[tuple[int, int]]) -> None:
    """It fails at the entry, or runs to an exit, a triple fault, or the end of its time."""
    long_mode.boot("xorl %eax, %eax; movq %rax, (%rbx); int3; done", rbx=0x30000)
    guest = long_mode.area.control.guest
    view = (ctypes.c_uint64 * (ctypes.sizeof(GuestState) // 8)).from_buffer(guest)
    for index, value in words:
        view[index] ^= value
    long_mode.engine.load_state()
    long_mode.area.control.execution.preemption_timer_value = 1000
    long_mode.area.control.execution.pin_based = 1 << 6
    long_mode.engine.apply_controls()
    reason = long_mode.engine.run()
    assert reason in ExitReason._value2member_map_
    if reason == ExitReason.FAIL_ENTRY:
        assert long_mode.area.control.exit.failed_check in EntryCheck._value2member_map_
