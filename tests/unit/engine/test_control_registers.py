"""What a MOV to a control register may not ask for (SDM vol. 3, 2.5 and vol. 2, MOV to control registers)."""

from collections.abc import Callable

import pytest

from tests.unit.engine.long_mode import TABLES, LongModeMachine
from tests.unit.engine.real_mode import RealModeMachine

GP = 13
CR0, CR4 = 0x80010033, 0x620
CR0_NW, CR0_CD = 1 << 29, 1 << 30


def expect_gp(machine: LongModeMachine, register: str, value: int) -> None:
    """A write of `value` is #GP(0) at its own RIP and leaves the register as it was."""
    machine.boot(f"movabsq ${value:#x}, %rax; at: movq %rax, %{register}; done")
    before = machine.initial_state()
    event = machine.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, machine.label("at"))
    assert getattr(machine.pause(), register) == getattr(before, register)


@pytest.mark.parametrize(
    "value",
    [CR0 & ~1, CR0 | CR0_NW, 1 << 32 | CR0, 1 << 63 | CR0],
    ids=["PG without PE", "NW without CD", "bit 32", "bit 63"],
)
def test_an_illegal_value_of_cr0_is_gp(long_mode: LongModeMachine, value: int) -> None:
    expect_gp(long_mode, "cr0", value)


def test_nw_is_legal_with_cd(long_mode: LongModeMachine) -> None:
    value = CR0 | CR0_NW | CR0_CD
    long_mode.boot(f"movl ${value:#x}, %eax; movq %rax, %cr0; done")
    assert long_mode.finish().cr0 == value


@pytest.mark.parametrize("bit", [15, 23, 31, 32, 63])
def test_a_reserved_bit_of_cr4_is_gp(long_mode: LongModeMachine, bit: int) -> None:
    expect_gp(long_mode, "cr4", 1 << bit | CR4)


def test_pae_can_not_be_cleared_in_long_mode(long_mode: LongModeMachine) -> None:
    expect_gp(long_mode, "cr4", CR4 & ~(1 << 5))


def test_pae_can_be_cleared_outside_long_mode(real_mode: RealModeMachine) -> None:
    real_mode.boot("movl $0x20, %eax; movl %eax, %cr4; xorl %eax, %eax; movl %eax, %cr4; done")
    assert real_mode.finish().cr4 == 0


@pytest.mark.parametrize("value", [0x10, 0x100, 1 << 32, 1 << 63])
def test_a_reserved_bit_of_cr8_is_gp(long_mode: LongModeMachine, value: int) -> None:
    expect_gp(long_mode, "cr8", value)


def test_every_task_priority_is_legal_in_cr8(long_mode: LongModeMachine) -> None:
    long_mode.boot(
        "movl $15, %eax; 1: movq %rax, %cr8; movq %cr8, %rbx; addl %ebx, %ecx; decl %eax; jns 1b; done"
    )
    assert long_mode.finish().rcx == sum(range(16))


@pytest.mark.parametrize("bit", [40, 51, 52, 62, 63])
def test_a_bit_of_cr3_beyond_the_physical_address_is_gp(long_mode: LongModeMachine, bit: int) -> None:
    expect_gp(long_mode, "cr3", 1 << bit | TABLES)


def test_paging_can_not_be_turned_off_in_64_bit_code(long_mode: LongModeMachine) -> None:
    expect_gp(long_mode, "cr0", CR0 & ~(1 << 31))


def test_bits_of_cr0_that_are_not_there_stay_clear(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${CR0 | 0x1FFAFFC0:#x}, %eax; movq %rax, %cr0; done")
    assert long_mode.finish().cr0 == CR0


def test_ia32e_mode_can_not_be_entered_without_pae(real_mode: RealModeMachine) -> None:
    real_mode.boot(
        "movl $0xc0000080, %ecx; movl $0x100, %eax; xorl %edx, %edx; wrmsr;"
        "movl $0x80000011, %eax; at: movl %eax, %cr0; done"
    )
    event = real_mode.event()
    assert (event.vector, event.rip) == (GP, real_mode.label("at"))
    assert real_mode.pause().cr0 == 0x60000010


@pytest.mark.parametrize(
    ("feature", "bit"),
    [("fsgsbase", 16), ("xsave", 18), ("smep", 20), ("smap", 21), ("pku", 22), ("pks", 24)],
)
def test_a_bit_of_cr4_is_reserved_without_its_feature(
    make_long_mode: Callable[..., LongModeMachine], feature: str, bit: int
) -> None:
    expect_gp(make_long_mode(model=f"max,-{feature}"), "cr4", 1 << bit | CR4)


def test_the_bits_of_cr4_can_be_set_with_their_features(long_mode: LongModeMachine) -> None:
    value = CR4 | 1 << 16 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 24
    long_mode.boot(f"movl ${value:#x}, %eax; movq %rax, %cr4; done")
    long_mode.map(0x10000, 0x10000, 3)
    assert long_mode.finish().cr4 == value
