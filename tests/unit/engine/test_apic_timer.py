"""The local APIC timer: one-shot, periodic and TSC-deadline (SDM vol. 3, 10.5.4)."""

import time
from collections.abc import Callable

import pytest

from tests.unit.engine.apic import (
    EOI,
    IRR,
    LVT_TIMER,
    MASKED,
    TIMER_CURRENT,
    TIMER_DIVIDE,
    TIMER_INITIAL,
    enable,
    msr_read,
    msr_write,
    read,
    write,
)
from tests.unit.engine.long_mode import LongModeMachine

PERIODIC, TSC_DEADLINE = 1 << 17, 2 << 17
TSC, TSC_ADJUST, TSC_DEADLINE_MSR = 0x10, 0x3B, 0x6E0
LONG = 0xFFFFFFFF
VECTOR = 0xE0
SPIN = "1: pause; jmp 1b; "


def test_a_one_shot_timer_interrupts_once_and_stops_at_zero(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, VECTOR)} {write(TIMER_DIVIDE, 0xB)}
        {write(TIMER_INITIAL, 1000)}
        sti
        hlt
    after:
        {write(EOI, 0)} {read(TIMER_CURRENT, "ebx")} {read(TIMER_INITIAL, "ecx")}
        done
    """)
    event = long_mode.event()
    assert (event.vector, event.rip) == (VECTOR, long_mode.label("after"))
    state = long_mode.finish()
    assert (state.rbx, state.rcx) == (0, 1000)
    assert long_mode.area.lapic.timer_expiry_ns == 0


def test_a_timer_interrupts_a_program_that_never_exits(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} {write(LVT_TIMER, VECTOR)} sti; {write(TIMER_INITIAL, 1000)} 1: jmp 1b")
    assert long_mode.event().vector == VECTOR


@pytest.mark.parametrize("wait", ["hlt", "1: jmp 1b"])
def test_a_timer_that_is_pushed_on_interrupts_at_its_new_time(long_mode: LongModeMachine, wait: str) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, VECTOR)} {write(TIMER_DIVIDE, 0xB)}
        {write(TIMER_INITIAL, 2_000_000)}
        {write(TIMER_INITIAL, 20_000_000)}
        sti
        {wait}
    """)
    assert long_mode.event().vector == VECTOR
    assert time.monotonic_ns() - long_mode.area.lapic.timer_start_ns >= 20_000_000


@pytest.mark.parametrize("wait", ["hlt", "1: jmp 1b"])
def test_a_deadline_that_is_pushed_on_interrupts_at_its_new_time(
    long_mode: LongModeMachine, wait: str
) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        {msr_write(TSC, 0)} {msr_write(TSC_DEADLINE_MSR, 5_000_000)} {msr_write(TSC_DEADLINE_MSR, 50_000_000)}
        sti
        {wait}
    handler:
        rdtsc
        done
    """)
    long_mode.set_gate(VECTOR, long_mode.label("handler"))
    state = long_mode.finish()
    assert state.rdx << 32 | state.rax >= 50_000_000


def test_a_timer_that_is_pulled_in_interrupts_at_its_new_time(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, VECTOR)} {write(TIMER_DIVIDE, 0xB)}
        {write(TIMER_INITIAL, LONG)} {write(TIMER_INITIAL, 1000)}
        sti
        hlt
    """)
    assert long_mode.event().vector == VECTOR
    assert time.monotonic_ns() - long_mode.area.lapic.timer_start_ns < LONG


def test_a_periodic_timer_interrupts_again_and_again(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, PERIODIC | VECTOR)}
        sti
        {write(TIMER_INITIAL, 50_000)}
    1:  hlt
        jmp 1b
    handler:
        mark
        {write(EOI, 0)}
        iretq
    """)
    long_mode.set_gate(VECTOR, long_mode.label("handler"))
    for count in (1, 2, 3):
        long_mode.mark()
        assert long_mode.area.counters.interrupts == count
    assert long_mode.area.lapic.timer_expiry_ns != 0


def test_the_current_count_counts_down(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {write(TIMER_INITIAL, LONG)}
        {read(TIMER_CURRENT, "ebx")} {read(TIMER_CURRENT, "ecx")}
        done
    """)
    state = long_mode.finish()
    assert 0 < state.rcx <= state.rbx <= LONG


def test_the_current_count_of_a_periodic_timer_stays_within_its_period(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, PERIODIC | MASKED | VECTOR)}
        {write(TIMER_DIVIDE, 0xB)} {write(TIMER_INITIAL, 100_000)}
        xorl %esi, %esi
        movl $1000, %ecx
    1:  {read(TIMER_CURRENT, "ebx")}
        cmpl %ebx, %esi
        cmovb %ebx, %esi
        loop 1b
        done
    """)
    assert 0 < long_mode.finish().rsi <= 100_000


def test_the_current_count_of_a_short_period_stays_within_it_too(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, PERIODIC | MASKED | VECTOR)}
        {write(TIMER_DIVIDE, 0xB)} {write(TIMER_INITIAL, 1000)}
        xorl %esi, %esi
        movl $1000, %ecx
    1:  {read(TIMER_CURRENT, "ebx")}
        cmpl %ebx, %esi
        cmovb %ebx, %esi
        loop 1b
        done
    """)
    assert 0 < long_mode.finish().rsi <= 1000


@pytest.mark.parametrize(
    ("code", "divisor"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)]
)
def test_the_divider_scales_the_time_to_the_end(long_mode: LongModeMachine, code: int, divisor: int) -> None:
    long_mode.boot(
        f"{write(TIMER_DIVIDE, code)} {write(TIMER_INITIAL, 1000000)} {read(TIMER_DIVIDE, 'ebx')} done"
    )
    assert long_mode.finish().rbx == code
    lapic = long_mode.area.lapic
    assert lapic.timer_expiry_ns - lapic.timer_start_ns == 1000000 * divisor


@pytest.mark.parametrize(("before", "after"), [(0xB, 0xA), (0x0, 0xB)], ids=["slower", "faster"])
def test_a_change_of_the_divider_keeps_the_count(long_mode: LongModeMachine, before: int, after: int) -> None:
    long_mode.boot(f"""
        {write(TIMER_DIVIDE, before)} {write(TIMER_INITIAL, LONG)}
        movl $100000, %ecx
    1:  decl %ecx
        jnz 1b
        {read(TIMER_CURRENT, "ebx")} {write(TIMER_DIVIDE, after)} {read(TIMER_CURRENT, "esi")}
        done
    """)
    state = long_mode.finish()
    assert state.rbx // 2 < state.rsi <= state.rbx < LONG


def test_a_change_of_the_divider_starts_no_timer(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{write(TIMER_DIVIDE, 0xB)} {read(TIMER_CURRENT, 'ebx')} done")
    assert long_mode.finish().rbx == 0
    lapic = long_mode.area.lapic
    assert (lapic.timer_start_ns, lapic.timer_expiry_ns) == (0, 0)


def test_an_initial_count_of_zero_stops_the_timer(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"{write(TIMER_INITIAL, LONG)} {write(TIMER_INITIAL, 0)} {read(TIMER_CURRENT, 'ebx')} done"
    )
    assert long_mode.finish().rbx == 0
    assert long_mode.area.lapic.timer_expiry_ns == 0


def test_a_masked_timer_runs_out_without_an_interrupt(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, MASKED | VECTOR)}
        sti
        {write(TIMER_INITIAL, 1000)}
    1:  {read(TIMER_CURRENT, "ebx")}
        testl %ebx, %ebx
        jnz 1b
        done
    """)
    long_mode.finish()
    assert long_mode.area.counters.interrupts == 0


def test_a_deadline_that_has_passed_interrupts_at_once_and_reads_zero(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        sti
        {msr_write(TSC_DEADLINE_MSR, 1)}
        {SPIN}
    """)
    assert long_mode.event().vector == VECTOR
    assert long_mode.area.lapic.tsc_deadline == 0


def test_a_deadline_that_has_passed_is_requested_by_the_next_instruction(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        {msr_write(TSC_DEADLINE_MSR, 1)}
        {read(IRR + 0x70, "ebx")} {msr_read(TSC_DEADLINE_MSR, "rsi")}
        done
    """)
    state = long_mode.finish()
    assert (state.rbx, state.rsi) == (1, 0)


def test_a_deadline_that_comes_interrupts_not_before_it(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        sti
        rdtsc
        shlq $32, %rdx
        leaq 1000000(%rax,%rdx), %rbx
        movq %rbx, %rax
        movq %rbx, %rdx
        shrq $32, %rdx
        movl ${TSC_DEADLINE_MSR:#x}, %ecx
        wrmsr
        hlt
        {msr_read(TSC_DEADLINE_MSR, "rsi")}
        rdtsc
        shlq $32, %rdx
        orq %rdx, %rax
        done
    """)
    assert long_mode.event().vector == VECTOR
    state = long_mode.finish()
    assert state.rax >= state.rbx
    assert state.rsi == 0


def test_a_deadline_is_kept_until_it_comes(long_mode: LongModeMachine) -> None:
    far = 1 << 62
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        {msr_write(TSC_DEADLINE_MSR, far)} {msr_read(TSC_DEADLINE_MSR, "rbx")}
        {msr_write(TSC_DEADLINE_MSR, 0)} {msr_read(TSC_DEADLINE_MSR, "rsi")}
        done
    """)
    state = long_mode.finish()
    assert (state.rbx, state.rsi) == (far, 0)


def test_a_deadline_is_ignored_in_the_other_modes(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, VECTOR)}
        sti
        {msr_write(TSC_DEADLINE_MSR, 1)} {msr_read(TSC_DEADLINE_MSR, "rbx")}
        done
    """)
    assert long_mode.finish().rbx == 0


def test_the_initial_count_is_ignored_in_deadline_mode(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        {write(TIMER_INITIAL, LONG)} {read(TIMER_CURRENT, "ebx")}
        done
    """)
    assert long_mode.finish().rbx == 0
    assert long_mode.area.lapic.timer_expiry_ns == 0


def test_leaving_deadline_mode_disarms_the_deadline(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        {msr_write(TSC_DEADLINE_MSR, 1 << 62)}
        {write(LVT_TIMER, VECTOR)} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        {msr_read(TSC_DEADLINE_MSR, "rbx")}
        done
    """)
    assert long_mode.finish().rbx == 0


def test_a_model_without_the_deadline_timer_has_no_msr_for_it(
    make_long_mode: Callable[..., LongModeMachine],
) -> None:
    machine = make_long_mode(model="max,-tsc-deadline")
    machine.boot(f"{msr_read(TSC_DEADLINE_MSR, 'rbx')} done")
    assert machine.event().vector == 13


def test_the_tsc_deadline_follows_the_guests_tsc(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        sti
        {msr_write(TSC, 0)} {msr_write(TSC_DEADLINE_MSR, 1_000_000)}
        hlt
        done
    """)
    assert long_mode.event().vector == VECTOR


@pytest.mark.parametrize("msr", [TSC, TSC_ADJUST], ids=["TSC", "TSC_ADJUST"])
def test_a_tsc_that_jumps_past_the_deadline_interrupts(long_mode: LongModeMachine, msr: int) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, TSC_DEADLINE | VECTOR)}
        sti
        {msr_write(TSC_DEADLINE_MSR, 1 << 61)} {msr_write(msr, 1 << 62)}
        {SPIN}
    """)
    assert long_mode.event().vector == VECTOR


def test_a_period_that_its_owner_has_taken_away_reads_as_zero(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"""
        {enable()} {write(LVT_TIMER, PERIODIC | MASKED)} {write(TIMER_INITIAL, LONG)}
        mark
        {read(TIMER_CURRENT, "ebx")}
        done
    """)
    long_mode.mark()
    long_mode.area.lapic.regs[TIMER_INITIAL // 4] = 0
    long_mode.area.lapic.timer_expiry_ns = 1
    assert long_mode.finish().rbx == 0
