"""KVM's register structures and the control block's guest state say the same."""

import ctypes
import os

import pytest

from mpvm.abi.control_block import GuestState
from mpvm.abi.kvm import structs
from mpvm.cpu.state import reset_state
from mpvm.kvm import msrs, registers


@pytest.fixture
def guest() -> GuestState:
    state = GuestState()
    reset_state().store(state)
    return state


def filled(structure: type[ctypes.Structure]) -> ctypes.Structure:
    return structure.from_buffer_copy(os.urandom(ctypes.sizeof(structure)))


def test_general_registers_come_back(guest: GuestState) -> None:
    regs = structs.Regs(*range(100, 100 + len(structs.Regs._fields_)))
    registers.load_regs(guest, regs)
    regs.rflags |= 2
    assert bytes(registers.regs_of(guest)) == bytes(regs)
    assert guest.gpr[4] == regs.rsp, "in encoding order"


def test_segments_come_back(guest: GuestState) -> None:
    sregs = registers.sregs_of(guest)
    assert (sregs.cs.base, sregs.cs.selector, sregs.cs.type, sregs.cs.s, sregs.cs.present) == (
        0xFFFF0000,
        0xF000,
        0xB,
        1,
        1,
    )
    sregs.ds = structs.Segment(1, 2, 3, type=3, present=1, dpl=3, db=1, s=1, l=0, g=1, avl=1)
    sregs.gdt = structs.Dtable(0x1000, 0x7F)
    sregs.cr3 = 0x5000
    registers.load_sregs(guest, sregs)
    assert guest.ds.access_rights == 0xD0F3
    assert bytes(registers.sregs_of(guest)) == bytes(sregs)


def test_a_segment_that_is_not_present_is_unusable(guest: GuestState) -> None:
    sregs = registers.sregs_of(guest)
    sregs.fs = structs.Segment()
    registers.load_sregs(guest, sregs)
    assert registers.sregs_of(guest).fs.unusable == 1


def test_x87_and_sse_come_back(guest: GuestState) -> None:
    fpu = structs.Fpu.from_buffer_copy(bytes(filled(structs.Fpu)))
    fpu.pad1 = fpu.pad2 = 0
    registers.load_fpu(guest, fpu)
    assert bytes(registers.fpu_of(guest)) == bytes(fpu)
    assert guest.mxcsr == fpu.mxcsr


@pytest.mark.parametrize("shadow", [0, 1, 2])
def test_the_interrupt_shadow_comes_back(guest: GuestState, shadow: int) -> None:
    registers.load_shadow(guest, shadow)
    assert registers.shadow_of(guest) == shadow


def test_every_listed_msr_is_there(guest: GuestState) -> None:
    for index in msrs.indices():
        value = msrs.read(guest, index)
        assert value is not None
        assert msrs.write(guest, index, value)


@pytest.mark.parametrize(
    ("index", "value"), [(0x277, 2), (0xC0000080, 1 << 5), (0xC0000082, 1 << 50), (0x12345678, 0)]
)
def test_an_msr_refuses_what_it_can_not_hold(guest: GuestState, index: int, value: int) -> None:
    assert not msrs.write(guest, index, value)
