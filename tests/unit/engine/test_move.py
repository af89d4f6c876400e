"""An engine goes on with the vCPU that another has saved (docs/moving.md)."""

from tests.unit.engine import apic
from tests.unit.engine.long_mode import LongModeMachine

TIMER_VECTOR = 0x41


def test_a_new_engine_goes_on_where_the_old_one_stopped(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $3, %ebx; mark; jmp 1f; 1: addl $4, %ebx; done")
    long_mode.mark()
    long_mode.pause()
    long_mode.move()
    assert long_mode.finish().rbx == 7


def test_a_new_engine_may_be_made_while_the_old_one_runs(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl $3, %ebx; mark; addl $4, %ebx; mark; jmp 1f; 1: done")
    new = long_mode.another_engine()
    long_mode.mark()
    long_mode.mark()
    long_mode.pause()
    long_mode.move(new)
    assert long_mode.finish().rbx == 7


def test_the_old_engine_gives_back_its_pages_and_its_attention(long_mode: LongModeMachine) -> None:
    long_mode.boot("movl %eax, 0x30000; mark; 1: jmp 1b")
    long_mode.mark()
    long_mode.pause()
    assert any(long_mode.holders)
    assert any(long_mode.writers)
    long_mode.engine.close()
    assert not any(long_mode.holders)
    assert not any(long_mode.writers)
    assert long_mode.area.attention_at == 0
    long_mode.engine = long_mode.another_engine()


def test_an_interrupt_that_came_between_two_engines_is_taken(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{apic.enable()} sti; mark; 1: jmp 1b")
    long_mode.mark()
    long_mode.pause()
    new = long_mode.another_engine()
    long_mode.engine.close()
    long_mode.area.inbox.vector[0x50] = 1
    long_mode.area.inbox.any = 1
    long_mode.engine = new
    long_mode.engine.load_state()
    assert long_mode.event().vector == 0x50


def test_a_running_timer_runs_out_in_the_new_engine(long_mode: LongModeMachine) -> None:
    program = apic.enable() + apic.write(apic.TIMER_DIVIDE, 0xB) + apic.write(apic.LVT_TIMER, TIMER_VECTOR)
    long_mode.boot(f"{program} mark; {apic.write(apic.TIMER_INITIAL, 50_000_000)} mark; sti; 1: hlt; jmp 1b")
    long_mode.mark()
    long_mode.mark()
    long_mode.pause()
    long_mode.move()
    assert long_mode.event().vector == TIMER_VECTOR


def test_mail_for_the_old_engine_is_none_for_the_new_one(long_mode: LongModeMachine) -> None:
    long_mode.boot("mark; jmp 1f; 1: done")
    long_mode.mark()
    long_mode.pause()
    box = long_mode.area.mailbox
    box.tail = box.head + 1
    box.overflow = 1
    drops = long_mode.area.counters.code_drops
    long_mode.move()
    long_mode.finish()
    assert (box.head, box.overflow) == (box.tail, 0)
    assert long_mode.area.counters.code_drops == drops
