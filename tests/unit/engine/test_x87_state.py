"""The x87's control and status word over exits, saves and restores, and #MF (SDM vol. 1, 8.1, 8.7)."""

import struct

import pytest

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


def test_without_cr0_ne_nothing_is_raised_and_the_program_goes_on(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_DIVIDE_BY_ZERO} {_THIRD}; {_STORE}; done", ZERO_DIVIDE_UNMASKED, cr0=_CR0)
    long_mode.finish()
    assert long_mode.read(DATA + 32, 10) == _UP
    assert status(long_mode) & SUMMARY


def test_an_exception_that_a_restored_state_has_pending_is_raised(long_mode: LongModeMachine) -> None:
    program = f"{_DIVIDE_BY_ZERO} fxsave {DATA + 64}; fninit; fxrstor {DATA + 64}; again: fld1; done"
    boot(long_mode, program, ZERO_DIVIDE_UNMASKED, cr0=_CR0 | CR0_NE)
    event = long_mode.event()
    assert (event.vector, event.rip) == (MF, long_mode.label("again"))
