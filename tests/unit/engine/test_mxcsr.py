"""MXCSR: who loads it, who reads it, and what it must not change (SDM vol. 1, 10.2.3)."""

import struct

import pytest

from tests.unit.engine.long_mode import (
    CR4_OSFXSR,
    CR4_OSXMMEXCPT,
    CR4_OSXSAVE,
    CR4_PAE,
    DATA,
    ORIGIN,
    LongModeMachine,
)

UD, NM, GP, XM = 6, 7, 13, 19
INVALID, PRECISION = 1, 1 << 5
ALL_MASKED, ROUND_UP = 0x1F80, 0x1F80 | 2 << 13
_THIRD = f"movsd {DATA}, %xmm0; divsd {DATA + 8}, %xmm0"
_UP, _NEAREST = struct.pack("<Q", 0x3FD5555555555556), struct.pack("<Q", 0x3FD5555555555555)


def boot(machine: LongModeMachine, program: str, mxcsr: int = ALL_MASKED, **registers: int) -> None:
    """1.0 and 3.0 are at DATA, an MXCSR to load at DATA + 16."""
    machine.boot(program, mxcsr=mxcsr, **registers)
    machine.write(DATA, struct.pack("<ddI", 1.0, 3.0, mxcsr))


def test_a_flag_is_in_the_register_that_stmxcsr_stores(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_THIRD}; stmxcsr {DATA + 32}; done")
    long_mode.finish()
    assert long_mode.load(DATA + 32, 4) == ALL_MASKED | PRECISION


@pytest.mark.parametrize("save", ["fxsave", "xsave", "xsaveopt"])
def test_a_flag_is_in_the_image_that_is_saved(long_mode: LongModeMachine, save: str) -> None:
    cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE
    boot(long_mode, f"{_THIRD}; mov $3, %eax; cltd; xsetbv; {save} {DATA + 64}; done", cr4=cr4, rcx=0, rdx=0)
    long_mode.finish()
    assert long_mode.load(DATA + 64 + 24, 4) == ALL_MASKED | PRECISION


def test_a_flag_is_in_the_state_of_a_paused_vcpu(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_THIRD}; done")
    assert long_mode.finish().mxcsr == ALL_MASKED | PRECISION


def test_a_flag_that_the_guest_clears_stays_clear(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_THIRD}; ldmxcsr {DATA + 16}; addsd %xmm1, %xmm1; stmxcsr {DATA + 32}; done")
    long_mode.finish()
    assert long_mode.load(DATA + 32, 4) == ALL_MASKED


@pytest.mark.parametrize(("mxcsr", "third"), [(ALL_MASKED, _NEAREST), (ROUND_UP, _UP)])
def test_rounding_goes_by_the_state_that_was_loaded(
    long_mode: LongModeMachine, mxcsr: int, third: bytes
) -> None:
    boot(long_mode, f"{_THIRD}; movsd %xmm0, {DATA + 32}; done", mxcsr)
    long_mode.finish()
    assert long_mode.read(DATA + 32, 8) == third


@pytest.mark.parametrize(("mxcsr", "third"), [(ALL_MASKED, _NEAREST), (ROUND_UP, _UP)])
def test_rounding_stays_over_an_exit(long_mode: LongModeMachine, mxcsr: int, third: bytes) -> None:
    boot(long_mode, f"addsd %xmm1, %xmm1; mark; {_THIRD}; movsd %xmm0, {DATA + 32}; done", mxcsr)
    long_mode.mark()
    long_mode.finish()
    assert long_mode.read(DATA + 32, 8) == third


def test_the_guest_s_rounding_is_not_that_of_the_process(long_mode: LongModeMachine) -> None:
    boot(long_mode, f"{_THIRD}; mark; done", ROUND_UP)
    long_mode.mark()
    one, three = 1.0, 3.0
    assert struct.pack("<d", one / three) == _NEAREST


def test_rounding_goes_by_what_a_restore_has_loaded(long_mode: LongModeMachine) -> None:
    program = (
        f"fxsave {DATA + 64}; movl ${ROUND_UP}, {DATA + 64 + 24}; {_THIRD}; fxrstor {DATA + 64}; {_THIRD}"
    )
    boot(long_mode, f"{program}; movsd %xmm0, {DATA + 32}; done")
    long_mode.finish()
    assert long_mode.read(DATA + 32, 8) == _UP


@pytest.mark.parametrize("bit", [16, 17, 31])
def test_ldmxcsr_of_a_reserved_bit_is_gp(long_mode: LongModeMachine, bit: int) -> None:
    boot(long_mode, f"movl ${ALL_MASKED | 1 << bit}, {DATA + 16}; load: ldmxcsr {DATA + 16}; done")
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("load"))
    long_mode.resume_at(ORIGIN)
    assert long_mode.pause().mxcsr == ALL_MASKED


@pytest.mark.parametrize("restore", ["fxrstor", "xrstor"])
def test_a_restore_of_a_reserved_bit_is_gp_and_loads_nothing(
    long_mode: LongModeMachine, restore: str
) -> None:
    at = DATA + 64
    program = f"mov $3, %eax; xor %edx, %edx; xor %ecx, %ecx; xsetbv; xsave {at}; movl $0x11f80, {at + 24}"
    cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE
    boot(long_mode, f"{program}; movsd {DATA}, %xmm0; load: {restore} {at}; done", cr4=cr4)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, long_mode.label("load"))
    long_mode.resume_at(ORIGIN)
    state = long_mode.pause()
    assert (state.mxcsr, bytes(state.fxsave[160:168])) == (ALL_MASKED, struct.pack("<d", 1.0))


@pytest.mark.parametrize(("cr4", "vector"), [(CR4_OSXMMEXCPT, XM), (0, UD)])
def test_an_unmasked_exception_is_xm_or_without_osxmmexcpt_ud(
    long_mode: LongModeMachine, cr4: int, vector: int
) -> None:
    unmasked = ALL_MASKED & ~(INVALID << 7)
    program = "xorps %xmm0, %xmm0; xor %ebx, %ebx; inc %ebx; raise: divsd %xmm0, %xmm0; inc %ebx; done"
    boot(long_mode, program, unmasked, cr4=CR4_PAE | CR4_OSFXSR | cr4)
    event = long_mode.event()
    assert (event.vector, event.rip) == (vector, long_mode.label("raise"))
    state = long_mode.pause()
    assert (state.rbx, state.mxcsr, bytes(state.fxsave[160:168])) == (1, unmasked | INVALID, bytes(8))


def test_a_lazy_switch_of_contexts_keeps_each_one_s_rounding_and_flags(long_mode: LongModeMachine) -> None:
    """#NM comes at the first instruction after TS is set; its handler saves one and loads the other."""
    switch = f"clts; fxsave {DATA + 0x200}; fxrstor {DATA + 0x400}; iretq"
    other = f"fxsave {DATA + 0x400}; movl ${ROUND_UP}, {DATA + 0x400 + 24}"
    set_ts = "mov %cr0, %rax; or $8, %eax; mov %rax, %cr0"
    first = f"{_THIRD}; movsd %xmm0, {DATA + 32}; {set_ts}"
    second = f"{_THIRD}; movsd %xmm0, {DATA + 40}"
    boot(long_mode, f"{other}; {first}; {second}; done; not_available: {switch}")
    long_mode.set_gate(NM, long_mode.label("not_available"))
    state = long_mode.finish()
    assert (long_mode.read(DATA + 32, 8), long_mode.read(DATA + 40, 8)) == (_NEAREST, _UP)
    assert (long_mode.load(DATA + 0x200 + 24, 4), state.mxcsr) == (
        ALL_MASKED | PRECISION,
        ROUND_UP | PRECISION,
    )
