"""CR4.UMIP (SDM vol. 3, 2.5): ring 3 is not told where the descriptor tables are."""

from collections.abc import Callable

import pytest

from tests.unit.engine.long_mode import ORIGIN, USER_DATA, LongModeMachine
from tests.unit.engine.protected_mode import DATA, ProtectedModeMachine
from tests.unit.engine.real_mode import RealModeMachine

GP = 13
UMIP, PAE = 1 << 11, 1 << 5
INSTRUCTIONS = ["sgdt", "sidt", "sldt", "str", "smsw"]
REGISTER_FORMS = ["sldt %ax", "str %eax", "smsw %ax", "smsw %eax"]


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_ring_3_gets_gp_of_0_with_umip(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"movl $7, %ebx; at: {instruction} (%rsi)", cpl=3, cr4=PAE | UMIP, rsi=USER_DATA)
    long_mode.write(USER_DATA, b"\xee" * 16)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("at"))
    assert long_mode.read(USER_DATA, 16) == b"\xee" * 16


@pytest.mark.parametrize("instruction", REGISTER_FORMS)
def test_the_forms_with_a_register_are_no_other(long_mode: LongModeMachine, instruction: str) -> None:
    long_mode.boot(f"{instruction}; hlt", cpl=3, cr4=PAE | UMIP)
    assert (long_mode.event().vector, long_mode.last_event().rip) == (GP, ORIGIN)


@pytest.mark.parametrize(("cpl", "cr4"), [(0, PAE | UMIP), (3, PAE), (0, PAE)])
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_ring_0_and_ring_3_without_umip_are_told(
    long_mode: LongModeMachine, instruction: str, cpl: int, cr4: int
) -> None:
    long_mode.boot(f"{instruction} (%rsi); done", cpl=cpl, cr4=cr4, rsi=USER_DATA, rflags=0x3002)
    long_mode.finish()


def test_the_same_code_is_asked_anew_when_umip_changes(long_mode: LongModeMachine) -> None:
    long_mode.boot("again: sgdt (%rsi); mark; jmp again", cpl=3, cr4=PAE, rsi=USER_DATA, rflags=0x3002)
    long_mode.mark()
    state = long_mode.pause()
    state.cr4 = PAE | UMIP
    state.store(long_mode.area.control.guest)
    long_mode.engine.load_state()
    assert (long_mode.event().vector, long_mode.last_event().rip) == (GP, ORIGIN)


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_32_bit_code_has_it_too(protected_mode: ProtectedModeMachine, instruction: str) -> None:
    protected_mode.boot(f"{instruction} {DATA}", cpl=3, cr4=UMIP)
    event = protected_mode.event()
    assert (event.vector, event.error_code) == (GP, 0)


# CR0 with AM, which is above the 16 bits that a store to memory has.
CR0 = 0x40011


@pytest.mark.parametrize(("cpl", "cr4"), [(0, UMIP), (0, 0), (3, 0)])
def test_a_register_of_32_bits_gets_all_of_cr0_and_flags_stay(
    protected_mode: ProtectedModeMachine, cpl: int, cr4: int
) -> None:
    protected_mode.boot(
        "stc; decb %dl; smswl %ecx; setb %al; setz %ah; smsww %bx; done",
        cpl=cpl,
        cr0=CR0,
        cr4=cr4,
        rflags=0x3002,
        rbx=0x1234_5678,
        rdx=1,
    )
    state = protected_mode.finish()
    assert (state.rcx, state.rax & 0xFFFF, state.rbx) == (CR0, 0x0101, 0x1234_0011)


def test_a_register_of_32_bits_gets_nothing_with_umip(protected_mode: ProtectedModeMachine) -> None:
    protected_mode.boot("nop; at: smswl %ecx", cpl=3, cr4=UMIP)
    event = protected_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, protected_mode.label("at"))


def test_real_mode_has_it_too(real_mode: RealModeMachine) -> None:
    real_mode.boot("smswl %edi; .byte 0x66; smswl %ebx; done", cr0=CR0 & ~1, rdi=0, rbx=0x1234_0000)
    state = real_mode.finish()
    assert (state.rdi, state.rbx) == (CR0 & ~1, CR0 & ~1)


def test_a_model_without_it_has_no_such_bit(make_long_mode: Callable[..., LongModeMachine]) -> None:
    machine = make_long_mode(model="max,-umip")
    machine.boot(f"movq %cr4, %rax; orq ${UMIP}, %rax; movq %rax, %cr4; done")
    assert machine.event().vector == GP
