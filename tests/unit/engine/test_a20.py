"""The A20 mask: address bit 20 as the 8042 and port 0x92 leave it."""

from mpvm.abi.exits import ExitReason
from tests.unit.engine.machine import A20_CLOSED, A20_OPEN
from tests.unit.engine.real_mode import RealModeMachine

ABOVE = 0x100500
BELOW = 0x000500
# FFFF:0510 is 1 MiB + 0x500.
LOAD = "movw $0xffff, %ax; movw %ax, %fs; movb %fs:0x510, %bl; "


def machine_with(mask: int) -> RealModeMachine:
    machine = RealModeMachine(a20_mask=mask)
    machine.store(ABOVE, 0xAA, 1)
    machine.store(BELOW, 0xBB, 1)
    return machine


def test_an_open_gate_reaches_the_second_mebibyte() -> None:
    machine = machine_with(A20_OPEN)
    try:
        machine.boot(f"{LOAD} movb $0x11, %fs:0x511; done")
        assert machine.finish().rbx == 0xAA
        assert (machine.load(ABOVE + 1, 1), machine.load(BELOW + 1, 1)) == (0x11, 0)
    finally:
        machine.close()


def test_a_closed_gate_wraps_to_the_first_mebibyte() -> None:
    machine = machine_with(A20_CLOSED)
    try:
        machine.boot(f"{LOAD} movb $0x11, %fs:0x511; done")
        assert machine.finish().rbx == 0xBB
        assert (machine.load(ABOVE + 1, 1), machine.load(BELOW + 1, 1)) == (0, 0x11)
    finally:
        machine.close()


def test_opening_and_closing_the_gate_takes_effect_at_the_next_block() -> None:
    machine = machine_with(A20_CLOSED)
    try:
        machine.boot(f"""
            {LOAD} mark; jmp 1f
        1:  movb %fs:0x510, %cl; mark; jmp 1f
        1:  movb %fs:0x510, %dl; done
        """)
        machine.mark()
        machine.vm.a20_mask = A20_OPEN
        machine.kick()
        machine.mark()
        machine.vm.a20_mask = A20_CLOSED
        machine.kick()
        state = machine.finish()
        assert (state.rbx, state.rcx, state.rdx) == (0xBB, 0xAA, 0xBB)
    finally:
        machine.close()


def test_the_instruction_behind_the_one_that_moves_the_gate_sees_it_moved() -> None:
    machine = machine_with(A20_CLOSED)
    try:
        machine.boot("movw $0xffff, %ax; movw %ax, %fs; outb %al, $0x92; movb %fs:0x510, %bl; done")
        assert machine.run_until(ExitReason.IO).address == 0x92
        machine.vm.a20_mask = A20_OPEN
        machine.kick()
        assert machine.finish().rbx == 0xAA
    finally:
        machine.close()


def test_code_is_fetched_through_the_gate_too() -> None:
    machine = machine_with(A20_CLOSED)
    try:
        machine.boot("ljmp $0xffff, $0x510")
        machine.place("movb $1, %bl; done", 16, BELOW)
        machine.place("movb $2, %bl; done", 16, ABOVE)
        assert machine.finish().rbx == 1
    finally:
        machine.close()


def test_code_that_ran_through_a_closed_gate_is_not_run_through_an_open_one() -> None:
    machine = machine_with(A20_CLOSED)
    try:
        machine.boot("lcall $0xffff, $0x520; movb %bl, %cl; mark; lcall $0xffff, $0x520; done")
        machine.place("movb $1, %bl; lretw", 16, BELOW + 0x10)
        machine.place("movb $2, %bl; lretw", 16, ABOVE + 0x10)
        machine.mark()
        machine.vm.a20_mask = A20_OPEN
        machine.kick()
        state = machine.finish()
        assert (state.rcx, state.rbx) == (1, 2)
    finally:
        machine.close()
