"""MSR_KVM_STEAL_TIME, and the time that the host's scheduler gave and took (Linux, virt/kvm/x86/msr.rst)."""

import os
import struct
from collections.abc import Callable

import pytest

from mpvm.abi import layout
from tests.unit.engine import apic
from tests.unit.engine.apic import msr_read, msr_write
from tests.unit.engine.long_mode import DATA, LongModeMachine

STEAL_TIME = 0x4B564D03
RECORD = DATA + 0x1000
GP, TICK = 13, 0x41
# A millisecond of spinning between ticks is more than the interval at which the record is brought up to date.
_TIMER = apic.write(apic.TIMER_DIVIDE, 0xB) + apic.write(apic.LVT_TIMER, TICK | 1 << 17)
_TICKS = f"{apic.enable()} {_TIMER} {apic.write(apic.TIMER_INITIAL, 3_000_000)} sti; 1: jmp 1b"


def record(machine: LongModeMachine) -> tuple[int, int, int, int]:
    """steal, version, flags, preempted."""
    return struct.unpack("<QIIB", machine.read(RECORD, 17))


@pytest.mark.parametrize("value", [RECORD | 1 << bit for bit in range(1, 6)])
def test_reserved_bits_are_refused(long_mode: LongModeMachine, value: int) -> None:
    long_mode.boot(f"{msr_write(STEAL_TIME, value)} done")
    assert long_mode.event().vector == GP


def test_the_msr_reads_as_it_was_written(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(STEAL_TIME, RECORD | 1)} {msr_read(STEAL_TIME, 'rbx')} done")
    state = long_mode.finish()
    assert state.rbx == state.steal_time == RECORD | 1


@pytest.mark.parametrize("program", [msr_write(STEAL_TIME, 0), msr_read(STEAL_TIME, "rbx")])
def test_without_the_feature_there_is_no_such_msr(
    make_long_mode: Callable[..., LongModeMachine], program: str
) -> None:
    machine = make_long_mode(model="max,-kvm-steal-time")
    machine.boot(f"{program} done")
    assert machine.event().vector == GP


def test_a_tick_brings_the_record_up_to_date(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(STEAL_TIME, RECORD | 1)} {_TICKS}")
    long_mode.store(RECORD, 1000, 8)
    long_mode.store(RECORD + 8, 7, 4)
    before = long_mode.area.counters.stolen_ns
    assert long_mode.event().vector == TICK
    steal, version, flags, preempted = record(long_mode)
    assert version > 7
    assert version % 2 == 0, "nobody is writing it"
    assert (flags, preempted) == (0, 0)
    assert 0 <= steal - 1000 <= long_mode.area.counters.stolen_ns - before


def test_without_the_enable_bit_nothing_is_written(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(STEAL_TIME, RECORD)} {_TICKS}")
    assert long_mode.event().vector == TICK
    assert long_mode.read(RECORD, 64) == bytes(64)


def test_a_record_outside_ram_is_written_nowhere(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{msr_write(STEAL_TIME, 0xFE000000 | 1)} {_TICKS}")
    assert long_mode.event().vector == TICK


def test_a_record_in_a_page_with_code_takes_the_code_away(long_mode: LongModeMachine) -> None:
    """As any store to it does: another vCPU's translations, here, are asked to go."""
    long_mode.boot(f"{msr_write(STEAL_TIME, RECORD | 1)} {_TICKS}")
    page = RECORD // layout.PAGE_SIZE
    long_mode.holders[page] = 1 << 1
    assert long_mode.event().vector == TICK
    box = long_mode.other.mailbox
    assert (box.mail[0].kind, box.mail[0].page) == (layout.MailKind.DROP_CODE, page)
    assert long_mode.writers[page] & 1


def test_the_counters_say_how_long_the_thread_ran(long_mode: LongModeMachine) -> None:
    # The host's scheduler counts what runs at its own ticks.
    long_mode.boot(f"{apic.enable()} {_TIMER} {apic.write(apic.TIMER_INITIAL, 50_000_000)} sti; 1: jmp 1b")
    long_mode.event()
    counters = long_mode.area.counters
    spent = os.times()
    assert 0 < counters.run_ns <= (spent.user + spent.system + 0.1) * 10**9
