"""What a spinning vCPU does about others that wait for its core (docs/overcommit.md)."""

import threading
import time

import pytest

from mpvm.abi.layout import VcpuMode
from tests.unit.engine.apic import ICR_HIGH, ICR_LOW, enable, write
from tests.unit.engine.long_mode import LongModeMachine

SPIN = "movl $80, %ecx; 1: pause; decl %ecx; jnz 1b; done"
OWN, OTHER = 1, 2


@pytest.mark.parametrize(
    ("host_cpus", "rivals", "runnable", "yields"),
    [
        (1, OWN | OTHER, OTHER, 10),
        (2, OWN | OTHER, OTHER, 0),
        (1, OWN | OTHER, 0, 0),
        (1, OWN, OTHER, 0),
    ],
    ids=["fewer cores", "a core for each", "the other is halted", "the other has cores of its own"],
)
def test_a_spin_gives_the_core_away_only_to_one_that_waits_for_it(
    long_mode: LongModeMachine, host_cpus: int, rivals: int, runnable: int, yields: int
) -> None:
    long_mode.area.host_cpus, long_mode.area.rivals = host_cpus, rivals
    long_mode.boot(SPIN)
    long_mode.vm.runnable |= runnable
    long_mode.finish()
    counters = long_mode.area.counters
    assert (counters.pauses, counters.yields) == (80, yields)


def test_a_vcpu_is_runnable_but_while_it_is_halted(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"{enable()} mark; sti; hlt; after: done")
    long_mode.mark()
    seen = [long_mode.vm.runnable]

    def wake_when_halted() -> None:
        while long_mode.vm.runnable & OWN or long_mode.area.mode != VcpuMode.HALTED:
            time.sleep(0)
        seen.append(long_mode.vm.runnable)
        long_mode.interrupt(0x40)

    thread = threading.Thread(target=wake_when_halted)
    thread.start()
    assert long_mode.event().rip == long_mode.label("after")
    thread.join()
    assert [*seen, long_mode.vm.runnable] == [OWN, 0, OWN]


def test_who_wakes_a_halted_vcpu_knows_at_once_that_it_is_runnable(long_mode: LongModeMachine) -> None:
    long_mode.other.mode = VcpuMode.HALTED
    long_mode.boot(f"{enable()} mark; {write(ICR_HIGH, 1 << 24)} {write(ICR_LOW, 0x4040)} done")
    long_mode.mark()
    assert long_mode.vm.runnable == OWN
    long_mode.finish()
    assert long_mode.vm.runnable == OWN | OTHER
