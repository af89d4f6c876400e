"""The x87's control and status word over exits, saves and restores, and #MF (SDM vol. 1, 8.1, 8.7)."""

import struct

import pytest

from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import PostedKind
from tests.unit.engine.long_mode import CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR0_WP, DATA, LongModeMachine

MF = 16
ALL_MASKED, ROUND_UP, ZERO_DIVIDE_UNMASKED = 0x037F, 0x0B7F, 0x037B
PRECISION, ZERO_DIVIDE, SUMMARY, BUSY = 1 << 5, 1 << 2, 1 << 7, 1 << 15
_CR0 = CR0_PE | CR0_MP | CR0_ET | CR0_WP | CR0_PG
_THIRD = f"fldl {DATA}; fdivl {DATA + 8}"
_STORE = f"fstpt {DATA + 32}"
# The next extended to 1/3 is the one above it.
_UP = struct.pack("<QH", 0xAAAAAAAAAAAAAAAB, 0x3FFD)
_DOWN = struct.pack("<QH", 0xAAAAAAAAAAAAAAAA, 0x3FFD)
_DIVIDE_BY_ZERO = f"fldcw {DATA + 16}; fld1; fldz; raise: fdivrp; nop; after:"


def boot(machine: LongModeMachine, program: str, control: int = ALL_MASKED, **registers: int) -> None:
    """1.0 and 3.0 are at DATA, a control word at DATA + 16."""
    machine.boot(f"fninit; {program}", **registers)
    machine.write(DATA, struct.pack("<ddH", 1.0, 3.0, control))


def status(machine: LongModeMachine) -> int:
    """The status word of the state that the last exit has left."""
    (word,) = struct.unpack_from("<H", bytes(machine.area.control.guest.xsave), 2)
    return int(word)


@pytest.mark.parametrize(("control", "third"), [(ROUND_UP, _UP), (0x077F, _DOWN)])
def test_rounding_stays_over_an_exit(long_mode: LongModeMachine, control: int, third: bytes) -> None:
    boot(long_mode, f"fldcw {DATA + 16}; fld1; mark; {_THIRD}; {_STORE}; done", control)
    long_mode.mark()
    long_mode.finish()
    assert long_mode.read(DATA + 32, 10) == third


@pytest.mark.parametrize(
    ("save", "restore"),
    [("fxsave", "fxrstor"), ("fxsave64", "fxrstor64"), ("fnsave", "frstor"), ("fnstenv", "fldenv")],
)
def test_rounding_and_flags_come_back_with_a_restore(
    long_mode: LongModeMachine, save: str, restore: str
) -> None:
    at = DATA + 64
    program = (
        f"fldcw {DATA + 16}; {_THIRD}; fstp %st; {save} {at}; fninit; {restore} {at}; fnstsw {DATA + 48}"
    )
    boot(long_mode, f"{program}; fnclex; {_THIRD}; {_STORE}; done", ROUND_UP)
    long_mode.finish()
    assert long_mode.read(DATA + 32, 10) == _UP
    assert long_mode.load(DATA + 48, 2) & 0xFF == PRECISION


def test_a_flag_is_in_the_state_of_a_paused_vcpu(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_THIRD}; done")
    long_mode.finish()
    assert status(long_mode) & 0xFF == PRECISION


def test_a_flag_that_the_guest_clears_stays_clear(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_THIRD}; fstp %st; fnclex; fld1; fadd %st; done")
    long_mode.finish()
    assert status(long_mode) & 0xFF == 0


@pytest.mark.parametrize(
    "waiting",
    [
        "fwait",
        "fld1",
        "fxch",
        f"fldl {DATA}",
        f"fstpt {DATA + 32}",
        "paddb %mm1, %mm0",
        "emms",
        f"fldcw {DATA + 16}",
    ],
)
def test_an_unmasked_exception_is_mf_at_the_next_waiting_instruction(
    long_mode: LongModeMachine, waiting: str
) -> None:
    boot(long_mode, f"{_DIVIDE_BY_ZERO} {waiting}; done", ZERO_DIVIDE_UNMASKED)
    event = long_mode.event()
    assert (event.vector, event.rip) == (MF, long_mode.label("after"))
    long_mode.pause()
    assert status(long_mode) & (ZERO_DIVIDE | SUMMARY | BUSY) == ZERO_DIVIDE | SUMMARY | BUSY


@pytest.mark.parametrize("quiet", ["fnclex", "fninit", f"fnstenv {DATA + 64}; fnclex", f"fnsave {DATA + 64}"])
def test_an_instruction_that_does_not_wait_ends_a_pending_exception(
    long_mode: LongModeMachine, quiet: str
) -> None:
    boot(
        long_mode, f"{_DIVIDE_BY_ZERO} fnstsw %ax; mov %eax, %ebx; {quiet}; fwait; done", ZERO_DIVIDE_UNMASKED
    )
    assert long_mode.finish().rbx & (SUMMARY | BUSY) == SUMMARY | BUSY


def ferrs(machine: LongModeMachine) -> int:
    """How often FERR# has been asserted."""
    posted = [machine.vm.posted[i] for i in range(machine.vm.posted_tail)]
    return sum(write.kind == PostedKind.FERR for write in posted)


def test_without_cr0_ne_the_board_hears_of_the_error_once(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_DIVIDE_BY_ZERO} {_THIRD}; {_STORE}; done", ZERO_DIVIDE_UNMASKED, cr0=_CR0)
    long_mode.finish()
    assert long_mode.read(DATA + 32, 10) == _UP
    assert status(long_mode) & SUMMARY
    assert ferrs(long_mode) == 1


def test_with_cr0_ne_the_board_hears_nothing(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_DIVIDE_BY_ZERO} fwait; done", ZERO_DIVIDE_UNMASKED, cr0=_CR0 | CR0_NE)
    assert long_mode.event().vector == MF
    assert ferrs(long_mode) == 0


def test_the_instruction_waits_for_an_interrupt_whose_handler_clears_the_error(
    long_mode: LongModeMachine,
) -> None:
    program = f"""
        {_DIVIDE_BY_ZERO}
        sti
        nop
        inb $MARK
    at: fld1
        {_STORE}
        done
    handler:
        outb %al, $0xf0
        fnclex
        iretq
    """
    boot(long_mode, program, ZERO_DIVIDE_UNMASKED, cr0=_CR0)
    long_mode.area.lapic.regs[0xF0 // 4] = 0x1FF
    long_mode.run_until(ExitReason.IO)
    for _ in range(3):
        assert long_mode.pause().rip == long_mode.label("at")
    long_mode.set_gate(0x40, long_mode.label("handler"))
    long_mode.interrupt(0x40)
    assert long_mode.run_to_port(0xF0) == 0
    long_mode.finish()
    assert ferrs(long_mode) == 1
    assert not status(long_mode) & SUMMARY


def test_an_error_that_is_ignored_by_the_board_is_ignored(long_mode: LongModeMachine) -> None:
    program = f"{_DIVIDE_BY_ZERO} fwait; outb %al, $0xf0; sti; fld1; {_STORE}; done"
    boot(long_mode, program, ZERO_DIVIDE_UNMASKED, cr0=_CR0)
    assert long_mode.run_to_port(0xF0) == 0
    long_mode.finish()
    assert ferrs(long_mode) == 1


def test_a_new_error_is_told_anew(long_mode: LongModeMachine) -> None:
    program = f"{_DIVIDE_BY_ZERO} fwait; outb %al, $0xf0; fnclex; fld1; fldz; fdivrp; fwait; done"
    boot(long_mode, program, ZERO_DIVIDE_UNMASKED, cr0=_CR0)
    assert long_mode.run_to_port(0xF0) == 0
    long_mode.finish()
    assert ferrs(long_mode) == 2


def test_an_exception_that_a_restored_state_has_pending_is_raised(long_mode: LongModeMachine) -> None:
    program = f"{_DIVIDE_BY_ZERO} fxsave {DATA + 64}; fninit; fxrstor {DATA + 64}; again: fld1; done"
    boot(long_mode, program, ZERO_DIVIDE_UNMASKED, cr0=_CR0 | CR0_NE)
    event = long_mode.event()
    assert (event.vector, event.rip) == (MF, long_mode.label("again"))
