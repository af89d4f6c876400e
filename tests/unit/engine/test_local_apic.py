"""The local APIC's registers by memory access (SDM vol. 3, 10.4 to 10.8)."""

from collections.abc import Callable

import pytest

from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import Startup, VcpuArea, VcpuMode
from tests.unit.engine.apic import (
    ALL,
    ASSERT,
    DFR,
    EOI,
    ESR,
    ICR_HIGH,
    ICR_LOW,
    ID,
    INIT,
    IRR,
    ISR,
    LDR,
    LEVEL,
    LOGICAL,
    LOWEST_PRIORITY,
    LVT_ERROR,
    LVT_LINT0,
    LVT_LINT1,
    LVT_PERFORMANCE,
    LVT_THERMAL,
    LVT_TIMER,
    MASKED,
    NMI,
    OTHERS,
    PPR,
    SELF,
    SELF_IPI,
    STARTUP,
    SVR,
    TIMER_CURRENT,
    TIMER_INITIAL,
    TMR,
    TPR,
    VERSION,
    enable,
    msr_read,
    msr_write,
    read,
    write,
)
from tests.unit.engine.long_mode import APIC_WINDOW, PS, LongModeMachine, P, W

NOBODYS = [0x00, 0x40, 0x70, 0x2F0, 0x3A0, 0x3D0, SELF_IPI]
EVERY_LVT = [LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR]


def value_of(machine: LongModeMachine, register: int, before: str = "") -> int:
    """What a program reads from a register after the instructions `before`."""
    machine.boot(f"{before} {read(register, 'ebx')} done")
    return machine.finish().rbx


def test_the_version_says_integrated_apic_with_six_lvt_entries(long_mode: LongModeMachine) -> None:
    version = value_of(long_mode, VERSION)
    assert 0x10 <= version & 0xFF <= 0x15
    assert (version >> 16 & 0xFF) + 1 == 6
    assert version >> 24 == 1, "EOI broadcasts can be suppressed"


def test_a_model_without_x2apic_can_not_suppress_eoi_broadcasts(
    make_long_mode: Callable[..., LongModeMachine],
) -> None:
    machine = make_long_mode(model="max,-x2apic")
    assert value_of(machine, VERSION) >> 24 == 0
    assert value_of(machine, SVR, write(SVR, 0xFFFFFFFF)) == 0x1FF


def test_a_model_without_the_deadline_timer_has_no_mode_for_it(
    make_long_mode: Callable[..., LongModeMachine],
) -> None:
    machine = make_long_mode(model="max,-tsc-deadline")
    assert value_of(machine, LVT_TIMER, enable() + write(LVT_TIMER, 0xFFFFFFFF)) == 0x300FF


def test_the_id_is_in_the_top_byte(make_long_mode: Callable[..., LongModeMachine]) -> None:
    machine = make_long_mode()
    machine.area.apic_id = 5
    assert value_of(machine, ID) == 5 << 24


@pytest.mark.parametrize(
    ("register", "after_reset"),
    [(TPR, 0), (PPR, 0), (LDR, 0), (DFR, 0xFFFFFFFF), (SVR, 0xFF), (ESR, 0), (ICR_LOW, 0), (TIMER_CURRENT, 0)]
    + [(lvt, MASKED) for lvt in (LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_ERROR)],
)
def test_a_register_after_reset(long_mode: LongModeMachine, register: int, after_reset: int) -> None:
    assert value_of(long_mode, register) == after_reset


@pytest.mark.parametrize(
    ("register", "kept"),
    [
        (TPR, 0xFF),
        (LDR, 0xFF000000),
        (SVR, 0x11FF),
        (LVT_TIMER, 0x700FF),
        (LVT_THERMAL, 0x107FF),
        (LVT_PERFORMANCE, 0x107FF),
        (LVT_LINT0, 0x1A7FF),
        (LVT_LINT1, 0x1A7FF),
        (LVT_ERROR, 0x100FF),
        (ICR_HIGH, 0xFF000000),
        (0x3E0, 0xB),
    ],
)
def test_a_register_keeps_its_own_bits_only(long_mode: LongModeMachine, register: int, kept: int) -> None:
    assert value_of(long_mode, register, enable() + write(register, 0xFFFFFFFF)) == kept


def test_an_id_that_the_guest_writes_is_the_one_that_it_answers_to(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(ID, 5 << 24)} {read(ID, "ebx")} {write(ICR_HIGH, 5 << 24)} {write(ICR_LOW, 0x40)}
        {write(ICR_HIGH, 0)} {write(ICR_LOW, 0x41)}
        done
    """)
    assert long_mode.finish().rbx == 5 << 24
    assert reached(long_mode) == ([0x40], [])


@pytest.mark.parametrize(
    "store",
    [f"movb $0x50, {APIC_WINDOW + TPR:#x};", f"movw $0x50, {APIC_WINDOW + TPR:#x};"]
    + [f"movl $0x50, {APIC_WINDOW + TPR + offset:#x};" for offset in (1, 2, 4, 8)],
)
def test_a_store_that_is_not_of_an_aligned_register_is_ignored(
    long_mode: LongModeMachine, store: str
) -> None:
    assert value_of(long_mode, TPR, store) == 0


def test_the_destination_format_keeps_its_top_four_bits(long_mode: LongModeMachine) -> None:
    assert value_of(long_mode, DFR, write(DFR, 0)) == 0x0FFFFFFF


@pytest.mark.parametrize("register", [VERSION, PPR, ISR, ISR + 0x70, TMR, IRR, IRR + 0x70, TIMER_CURRENT])
def test_a_read_only_register_ignores_writes(long_mode: LongModeMachine, register: int) -> None:
    long_mode.boot(f"{read(register, 'ebx')} {write(register, 0xFFFFFFFF)} {read(register, 'ecx')} done")
    state = long_mode.finish()
    assert state.rbx == state.rcx


@pytest.mark.parametrize("register", NOBODYS)
def test_a_reserved_register_reads_zero(long_mode: LongModeMachine, register: int) -> None:
    assert value_of(long_mode, register, write(register, 0xFFFFFFFF)) == 0


@pytest.mark.parametrize("offset", [0x400, 0x430, 0x480, 0x800, 0xFF0])
def test_the_page_reads_zero_beyond_the_registers(long_mode: LongModeMachine, offset: int) -> None:
    before = write(TIMER_INITIAL, 0xFFFFFFFF) + write(offset, 0xFFFFFFFF)
    assert value_of(long_mode, offset, before) == 0


def test_a_write_beyond_the_registers_changes_none_of_them(long_mode: LongModeMachine) -> None:
    assert value_of(long_mode, TPR, write(0x400 + TPR, 0x50)) == 0


@pytest.mark.parametrize("lvt", EVERY_LVT)
def test_lvt_entries_stay_masked_while_the_apic_is_disabled(long_mode: LongModeMachine, lvt: int) -> None:
    assert value_of(long_mode, lvt, write(lvt, 0x41)) == MASKED | 0x41


@pytest.mark.parametrize("lvt", EVERY_LVT)
def test_disabling_the_apic_masks_all_lvt_entries(long_mode: LongModeMachine, lvt: int) -> None:
    before = enable() + write(lvt, 0x41) + write(SVR, 0xFF)
    assert value_of(long_mode, lvt, before) == MASKED | 0x41


@pytest.mark.parametrize(
    ("tpr", "in_service", "ppr"), [(0x35, 0, 0x35), (0x35, 0x41, 0x40), (0x4A, 0x41, 0x4A)]
)
def test_the_processor_priority_is_the_higher_of_task_and_service(
    long_mode: LongModeMachine, tpr: int, in_service: int, ppr: int
) -> None:
    take = f"sti; {write(ICR_LOW, SELF | in_service)} jmp 1f; 1: cli;" if in_service else ""
    long_mode.boot(f"{enable()} {take} {write(TPR, tpr)} {read(PPR, 'ebx')} done")
    if in_service:
        assert long_mode.event().vector == in_service
    assert long_mode.finish().rbx == ppr


def test_a_waiting_interrupt_shows_in_irr_and_a_running_one_in_isr(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(ICR_LOW, SELF | 0x45)} jmp 1f
    1:  {read(IRR + 0x20, "ebx")} {read(ISR + 0x20, "ecx")}
        sti
        jmp 1f
    1:  {read(IRR + 0x20, "esi")} {read(ISR + 0x20, "edi")}
        {write(EOI, 0)} {read(ISR + 0x20, "ebp")}
        done
    """)
    assert long_mode.event().vector == 0x45
    state = long_mode.finish()
    assert (state.rbx, state.rcx) == (1 << 5, 0)
    assert (state.rsi, state.rdi, state.rbp) == (0, 1 << 5, 0)


@pytest.mark.parametrize(("suppressed", "broadcasts"), [(False, 1), (True, 0)])
def test_the_end_of_a_level_triggered_interrupt_is_broadcast_unless_suppressed(
    long_mode: LongModeMachine, suppressed: bool, broadcasts: int
) -> None:
    long_mode.boot(f"{write(SVR, 0x11FF if suppressed else 0x1FF)} sti; nop; mark; nop; {write(EOI, 0)} done")
    long_mode.mark()
    long_mode.interrupt(0x45, level=True)
    assert long_mode.event().vector == 0x45
    if broadcasts:
        long_mode.run_until(ExitReason.IOAPIC_EOI)
    long_mode.finish()
    assert long_mode.exits(ExitReason.IOAPIC_EOI) == broadcasts


@pytest.mark.parametrize(
    ("lint0", "again"), [(0x8045, True), (0x45, False), (0x18045, False), (0x8046, False)]
)
def test_lint0_as_a_level_is_asked_for_again_at_its_end(
    long_mode: LongModeMachine, lint0: int, again: bool
) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_LINT0, lint0)} sti; nop; mark; {write(EOI, 0)} {read(IRR + 0x20, "ebx")} done
    """)
    long_mode.mark()
    long_mode.vm.pic_intr = 1
    long_mode.interrupt(0x45, level=True)
    assert long_mode.event().vector == 0x45
    long_mode.run_until(ExitReason.IOAPIC_EOI)
    assert long_mode.finish().rbx == again << 5


@pytest.mark.parametrize(("level", "tmr"), [(False, 0), (True, 1 << 5)])
def test_the_trigger_mode_register_says_which_are_level_triggered(
    long_mode: LongModeMachine, level: bool, tmr: int
) -> None:
    long_mode.boot(f"{enable()} mark; jmp 1f; 1: {read(TMR + 0x20, 'ebx')} done")
    long_mode.mark()
    long_mode.interrupt(0x45, level=level)
    assert long_mode.finish().rbx == tmr


def test_an_apic_that_is_disabled_accepts_no_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"sti; mark; jmp 1f; 1: {enable()} jmp 1f; 1: {read(IRR + 0x20, 'ebx')} done")
    long_mode.mark()
    long_mode.interrupt(0x45)
    assert long_mode.finish().rbx == 0


def test_an_apic_that_is_disabled_still_takes_an_nmi(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.area.inbox.nmi = long_mode.area.inbox.any = 1
    long_mode.kick()
    assert long_mode.event().vector == 2


def test_a_vector_below_16_is_an_error_and_no_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; mark; jmp 1f; 1: {write(ESR, 0)} {read(ESR, 'ebx')} done")
    long_mode.mark()
    long_mode.interrupt(0x0F)
    assert long_mode.finish().rbx == 1 << 6


def test_sending_a_vector_below_16_is_an_error_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_ERROR, 0xE0)}
        sti
        {write(ICR_LOW, OTHERS | 0x0F)}
        jmp 1f
    1:  {write(ESR, 0)} {read(ESR, "ebx")}
        done
    """)
    assert long_mode.event().vector == 0xE0
    assert long_mode.finish().rbx == 1 << 5
    assert bytes(long_mode.other.inbox.vector) == bytes(256)


def test_receiving_a_vector_below_16_is_an_error_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} {write(LVT_ERROR, 0xE0)} sti; mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.interrupt(0x0F)
    assert long_mode.event().vector == 0xE0


@pytest.mark.parametrize("access", [access for r in NOBODYS for access in (read(r, "ecx"), write(r, 0))])
def test_access_to_a_reserved_register_is_an_error_interrupt(long_mode: LongModeMachine, access: str) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_ERROR, 0xE0)}
        sti
        {access}
        jmp 1f
    1:  {write(ESR, 0)} {read(ESR, "ebx")}
        done
    """)
    assert long_mode.event().vector == 0xE0
    assert long_mode.finish().rbx == 1 << 7


def test_an_illegal_vector_of_a_local_interrupt_is_an_error_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_ERROR, 0xE0)} {write(LVT_TIMER, 0x0F)} {write(0x3E0, 0xB)}
        sti
        {write(TIMER_INITIAL, 1)}
    1:  jmp 1b
    """)
    assert long_mode.event().vector == 0xE0
    assert long_mode.area.lapic.error_pending == 1 << 6


def test_an_illegal_vector_of_the_error_interrupt_is_one_error(long_mode: LongModeMachine) -> None:
    before = enable() + write(LVT_ERROR, 0x0F) + read(0x40, "ecx") + write(ESR, 0)
    assert value_of(long_mode, ESR, before) == 1 << 7 | 1 << 6


def test_access_to_a_register_that_is_there_is_no_error(long_mode: LongModeMachine) -> None:
    every = [
        ID,
        VERSION,
        TPR,
        0x90,
        PPR,
        0xC0,
        LDR,
        DFR,
        SVR,
        ISR,
        TMR,
        IRR,
        ESR,
        ICR_LOW,
        ICR_HIGH,
        *EVERY_LVT,
    ]
    every += [TIMER_INITIAL, TIMER_CURRENT, 0x3E0]
    reads = "".join(read(register, "ecx") for register in every)
    assert value_of(long_mode, ESR, enable() + reads + write(EOI, 0) + write(ESR, 0)) == 0


def test_the_error_status_is_latched_and_cleared_by_writes(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(ICR_LOW, OTHERS | 0x0F)}
        {read(ESR, "ebx")} {write(ESR, 0)} {read(ESR, "ecx")} {write(ESR, 0)} {read(ESR, "esi")}
        done
    """)
    state = long_mode.finish()
    assert (state.rbx, state.rcx, state.rsi) == (0, 1 << 5, 0)


# --- Inter-processor interrupts -----------------------------------------------------------------------


def vectors(area: VcpuArea) -> list[int]:
    return [vector for vector, sent in enumerate(area.inbox.vector) if sent]


def reached(machine: LongModeMachine) -> tuple[list[int], list[int]]:
    """Vectors that have got to this vCPU's IRR, and to the other one's inbox."""
    regs = machine.area.lapic.regs
    own = [v for v in range(256) if regs[(IRR + v // 32 * 16) // 4] >> v % 32 & 1]
    return own + vectors(machine.area), vectors(machine.other)


@pytest.mark.parametrize(
    ("icr_high", "icr_low", "own", "other"),
    [
        (0, SELF | 0x40, True, False),
        (0, ALL | 0x40, True, True),
        (0, OTHERS | 0x40, False, True),
        (0 << 24, 0x40, True, False),
        (1 << 24, 0x40, False, True),
        (0xFF << 24, 0x40, True, True),
        (7 << 24, 0x40, False, False),
    ],
    ids=["self", "all", "others", "own id", "other id", "broadcast", "nobody"],
)
def test_an_ipi_reaches_those_that_it_names(
    long_mode: LongModeMachine, icr_high: int, icr_low: int, own: bool, other: bool
) -> None:
    long_mode.boot(f"{enable()} {write(ICR_HIGH, icr_high)} {write(ICR_LOW, icr_low)} done")
    long_mode.finish()
    assert reached(long_mode) == ([0x40] * own, [0x40] * other)
    assert long_mode.other.inbox.any == other
    assert long_mode.area.counters.ipis_sent == own + other


@pytest.mark.parametrize(
    ("dfr", "own_ldr", "other_ldr", "destination", "own", "other"),
    [
        (0xFFFFFFFF, 0x01, 0x02, 0x02, False, True),
        (0xFFFFFFFF, 0x01, 0x02, 0x03, True, True),
        (0xFFFFFFFF, 0x01, 0x02, 0x04, False, False),
        (0xFFFFFFFF, 0x01, 0x02, 0xFF, True, True),
        (0x0FFFFFFF, 0x11, 0x21, 0x21, False, True),
        (0x0FFFFFFF, 0x11, 0x12, 0x13, True, True),
        (0x0FFFFFFF, 0x11, 0x12, 0x23, False, False),
        (0x0FFFFFFF, 0x11, 0x21, 0xF1, True, True),
        (0x0FFFFFFF, 0x11, 0x12, 0x14, False, False),
    ],
)
def test_a_logical_destination_is_matched_as_the_model_says(
    long_mode: LongModeMachine,
    dfr: int,
    own_ldr: int,
    other_ldr: int,
    destination: int,
    own: bool,
    other: bool,
) -> None:
    long_mode.other.control.guest.apic_base = 0xFEE00800
    long_mode.other.lapic.regs[LDR // 4] = other_ldr << 24
    long_mode.other.lapic.regs[DFR // 4] = dfr
    long_mode.boot(f"""
        {enable()} {write(DFR, dfr)} {write(LDR, own_ldr << 24)}
        {write(ICR_HIGH, destination << 24)} {write(ICR_LOW, LOGICAL | 0x40)}
        done
    """)
    long_mode.finish()
    assert reached(long_mode) == ([0x40] * own, [0x40] * other)


@pytest.mark.parametrize(
    ("own_tpr", "other_tpr", "own"), [(0x20, 0x10, False), (0x10, 0x20, True), (0, 0, True)]
)
def test_lowest_priority_goes_to_one_with_the_lowest_task_priority(
    long_mode: LongModeMachine, own_tpr: int, other_tpr: int, own: bool
) -> None:
    regs = long_mode.other.lapic.regs
    regs[TPR // 4], regs[LDR // 4], regs[DFR // 4], regs[SVR // 4] = other_tpr, 2 << 24, 0xFFFFFFFF, 0x1FF
    long_mode.other.control.guest.apic_base = 0xFEE00800
    long_mode.boot(f"""
        {enable()} {write(TPR, own_tpr)} {write(LDR, 1 << 24)}
        {write(ICR_HIGH, 3 << 24)} {write(ICR_LOW, LOGICAL | LOWEST_PRIORITY | 0x40)}
        done
    """)
    long_mode.finish()
    assert reached(long_mode) == ([0x40] * own, [0x40] * (not own))


def test_lowest_priority_passes_over_a_cpu_whose_apic_is_disabled(long_mode: LongModeMachine) -> None:
    regs = long_mode.other.lapic.regs
    regs[TPR // 4], regs[LDR // 4], regs[DFR // 4], regs[SVR // 4] = 0, 2 << 24, 0xFFFFFFFF, 0xFF
    long_mode.other.control.guest.apic_base = 0xFEE00800
    long_mode.boot(f"""
        {enable()} {write(TPR, 0x20)} {write(LDR, 1 << 24)}
        {write(ICR_HIGH, 3 << 24)} {write(ICR_LOW, LOGICAL | LOWEST_PRIORITY | 0x40)}
        done
    """)
    long_mode.finish()
    assert reached(long_mode) == ([0x40], [])


def test_an_interrupt_that_came_before_the_apic_was_disabled_is_kept(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(ICR_LOW, SELF | 0x45)} {write(SVR, 0xFF)} {read(IRR + 0x20, "ebx")} done
    """)
    assert long_mode.finish().rbx == 1 << 5


def test_an_ipi_is_edge_triggered(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} {write(ICR_LOW, OTHERS | LEVEL | ASSERT | 0x40)} done")
    long_mode.finish()
    assert long_mode.other.inbox.vector[0x40] == 1


@pytest.mark.parametrize(
    ("mode", "field", "value"),
    [
        (NMI, "nmi", 1),
        (INIT | ASSERT, "startup", Startup.INIT),
        (STARTUP | 0x12, "startup", Startup.SIPI | 0x12),
    ],
)
def test_other_kinds_of_ipi_have_their_own_place_in_the_inbox(
    long_mode: LongModeMachine, mode: int, field: str, value: int
) -> None:
    long_mode.other.mp_state = VcpuMode.WAIT_FOR_SIPI
    long_mode.boot(f"{enable()} {write(ICR_HIGH, 1 << 24)} {write(ICR_LOW, mode)} done")
    long_mode.finish()
    assert getattr(long_mode.other.inbox, field) == value
    assert long_mode.other.inbox.any == 1
    assert vectors(long_mode.other) == []


def test_a_cpu_that_runs_ignores_a_sipi(long_mode: LongModeMachine) -> None:
    long_mode.other.mp_state = VcpuMode.IN_GUEST
    long_mode.boot(f"{enable()} {write(ICR_HIGH, 1 << 24)} {write(ICR_LOW, STARTUP | 0x12)} done")
    long_mode.finish()
    assert long_mode.other.inbox.startup == 0


def test_a_sipi_right_behind_an_init_waits_for_it(long_mode: LongModeMachine) -> None:
    long_mode.other.mp_state = VcpuMode.IN_GUEST
    both = write(ICR_LOW, INIT | ASSERT) + " " + write(ICR_LOW, STARTUP | 0x12)
    long_mode.boot(f"{enable()} {write(ICR_HIGH, 1 << 24)} {both} done")
    long_mode.finish()
    assert long_mode.other.inbox.startup == Startup.INIT | Startup.SIPI | 0x12


def test_of_two_sipis_the_first_counts(long_mode: LongModeMachine) -> None:
    long_mode.other.mp_state = VcpuMode.WAIT_FOR_SIPI
    both = write(ICR_LOW, STARTUP | 0x12) + " " + write(ICR_LOW, STARTUP | 0x34)
    long_mode.boot(f"{enable()} {write(ICR_HIGH, 1 << 24)} {both} done")
    long_mode.finish()
    assert long_mode.other.inbox.startup == Startup.SIPI | 0x12


def test_init_takes_back_a_sipi_that_was_not_taken_yet(long_mode: LongModeMachine) -> None:
    long_mode.other.inbox.startup = Startup.SIPI | 0x12
    long_mode.boot(f"{enable()} {write(ICR_LOW, OTHERS | INIT | ASSERT)} done")
    long_mode.finish()
    assert long_mode.other.inbox.startup == Startup.INIT


def test_init_level_deassert_reaches_nobody(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} {write(ICR_LOW, ALL | INIT | LEVEL)} done")
    long_mode.finish()
    assert (long_mode.other.inbox.startup, long_mode.area.inbox.startup) == (0, 0)


def test_the_delivery_status_reads_idle(long_mode: LongModeMachine) -> None:
    assert value_of(long_mode, ICR_LOW, enable() + write(ICR_LOW, OTHERS | 0x1040)) == OTHERS | 0x40


def test_a_self_ipi_comes_at_the_next_block(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} sti; nop; {write(ICR_LOW, SELF | 0x40)} jmp after; after: done")
    event = long_mode.event()
    assert (event.vector, event.rip) == (0x40, long_mode.label("after"))


def test_a_disabled_apic_can_send(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{write(ICR_LOW, OTHERS | 0x40)} done")
    long_mode.finish()
    assert vectors(long_mode.other) == [0x40]


# --- IA32_APIC_BASE -----------------------------------------------------------------------------------

APIC_BASE_MSR = 0x1B


def test_the_base_says_boot_processor_and_enabled(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_read(APIC_BASE_MSR, 'rbx')} done")
    assert long_mode.finish().rbx == 0xFEE00900


def test_the_registers_move_with_the_base(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {read(VERSION, "ebx")}
        {msr_write(APIC_BASE_MSR, 0xD0100900)}
        movl 0x61100030, %ecx
        {read(VERSION, "edi")}
        done
    """)
    long_mode.map(0x61000000, 0xD0000000, P | W | PS)
    long_mode.map(0x61200000, 0xD0200000, P | W | PS)
    last = long_mode.run_until(ExitReason.MMIO)
    assert last.address == 0xFEE00030, "the old place is nobody's now"
    state = long_mode.finish(reply=0xFFFFFFFF)
    assert state.rbx == state.rcx
    assert state.rdi == 0xFFFFFFFF


def test_the_boot_processor_flag_can_not_be_written(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(APIC_BASE_MSR, 0xFEE00800)} {msr_read(APIC_BASE_MSR, 'rbx')} done")
    assert long_mode.finish().rbx == 0xFEE00900


def test_an_apic_that_is_off_answers_at_no_address(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(APIC_BASE_MSR, 0xFEE00100)} {read(VERSION, 'ebx')} done")
    assert long_mode.run_until(ExitReason.MMIO).address == 0xFEE00030


def test_an_apic_that_is_off_has_no_cpuid_flag(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        movl $1, %eax; cpuid; movl %edx, %esi
        {msr_write(APIC_BASE_MSR, 0xFEE00100)}
        movl $1, %eax; cpuid; movl %edx, %edi
        done
    """)
    state = long_mode.finish()
    assert (state.rsi & 1 << 9, state.rdi & 1 << 9) == (1 << 9, 0)
    assert state.rsi == state.rdi | 1 << 9


def test_an_apic_that_comes_on_again_is_as_after_reset(long_mode: LongModeMachine) -> None:
    before = (
        enable()
        + write(TPR, 0x30)
        + msr_write(APIC_BASE_MSR, 0xFEE00100)
        + msr_write(APIC_BASE_MSR, 0xFEE00900)
    )
    long_mode.boot(f"{before} {read(TPR, 'ebx')} {read(SVR, 'ecx')} done")
    state = long_mode.finish()
    assert (state.rbx, state.rcx) == (0, 0xFF)


def test_with_the_apic_off_the_8259_reaches_the_boot_processor(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"{enable()} {write(LVT_LINT0, MASKED)} {msr_write(APIC_BASE_MSR, 0xFEE00100)} sti; mark; 1: jmp 1b"
    )
    long_mode.mark()
    long_mode.vm.pic_intr = 1
    long_mode.kick()
    long_mode.run_until(ExitReason.IRQ_WINDOW_OPEN)


def test_the_registers_are_where_the_identity_map_has_them(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $0xfee00030, %eax; movl (%rax), %ebx; movl 0x60000030, %ecx; done")
    state = long_mode.finish()
    assert state.rbx == state.rcx != 0
    assert APIC_WINDOW == 0x60000000
    assert long_mode.exits(ExitReason.MMIO) == 0


@pytest.mark.parametrize("destination", [ALL, OTHERS, 0], ids=["all", "others", "its id"])
def test_a_vcpu_that_is_not_there_gets_no_ipi(long_mode: LongModeMachine, destination: int) -> None:
    long_mode.vm.present = 1
    long_mode.boot(f"{enable()} {write(ICR_HIGH, 1 << 24)} {write(ICR_LOW, destination | NMI | ASSERT)} done")
    long_mode.finish()
    assert (long_mode.other.inbox.nmi, long_mode.other.inbox.any) == (0, 0)
    assert long_mode.vm.runnable & 2 == 0
