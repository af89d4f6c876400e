"""Interrupts of the 8259 pair: asked for when they can be taken, by LINT0 (SDM vol. 3, section 10.5.1)."""

import pytest

from mpvm.abi.exits import ExitReason, ExtInt
from tests.unit.engine.apic import enable, write
from tests.unit.engine.long_mode import LongModeMachine
from tests.unit.engine.real_mode import RealModeMachine


def test_an_8259_interrupt_is_asked_for_when_it_can_be_taken(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; jmp 1f; 1: mark; sti; nop; at: nop; done")
    long_mode.mark()
    long_mode.vm.pic_intr = 1
    long_mode.kick()
    long_mode.mark()
    long_mode.run_until(ExitReason.IRQ_WINDOW_OPEN)
    long_mode.vm.pic_intr = 0
    event = long_mode.event(reply=ExtInt.VALID | 0x38)
    assert (event.vector, event.rip) == (0x38, long_mode.label("at"))
    assert bytes(long_mode.area.lapic.regs[0x100 // 4 : 0x180 // 4]) == bytes(32), (
        "no interrupt is in service"
    )
    long_mode.finish()


def test_an_8259_interrupt_that_went_away_is_not_delivered(long_mode: LongModeMachine) -> None:
    long_mode.boot("sti; mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.vm.pic_intr = 1
    long_mode.kick()
    long_mode.run_until(ExitReason.IRQ_WINDOW_OPEN)
    long_mode.vm.pic_intr = 0
    long_mode.finish(reply=0)
    assert long_mode.area.counters.interrupts == 0


def test_an_8259_interrupt_wakes_hlt(real_mode: RealModeMachine) -> None:
    real_mode.boot("mark; sti; hlt; after: done")
    real_mode.mark()
    real_mode.vm.pic_intr = 1
    real_mode.kick()
    real_mode.run_until(ExitReason.IRQ_WINDOW_OPEN)
    real_mode.vm.pic_intr = 0
    event = real_mode.event(reply=ExtInt.VALID | 0x70)
    assert (event.vector, event.rip) == (0x70, real_mode.label("after"))


@pytest.mark.parametrize("lint0", [0x10700, 0x00000 | 0x400])
def test_an_8259_interrupt_needs_lint0_as_an_unmasked_extint(long_mode: LongModeMachine, lint0: int) -> None:
    long_mode.boot(f"{enable()} {write(0x350, lint0)} sti; mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.vm.pic_intr = 1
    long_mode.kick()
    long_mode.finish()


def test_unmasking_lint0_lets_a_waiting_8259_interrupt_in(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        f"{enable()} {write(0x350, 0x10700)} sti; mark; jmp 1f; 1: {write(0x350, 0x700)} jmp 1f; 1: done"
    )
    long_mode.mark()
    long_mode.vm.pic_intr = 1
    long_mode.kick()
    long_mode.run_until(ExitReason.IRQ_WINDOW_OPEN)


def test_lint0_of_any_cpu_may_take_extint(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} {write(0x350, 0x700)} sti; nop; mark; nop; done")
    long_mode.mark()
    long_mode.area.is_bsp = False
    long_mode.vm.pic_intr = 1
    long_mode.kick()
    long_mode.run_until(ExitReason.IRQ_WINDOW_OPEN)


def test_an_8259_interrupt_comes_before_one_of_the_local_apic(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; sti; nop; nop; done")
    long_mode.mark()
    long_mode.vm.pic_intr = 1
    long_mode.interrupt(0xF0)
    long_mode.run_until(ExitReason.IRQ_WINDOW_OPEN)
    long_mode.vm.pic_intr = 0
    assert long_mode.event(reply=ExtInt.VALID | 0x30).vector == 0x30
    assert long_mode.event().vector == 0xF0
