"""Execution controls of events: exceptions, ports, interrupts, windows, steps, time (SDM vol. 3, 25.2)."""

import time

import pytest

from mpvm.abi.control_bits import EventType, InterruptionInformation, PinBased, ProcessorBased
from mpvm.abi.exits import ExitReason, IoDirection
from tests.unit.engine.apic import enable
from tests.unit.engine.long_mode import DATA, RFLAGS_IF, LongModeMachine, P, U, W

DB, NMI, BP, UD, DF, GP, PF = 1, 2, 3, 6, 8, 13, 14
VALID, ERROR_CODE = InterruptionInformation.VALID, InterruptionInformation.DELIVER_ERROR_CODE
FAULT = VALID | EventType.HARDWARE_EXCEPTION << 8
R = ExitReason

# --- Exceptions -----------------------------------------------------------------------------------------


def test_an_exception_of_the_bitmap_exits_before_it_is_delivered(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; at: ud2")
    long_mode.apply(exception_bitmap=1 << UD)
    state = long_mode.run_to_control(R.EXCEPTION)
    assert state.rip == long_mode.label("at")
    assert long_mode.area.control.exit.interruption_information == FAULT | UD
    assert long_mode.event().vector == UD


def test_an_exception_that_is_not_in_the_bitmap_does_not_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("ud2")
    long_mode.apply(exception_bitmap=0xFFFFFFFF & ~(1 << UD))
    assert long_mode.event().vector == UD


def test_the_owner_of_an_exception_may_deal_with_it(long_mode: LongModeMachine) -> None:
    long_mode.boot("ud2; ud2; done")
    long_mode.apply(exception_bitmap=1 << UD)
    for _ in range(2):
        state = long_mode.run_to_control(R.EXCEPTION)
        state.rip += 2
        long_mode.answer(state, done=True)
    long_mode.finish()


def test_exceptions_that_were_dealt_with_make_no_double_fault(long_mode: LongModeMachine) -> None:
    long_mode.boot("xorl %edx, %edx; xorl %ecx, %ecx; divl %ecx; movw $0x1234, %ax; movw %ax, %ds; done")
    long_mode.apply(exception_bitmap=1)
    state = long_mode.run_to_control(R.EXCEPTION)
    state.rip += 2
    long_mode.answer(state, done=True)
    assert long_mode.event().vector == GP


def test_an_error_code_is_in_the_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("movw $0x1234, %ax; movw %ax, %ds")
    long_mode.apply(exception_bitmap=1 << GP)
    long_mode.run_to_control(R.EXCEPTION)
    about = long_mode.area.control.exit
    assert (about.interruption_information, about.interruption_error_code) == (
        FAULT | ERROR_CODE | GP,
        0x1234,
    )
    assert long_mode.event().error_code == 0x1234


def test_a_page_fault_exits_with_its_address_before_cr2_is_written(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $1, (%rbx)", rbx=0x40000, cr2=0x123)
    long_mode.map(0x40000, 0, 0)
    long_mode.apply(exception_bitmap=1 << PF)
    state = long_mode.run_to_control(R.EXCEPTION)
    about = long_mode.area.control.exit
    assert (about.qualification, about.interruption_error_code, state.cr2) == (0x40000, W, 0x123)
    event = long_mode.event()
    assert (event.vector, event.cr2) == (PF, 0x40000)


def test_a_page_fault_that_was_repaired_runs_the_instruction_again(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $7, (%rbx); done", rbx=0x40000)
    entry = long_mode.map(0x40000, 0, 0)
    long_mode.apply(exception_bitmap=1 << PF)
    long_mode.run_to_control(R.EXCEPTION)
    long_mode.store(entry, DATA | P | W, 8)
    long_mode.answer(done=True)
    long_mode.finish()
    assert long_mode.load(DATA, 4) == 7


@pytest.mark.parametrize(
    ("bitmap", "mask", "match", "exits"),
    [(1, 0, 0, True), (1, W, W, True), (1, W, 0, False), (0, W, 0, True), (0, W, W, False), (1, U, U, False)],
)
def test_the_error_code_mask_and_match_choose_among_page_faults(
    long_mode: LongModeMachine, bitmap: int, mask: int, match: int, exits: bool
) -> None:
    long_mode.boot("movl $1, (%rbx)", rbx=0x40000)
    long_mode.map(0x40000, 0, 0)
    long_mode.apply(
        exception_bitmap=bitmap << PF, page_fault_error_code_mask=mask, page_fault_error_code_match=match
    )
    if exits:
        long_mode.run_to_control(R.EXCEPTION)
    assert long_mode.event().vector == PF


@pytest.mark.parametrize(
    ("source", "vector", "kind", "length"),
    [
        ("int3", BP, EventType.SOFTWARE_EXCEPTION, 1),
        (".byte 0xcd, 3", BP, None, 2),
        ("int $0x40", 0x40, None, 2),
    ],
)
def test_int3_is_an_exception_and_int_n_is_none(
    long_mode: LongModeMachine, source: str, vector: int, kind: EventType | None, length: int
) -> None:
    long_mode.boot(f"at: {source}")
    long_mode.apply(exception_bitmap=0xFFFFFFFF)
    if kind is not None:
        state = long_mode.run_to_control(R.EXCEPTION)
        about = long_mode.area.control.exit
        assert about.interruption_information == VALID | kind << 8 | vector
        assert (state.rip, about.instruction_length) == (long_mode.label("at"), length)
    event = long_mode.event()
    assert (event.vector, event.rip) == (vector, long_mode.label("at") + length)


def test_a_fault_while_an_event_is_delivered_names_the_event(long_mode: LongModeMachine) -> None:
    long_mode.boot("int $0x50")
    long_mode.set_gate(0x50, present=False)
    long_mode.apply(exception_bitmap=1 << 11)
    long_mode.run_to_control(R.EXCEPTION)
    about = long_mode.area.control.exit
    assert about.idt_vectoring_information == VALID | EventType.SOFTWARE_INTERRUPT << 8 | 0x50


# --- Ports ----------------------------------------------------------------------------------------------


def shadow(machine: LongModeMachine, port: int, value: int) -> None:
    machine.vm.shadow[0].kind = 1
    machine.vm.shadow[0].value = value
    machine.vm.port_shadow[port] = 1


def test_a_port_of_the_bitmap_exits_though_it_could_be_answered_here(long_mode: LongModeMachine) -> None:
    long_mode.boot("movw $0x3fd, %dx; at: inb %dx, %al; movb %al, %bl; inb $0x61, %al; done")
    shadow(long_mode, 0x3FD, 0x60)
    long_mode.vm.port_shadow[0x61] = 1
    long_mode.area.control.execution.io_bitmap[0x3FD // 8] = 1 << (0x3FD % 8)
    long_mode.apply(processor_based=ProcessorBased.USE_IO_BITMAPS)
    state = long_mode.run_to_control(R.IO)
    about = long_mode.area.control.exit
    assert (state.rip, about.instruction_length) == (long_mode.label("at"), 1)
    assert about.qualification == 1 << 3 | 0x3FD << 16
    assert (about.direction, about.size, about.port) == (IoDirection.IN, 1, 0x3FD)
    after = long_mode.finish(0x99)
    assert (after.rbx, after.rax & 0xFF) == (0x99, 0x60)


def test_unconditional_exiting_is_for_every_port_if_there_are_no_bitmaps(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: outl %eax, $0x80; hlt", rax=0x12345678)
    for port in range(0x80, 0x84):
        long_mode.vm.port_posted[port] = 1
    long_mode.apply(processor_based=ProcessorBased.UNCONDITIONAL_IO_EXITING)
    long_mode.run_to_control(R.IO)
    about = long_mode.area.control.exit
    assert (about.qualification, about.data) == (3 | 1 << 6 | 0x80 << 16, 0x12345678)


def test_an_access_exits_when_any_of_its_ports_does(long_mode: LongModeMachine) -> None:
    long_mode.boot("inw $0x70, %ax; inb $0x70, %al; hlt")
    long_mode.area.control.execution.io_bitmap[0x71 // 8] = 1 << 1
    long_mode.apply(processor_based=ProcessorBased.USE_IO_BITMAPS | ProcessorBased.UNCONDITIONAL_IO_EXITING)
    long_mode.run_to_control(R.IO)
    long_mode.run_until(R.IO)
    assert long_mode.area.control.exit.cause == 0, "the next one is the machine's own exit"


def test_each_round_of_a_string_instruction_exits_with_its_address(long_mode: LongModeMachine) -> None:
    long_mode.boot("movw $0x1f0, %dx; rep insw; done", rdi=DATA, rcx=3)
    long_mode.apply(processor_based=ProcessorBased.UNCONDITIONAL_IO_EXITING)
    for i in range(3):
        state = long_mode.run_to_control(R.IO, 0x100 + i - 1)
        assert (state.rcx, long_mode.area.control.exit.guest_linear_address) == (3 - i, DATA + 2 * i)
        assert long_mode.area.control.exit.qualification == 1 | 1 << 3 | 1 << 4 | 1 << 5 | 0x1F0 << 16
    long_mode.run_to_control(R.IO, 0x102)
    assert long_mode.read(DATA, 6) == bytes.fromhex("000101010201")


def test_registers_can_change_in_a_ports_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("inb $0x60, %al; done")
    long_mode.apply(processor_based=ProcessorBased.UNCONDITIONAL_IO_EXITING)
    state = long_mode.run_to_control(R.IO)
    state.rbx = 0x1234
    long_mode.answer(state)
    after = long_mode.run_to_control(R.IO, 0x56)
    assert (after.rbx, after.rax & 0xFF) == (0x1234, 0x56)
    assert after.rip == state.rip + 2, "it was asked once"


# --- Interrupts and windows -----------------------------------------------------------------------------


def test_an_external_interrupt_exits_before_it_is_acknowledged(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; nop; mark; 1: jmp 1b")
    long_mode.apply(pin_based=PinBased.EXTERNAL_INTERRUPT_EXITING)
    long_mode.mark()
    long_mode.interrupt(0x40)
    long_mode.run_to_control(R.EXTERNAL_INTERRUPT)
    assert long_mode.area.control.exit.interruption_information == VALID | 0x40
    assert long_mode.event().vector == 0x40


def test_an_external_interrupt_exits_once_though_if_is_clear(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; jmp 1f; 1: mark; sti; nop; 1: jmp 1b")
    long_mode.apply(pin_based=PinBased.EXTERNAL_INTERRUPT_EXITING)
    long_mode.mark()
    long_mode.interrupt(0x40)
    assert not long_mode.run_to_control(R.EXTERNAL_INTERRUPT).rflags & RFLAGS_IF
    long_mode.mark()
    assert long_mode.event().vector == 0x40


def test_the_owner_that_takes_an_interrupt_has_it(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; nop; mark; jmp 1f; 1: mark; hlt")
    long_mode.apply(pin_based=PinBased.EXTERNAL_INTERRUPT_EXITING)
    long_mode.mark()
    long_mode.interrupt(0x40)
    long_mode.run_to_control(R.EXTERNAL_INTERRUPT)
    long_mode.answer(done=True)
    long_mode.mark()
    isr = long_mode.area.lapic.regs[(0x100 + 0x10 * (0x40 // 32)) // 4]
    assert isr == 1, "it is in service"


@pytest.mark.parametrize("done", [False, True])
def test_an_nmi_exits(long_mode: LongModeMachine, done: bool) -> None:
    long_mode.boot("mark; jmp 1f; 1: mark; hlt")
    long_mode.apply(pin_based=PinBased.NMI_EXITING)
    long_mode.mark()
    long_mode.nmi()
    long_mode.run_to_control(R.NMI)
    assert long_mode.area.control.exit.interruption_information == VALID | EventType.NMI << 8 | NMI
    long_mode.answer(done=done)
    if done:
        long_mode.mark()
    else:
        assert long_mode.event().vector == NMI


def test_the_interrupt_window_exits_when_if_lets_interrupts_in(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; sti; in: nop; at: nop; done")
    long_mode.apply(processor_based=ProcessorBased.INTERRUPT_WINDOW_EXITING)
    long_mode.mark()
    state = long_mode.run_to_control(R.IRQ_WINDOW_OPEN)
    assert state.rip == long_mode.label("at"), "after the shadow of STI"
    assert state.rflags & RFLAGS_IF
    long_mode.apply(processor_based=0)
    long_mode.finish()
    assert long_mode.exits(R.IRQ_WINDOW_OPEN) == 1


def test_the_nmi_window_exits_when_the_handler_has_returned(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; jmp 1f; 1: done; handler: mark; iretq")
    long_mode.set_gate(NMI, long_mode.label("handler"))
    long_mode.mark()
    long_mode.nmi()
    long_mode.mark()
    long_mode.apply(processor_based=ProcessorBased.NMI_WINDOW_EXITING)
    state = long_mode.run_to_control(R.NMI_WINDOW)
    assert state.interruptibility == 0
    long_mode.apply(processor_based=0)
    long_mode.finish()


# --- Steps and time -------------------------------------------------------------------------------------


def test_the_monitor_trap_flag_exits_after_each_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot("a: nop; b: addl $1, %eax; c: jmp d; nop; d: pushq %rax; e: popq %rbx; f: done")
    long_mode.apply(processor_based=ProcessorBased.MONITOR_TRAP_FLAG)
    for label in "bcdef":
        assert long_mode.run_to_control(R.MONITOR_TRAP_FLAG).rip == long_mode.label(label)
    long_mode.apply(processor_based=0)
    assert long_mode.finish().rbx == 1


def test_each_round_of_a_repeated_instruction_is_a_step(long_mode: LongModeMachine) -> None:
    long_mode.boot("at: rep stosb; after: done", rdi=DATA, rcx=3)
    long_mode.apply(processor_based=ProcessorBased.MONITOR_TRAP_FLAG)
    assert [long_mode.run_to_control(R.MONITOR_TRAP_FLAG).rcx for _ in range(3)] == [2, 1, 0]


def test_the_delivery_of_a_fault_is_a_step(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; at: ud2; handler: nop")
    long_mode.set_gate(UD, long_mode.label("handler"))
    long_mode.apply(processor_based=ProcessorBased.MONITOR_TRAP_FLAG)
    assert long_mode.run_to_control(R.MONITOR_TRAP_FLAG).rip == long_mode.label("at")
    assert long_mode.run_to_control(R.MONITOR_TRAP_FLAG).rip == long_mode.label("handler")


def test_a_step_and_an_instructions_own_control_are_two_exits(long_mode: LongModeMachine) -> None:
    long_mode.boot("nop; at: cpuid; after: done")
    long_mode.apply(processor_based=ProcessorBased.MONITOR_TRAP_FLAG, unconditional=1)
    assert long_mode.run_to_control(R.MONITOR_TRAP_FLAG).rip == long_mode.label("at")
    state = long_mode.run_to_control(R.CPUID)
    long_mode.answer(state)
    assert long_mode.run_to_control(R.MONITOR_TRAP_FLAG).rip == long_mode.label("after")


@pytest.mark.parametrize("program", ["1: jmp 1b", "sti; 1: hlt; jmp 1b"], ids=["running", "halted"])
def test_the_preemption_timer_ends_a_run_again_and_again(long_mode: LongModeMachine, program: str) -> None:
    long_mode.boot(program)
    start = time.monotonic_ns()
    long_mode.apply(pin_based=PinBased.PREEMPTION_TIMER, preemption_timer_value=100_000)
    for _ in range(3):
        long_mode.run_to_control(R.PREEMPTION_TIMER)
    # 3 times 3.2 million cycles, of a TSC of at most 6 GHz.
    assert time.monotonic_ns() - start > 1_500_000


def test_the_tsc_has_its_offset_while_the_control_is_set(long_mode: LongModeMachine) -> None:
    long_mode.boot("1: rdtsc; shlq $32, %rdx; orq %rdx, %rax; mark; jmp 1b")
    far = 1 << 61
    for controls, there in ((0, False), (ProcessorBased.USE_TSC_OFFSETTING, True), (0, False)):
        long_mode.apply(processor_based=controls, tsc_offset=far)
        long_mode.mark()
        assert (long_mode.pause().rax >= far) is there


def test_no_control_means_no_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot("cpuid; rdtsc; mov %cr3, %rax; mov %rax, %cr3; pause; wbinvd; mov %dr7, %rax; done")
    long_mode.apply()
    long_mode.finish()
    assert sum(long_mode.area.counters.exits) == 2, "the write to the port, and the test's own pause"
