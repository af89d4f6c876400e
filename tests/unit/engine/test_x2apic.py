"""x2APIC mode: its transitions, its MSRs and its destinations (SDM vol. 3, 10.12)."""

from collections.abc import Callable

import pytest

from tests.unit.engine.apic import (
    ALL,
    DFR,
    EOI,
    ESR,
    ICR_HIGH,
    ICR_LOW,
    ID,
    LDR,
    LOGICAL,
    LVT_ERROR,
    LVT_LINT0,
    LVT_TIMER,
    OTHERS,
    PPR,
    SELF_IPI,
    SVR,
    TIMER_DIVIDE,
    TIMER_INITIAL,
    TPR,
    VERSION,
    X2APIC_MSRS,
    msr_read,
    msr_write,
    write,
)
from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.machine import Event

GP = 13
BASE = 0x1B
DISABLED, XAPIC, X2APIC, INVALID = 0xFEE00100, 0xFEE00900, 0xFEE00D00, 0xFEE00500
ON = msr_write(BASE, X2APIC)


def msr(register: int) -> int:
    return X2APIC_MSRS + register // 16


def get(register: int, into: str = "rbx") -> str:
    return msr_read(msr(register), into)


def put(register: int, value: int) -> str:
    return msr_write(msr(register), value)


def fault(machine: LongModeMachine, before: str, instruction: str) -> Event:
    """The fault of `instruction`'s last part, an RDMSR or WRMSR of two bytes."""
    machine.boot(f"{before} mark; {instruction} done")
    machine.mark()
    return machine.event()


@pytest.mark.parametrize(
    "steps",
    [
        [X2APIC],
        [X2APIC, X2APIC],
        [X2APIC, DISABLED],
        [X2APIC, DISABLED, XAPIC],
        [X2APIC, DISABLED, XAPIC, X2APIC],
        [DISABLED, DISABLED, XAPIC, XAPIC],
    ],
)
def test_a_legal_change_of_mode_is_made(long_mode: LongModeMachine, steps: list[int]) -> None:
    long_mode.boot("".join(msr_write(BASE, step) for step in steps) + msr_read(BASE, "rbx") + "done")
    assert long_mode.finish().rbx == steps[-1]


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        ([], INVALID),
        ([X2APIC], XAPIC),
        ([DISABLED], X2APIC),
        ([X2APIC], INVALID),
        ([X2APIC, DISABLED], X2APIC),
    ],
)
def test_an_illegal_change_of_mode_is_gp(long_mode: LongModeMachine, steps: list[int], wrong: int) -> None:
    event = fault(long_mode, "".join(msr_write(BASE, step) for step in steps), msr_write(BASE, wrong))
    assert (event.vector, event.error_code) == (GP, 0)
    assert long_mode.area.control.guest.apic_base == (steps or [XAPIC])[-1]


@pytest.mark.parametrize("bit", [0, 7, 9, 40, 63])
def test_a_reserved_bit_of_the_base_is_gp(long_mode: LongModeMachine, bit: int) -> None:
    assert fault(long_mode, "", msr_write(BASE, XAPIC | 1 << bit)).vector == GP


def test_a_model_without_x2apic_can_not_enable_it(make_long_mode: Callable[..., LongModeMachine]) -> None:
    machine = make_long_mode(model="max,-x2apic")
    assert fault(machine, "", ON).vector == GP


def test_the_msrs_are_gp_outside_x2apic_mode(long_mode: LongModeMachine) -> None:
    assert fault(long_mode, "", get(VERSION)).vector == GP


def test_the_id_is_the_whole_register(make_long_mode: Callable[..., LongModeMachine]) -> None:
    machine = make_long_mode()
    machine.area.apic_id = 0x25
    machine.boot(f"{ON} {get(ID)} {get(LDR, 'rbp')} done")
    state = machine.finish()
    assert state.rbx == 0x25
    assert state.rbp == 2 << 16 | 1 << 5


def test_the_memory_mapped_registers_are_gone(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{ON} {write(TPR, 0x40)} {get(TPR)} done")
    assert long_mode.run().address == 0xFEE00000 + TPR
    assert long_mode.finish().rbx == 0


@pytest.mark.parametrize(
    ("register", "value"), [(TPR, 0x35), (SVR, 0x1EF), (LVT_TIMER, 0x10040), (ICR_LOW, 0x40)]
)
def test_a_register_keeps_what_is_written(long_mode: LongModeMachine, register: int, value: int) -> None:
    long_mode.boot(f"{ON} {put(SVR, 0x1FF)} {put(register, value)} {get(register)} done")
    assert long_mode.finish().rbx == value


@pytest.mark.parametrize("register", [ID, VERSION, PPR, LDR, 0x100, 0x200, 0x390])
def test_a_read_only_register_is_gp_to_write(long_mode: LongModeMachine, register: int) -> None:
    assert fault(long_mode, ON, put(register, 0)).vector == GP


@pytest.mark.parametrize("register", [EOI, SELF_IPI])
def test_a_write_only_register_is_gp_to_read(long_mode: LongModeMachine, register: int) -> None:
    assert fault(long_mode, ON, get(register)).vector == GP


@pytest.mark.parametrize("register", [0x00, DFR, ICR_HIGH, 0x90, 0xC0, 0x3F0 + 0x10, 0xFF0])
def test_a_register_that_x2apic_has_not_is_gp(long_mode: LongModeMachine, register: int) -> None:
    assert fault(long_mode, ON, get(register)).vector == GP
    assert fault(long_mode, ON, put(register, 0)).vector == GP


@pytest.mark.parametrize(
    ("register", "value"),
    [
        *[(EOI, 1), (ESR, 1), (SELF_IPI, 0x100), (TPR, 1 << 32), (TPR, 0x100), (SVR, 0x2FF), (SVR, 0x21FF)],
        *[(LVT_TIMER, 1 << 32), (LVT_TIMER, 0x140), (LVT_TIMER, 1 << 19), (TIMER_INITIAL, 1 << 32)],
        *[(ICR_LOW, 1 << 13 | 0x40), (ICR_LOW, 1 << 16 | 0x40), (ICR_LOW, 1 << 20 | 0x40), (TIMER_DIVIDE, 4)],
        *[(LVT_LINT0, 1 << 11), (LVT_ERROR, 0x140)],
    ],
)
def test_a_reserved_bit_of_a_register_is_gp(long_mode: LongModeMachine, register: int, value: int) -> None:
    assert fault(long_mode, ON, put(register, value)).vector == GP


@pytest.mark.parametrize(
    ("register", "value", "kept"),
    [
        (LVT_TIMER, 1 << 12 | 0x10040, 0x10040),
        (LVT_LINT0, 1 << 14 | 0x10040, 0x10040),
        (ICR_LOW, 1 << 12 | 1 << 32 | 0x40, 1 << 32 | 0x40),
    ],
)
def test_a_bit_that_hardware_alone_writes_is_ignored(
    long_mode: LongModeMachine, register: int, value: int, kept: int
) -> None:
    long_mode.boot(f"{ON} {put(SVR, 0x1FF)} {put(register, value)} {get(register)} done")
    assert long_mode.finish().rbx == kept


def test_a_self_ipi_of_an_illegal_vector_is_not_sent(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{ON} {put(SVR, 0x1FF)} {put(SELF_IPI, 0x0F)} {put(ESR, 0)} {get(ESR)} done")
    assert long_mode.finish().rbx == 1 << 5


def test_an_id_that_the_guest_has_written_is_forgotten(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{write(ID, 5 << 24)} {ON} {get(ID)} done")
    assert long_mode.finish().rbx == 0


def test_the_icr_is_one_64_bit_register(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{ON} {put(ICR_LOW, 1 << 32 | 0x40)} {get(ICR_LOW)} done")
    assert long_mode.finish().rbx == 1 << 32 | 0x40
    assert long_mode.other.inbox.vector[0x40] == 1
    assert long_mode.area.inbox.vector[0x40] == 0


@pytest.mark.parametrize(
    ("icr", "own", "other"),
    [
        (0xFFFFFFFF << 32 | 0x40, 1, 1),
        (0xFF << 32 | 0x40, 0, 0),
        (ALL | 0x40, 1, 1),
        (OTHERS | 0x40, 0, 1),
        (1 << 32 | LOGICAL | 0x40, 1, 0),
        (2 << 32 | LOGICAL | 0x40, 0, 1),
        (3 << 32 | LOGICAL | 0x40, 1, 1),
        (0x10003 << 32 | LOGICAL | 0x40, 0, 0),
    ],
)
def test_an_ipi_reaches_those_that_it_names(
    long_mode: LongModeMachine, icr: int, own: int, other: int
) -> None:
    long_mode.other.control.guest.apic_base = X2APIC & ~0x100
    long_mode.other.lapic.regs[LDR // 4] = 1 << 1
    long_mode.boot(f"{ON} {put(SVR, 0x1FF)} {put(ICR_LOW, icr)} mark; done")
    long_mode.mark()
    assert long_mode.other.inbox.vector[0x40] == other
    long_mode.finish()
    assert long_mode.area.lapic.regs[0x220 // 4] == own


def test_a_self_ipi_is_delivered(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{ON} {put(SVR, 0x1FF)} sti; {put(SELF_IPI, 0x41)} jmp 1f; 1: done")
    assert long_mode.event().vector == 0x41


def test_an_eoi_ends_the_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{ON} {put(SVR, 0x1FF)} sti; {put(SELF_IPI, 0x41)} jmp 1f; 1: {put(EOI, 0)} done")
    assert long_mode.event().vector == 0x41
    assert long_mode.area.lapic.regs[0x120 // 4] == 2
    long_mode.finish()
    assert long_mode.area.lapic.regs[0x120 // 4] == 0


def test_the_task_priority_is_also_cr8(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"{ON} {put(TPR, 0x70)} movq %cr8, %rbx; movl $3, %eax; movq %rax, %cr8; {get(TPR, 'rbp')} done"
    )
    state = long_mode.finish()
    assert (state.rbx, state.rbp) == (7, 0x30)
