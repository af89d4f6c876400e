"""The control block on KVM: what exits, what an entry injects, loads and checks, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from mpvm.abi.control_bits import (
    ActivityState,
    EventType,
    InterruptionInformation,
    PinBased,
    ProcessorBased,
    Secondary,
    Unconditional,
)
from mpvm.abi.control_block import ControlBlock, MsrEntry
from mpvm.abi.entry_checks import EntryCheck
from mpvm.abi.exits import ExitReason
from mpvm.abi.kvm.constants import MsrFilter
from tests.unit.engine.long_mode import DATA, RFLAGS_IF, LongModeMachine
from tests.unit.workers.kvm.conftest import KvmLongMode
from workers.kvm import controls, msrs
from workers.kvm.vcpu import NO_TSC_OFFSET, Vcpu

NMI, BP, UD, GP = 2, 3, 6, 13
STAR, NOBODYS, FS_BASE, X2APIC_ID, TSC_ADJUST = 0xC0000081, 0x1234, 0xC0000100, 0x802, 0x3B
VALID = InterruptionInformation.VALID


def inject(machine: LongModeMachine, kind: EventType, vector: int, error: int | None = None) -> None:
    entry = machine.area.control.entry
    with_code = InterruptionInformation.DELIVER_ERROR_CODE if error is not None else 0
    entry.interruption_information = VALID | kind << 8 | vector | with_code
    entry.exception_error_code = error or 0
    entry.instruction_length = 1
    machine.engine.apply_controls()


def failure(machine: LongModeMachine) -> EntryCheck:
    assert machine.engine.run() == ExitReason.FAIL_ENTRY
    return EntryCheck(machine.area.control.exit.failed_check)


def choose_msr(machine: LongModeMachine, kind: MsrFilter, index: int) -> None:
    """Have accesses to it exit."""
    at = (0 if kind is MsrFilter.READ else 2048) + (1024 if index >= 0xC0000000 else 0)
    machine.area.control.execution.msr_bitmap[at + (index & 0x1FFF) // 8] |= 1 << index % 8
    machine.apply(processor_based=ProcessorBased.USE_MSR_BITMAPS)


# --- Entries --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "vector", "error"),
    [
        (EventType.EXTERNAL_INTERRUPT, 0x40, None),
        (EventType.NMI, NMI, None),
        (EventType.HARDWARE_EXCEPTION, UD, None),
        (EventType.HARDWARE_EXCEPTION, GP, 0x50),
    ],
)
def test_an_event_is_delivered_before_the_first_instruction(
    machine: LongModeMachine, kind: EventType, vector: int, error: int | None
) -> None:
    machine.boot("at: nop; nop; done", rflags=RFLAGS_IF | 2)
    inject(machine, kind, vector, error)
    event = machine.event()
    assert (event.vector, event.error_code, event.rip) == (vector, error or 0, machine.label("at"))
    assert not machine.area.control.entry.interruption_information & VALID
    machine.finish()


def test_an_event_ends_hlt(machine: LongModeMachine) -> None:
    machine.boot("after: done", activity_state=ActivityState.HLT, rflags=RFLAGS_IF | 2)
    inject(machine, EventType.EXTERNAL_INTERRUPT, 0x40)
    assert (machine.event().vector, machine.last_event().rip) == (0x40, machine.label("after"))


@pytest.mark.parametrize("make", [KvmLongMode.another_engine, LongModeMachine.another_engine])
def test_an_injected_interrupt_that_kvm_has_not_delivered_is_injected_elsewhere(
    machine: LongModeMachine, make: Callable[[LongModeMachine], Any]
) -> None:
    """As one from the 8259s, which nobody else would know of."""
    machine.boot("mark; at: nop; done", rflags=RFLAGS_IF | 2)
    machine.mark()
    machine.pause()
    inject(machine, EventType.EXTERNAL_INTERRUPT, 0x40)
    # As on the way into the guest, where a kick stops it.
    cast(Vcpu, machine.engine)._offer_interrupts()
    machine.pause()
    assert machine.area.control.entry.interruption_information == VALID | 0x40
    machine.move(make(machine))
    assert (machine.event().vector, machine.last_event().rip) == (0x40, machine.label("at"))


def test_a_bad_state_fails_the_entry_with_the_check_and_a_good_one_goes_on(machine: LongModeMachine) -> None:
    machine.boot("movl $3, %ebx; done")
    machine.pause()
    machine.area.control.guest.rflags = 0
    machine.engine.load_state()
    assert failure(machine) is EntryCheck.RFLAGS_RESERVED
    assert machine.engine.error().startswith("RFLAGS_RESERVED: ")
    machine.area.control.guest.rflags = 2
    machine.engine.load_state()
    assert machine.finish().rbx == 3


def test_msrs_are_loaded_at_an_entry_and_stored_at_an_exit(machine: LongModeMachine) -> None:
    machine.boot("movl $0xc0000081, %ecx; rdmsr; incl %eax; wrmsr; mark; done")
    control = machine.area.control
    control.entry.msr_load[0] = MsrEntry(index=STAR, data=0x55)
    control.entry.msr_load[1] = MsrEntry(index=TSC_ADJUST, data=5)
    control.entry.msr_load_count = 2
    control.exit_controls.msr_store[0].index = STAR
    control.exit_controls.msr_store[1].index = TSC_ADJUST
    control.exit_controls.msr_store_count = 2
    machine.engine.apply_controls()
    machine.mark()
    assert [control.exit_controls.msr_store[i].data for i in range(2)] == [0x56, 5]
    control.entry.msr_load_count = 0
    machine.finish()


@pytest.mark.parametrize(
    ("index", "data", "reserved"), [(NOBODYS, 0, 0), (FS_BASE, 0, 0), (X2APIC_ID, 0, 0), (STAR, 0, 1)]
)
def test_an_msr_that_can_not_be_loaded_fails_the_entry(
    machine: LongModeMachine, index: int, data: int, reserved: int
) -> None:
    machine.boot("done")
    entry = machine.area.control.entry
    entry.msr_load[0] = MsrEntry(index=STAR, data=7)
    entry.msr_load[1] = MsrEntry(index=index, data=data, reserved=reserved)
    entry.msr_load_count = 2
    machine.engine.apply_controls()
    assert failure(machine) is EntryCheck.MSR_LOAD
    about = machine.area.control.exit
    assert (about.qualification, about.msr_index) == (2, index)
    entry.msr_load_count = 0
    machine.finish()


# --- Exits ----------------------------------------------------------------------------------------------


def test_a_halt_that_nobody_answers_halts(machine: LongModeMachine) -> None:
    machine.boot("hlt; done", rflags=2)
    machine.apply(processor_based=ProcessorBased.HLT_EXITING)
    machine.run_to_control(ExitReason.HLT)
    assert machine.pause().activity_state == ActivityState.HLT


def test_a_port_of_the_bitmap_exits_with_all_registers(machine: LongModeMachine) -> None:
    machine.boot("movl $9, %ebx; at: outb %al, $0x81; done")
    machine.area.control.execution.io_bitmap[0x81 // 8] = 1 << (0x81 % 8)
    machine.apply(processor_based=ProcessorBased.USE_IO_BITMAPS)
    assert machine.run_to_control(ExitReason.IO).rbx == 9
    machine.area.control.execution.io_bitmap[0x81 // 8] = 0
    machine.engine.apply_controls()
    machine.finish()


def test_registers_can_not_be_changed_within_a_ports_instruction(machine: LongModeMachine) -> None:
    machine.boot("outb %al, $0x81; done")
    machine.apply(processor_based=ProcessorBased.UNCONDITIONAL_IO_EXITING)
    machine.answer(machine.run_to_control(ExitReason.IO))
    assert failure(machine) is EntryCheck.UNSUPPORTED
    assert "takes no registers in a port's exit" in machine.engine.error()


def test_msrs_of_the_bitmap_exit_and_go_on_as_without_it(machine: LongModeMachine) -> None:
    machine.boot(
        "movl $0xc0000081, %ecx; movl $7, %eax; xorl %edx, %edx; at: wrmsr; xorl %eax, %eax; rdmsr; done"
    )
    choose_msr(machine, MsrFilter.WRITE, STAR)
    assert machine.run_to_control(ExitReason.X86_WRMSR).rip == machine.label("at")
    about = machine.area.control.exit
    assert (about.msr_index, about.instruction_length) == (STAR, 2)
    assert machine.finish().rax == 7


def test_an_msrs_owner_may_answer_it(machine: LongModeMachine) -> None:
    machine.boot("movl $0xc0000081, %ecx; rdmsr; done")
    choose_msr(machine, MsrFilter.READ, STAR)
    state = machine.run_to_control(ExitReason.X86_RDMSR)
    state.rax, state.rip = 0x1234, state.rip + 2
    machine.answer(state, done=True)
    assert machine.finish().rax == 0x1234


def test_an_msrs_owner_may_change_registers_before_the_access(machine: LongModeMachine) -> None:
    machine.boot("movl $0xc0000081, %ecx; movl $7, %eax; wrmsr; movl $0, %eax; rdmsr; done")
    choose_msr(machine, MsrFilter.WRITE, STAR)
    state = machine.run_to_control(ExitReason.X86_WRMSR)
    state.rax = 8
    machine.answer(state)
    assert machine.finish().rax == 8


def test_the_workers_own_msrs_exit_by_the_bitmap_too(machine: LongModeMachine) -> None:
    machine.boot("movl $0x3b, %ecx; movl $5, %eax; xorl %edx, %edx; wrmsr; rdmsr; done")
    choose_msr(machine, MsrFilter.READ, TSC_ADJUST)
    machine.run_to_control(ExitReason.X86_RDMSR)
    assert machine.finish().rax == 5


def test_the_msr_bitmap_has_bits_for_two_ranges_and_others_always_exit() -> None:
    bitmap = bytearray(4096)
    bitmap[1024 + 0x81 // 8] = 1 << 0x81 % 8
    read, write = MsrFilter.READ, MsrFilter.WRITE
    assert msrs.exits(bytes(bitmap), STAR, read)
    assert not msrs.exits(bytes(bitmap), STAR, write)
    assert not msrs.exits(bytes(bitmap), 0x81, read)
    assert msrs.exits(bytes(bitmap), 0x4B564D03, write)
    assert not msrs.exits(None, 0x4B564D03, write)


def test_the_interrupt_window_exits_again_and_again_and_the_guest_goes_on(machine: LongModeMachine) -> None:
    machine.boot(f"sti; 1: cmpb $0, {DATA}; je 1b; movl $3, %ebx; done", rflags=2)
    machine.apply(processor_based=ProcessorBased.INTERRUPT_WINDOW_EXITING)
    places = {machine.run_to_control(ExitReason.IRQ_WINDOW_OPEN).rip for _ in range(4)}
    assert len(places) == 2
    assert machine.area.control.guest.rflags & RFLAGS_IF
    machine.store(DATA, 1, 1)
    machine.apply(processor_based=0)
    assert machine.finish().rbx == 3


def test_a_closed_interrupt_window_does_not_exit(machine: LongModeMachine) -> None:
    machine.boot("movl $5000, %ecx; 1: loop 1b; done", rflags=2)
    machine.apply(processor_based=ProcessorBased.INTERRUPT_WINDOW_EXITING)
    machine.finish()


def test_the_tsc_has_its_offset(machine: LongModeMachine) -> None:
    offset = 1 << 50
    machine.boot("rdtsc; shlq $32, %rdx; orq %rdx, %rax; done")
    machine.apply(processor_based=ProcessorBased.USE_TSC_OFFSETTING, tsc_offset=offset)
    if machine.engine.error() or machine.run().reason is ExitReason.FAIL_ENTRY:
        assert machine.engine.error() == NO_TSC_OFFSET
        pytest.skip(NO_TSC_OFFSET)
    assert machine.pause().rax >= offset


# --- What is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", controls.SOFTWARE_EVENTS)
def test_software_events_are_refused_with_the_reason(kind: EventType) -> None:
    control = ControlBlock()
    control.entry.interruption_information = VALID | kind << 8 | BP
    why = f"accelerator kvm injects no {kind.name}: KVM_SET_VCPU_EVENTS has no instruction length"
    assert controls.refused(control) == why


def test_secondary_controls_that_are_not_active_are_not_refused() -> None:
    control = ControlBlock()
    control.execution.secondary = Secondary.WBINVD_EXITING
    assert controls.refused(control) is None
    control.execution.processor_based = ProcessorBased.ACTIVATE_SECONDARY_CONTROLS
    assert controls.refused(control) == "accelerator kvm has no WBINVD_EXITING: KVM serves it in the kernel"


def test_every_control_is_enforced_or_refused_as_the_document_says() -> None:
    rows: dict[str, str] = {}
    text = Path("docs/control-block.md").read_text()
    for line in text.split("## Controls under `kvm`")[1].split("## ")[0].splitlines():
        if (row := re.fullmatch(r"\| `(\w+)` \| (.*) \|", line)) is not None:
            rows[row[1]] = row[2]
    refused = {bit.name: why for _, bit, why in controls.REFUSED} | dict(controls.MASKS)
    assert {name: f"refused: {why}" for name, why in refused.items()} == {
        name: text for name, text in rows.items() if text.startswith("refused: ")
    }
    bits = [*PinBased, *ProcessorBased, *Secondary, *Unconditional]
    assert {bit.name for bit in bits} | set(dict(controls.MASKS)) == set(rows)
