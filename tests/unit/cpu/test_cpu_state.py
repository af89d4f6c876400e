"""The reset state against SDM vol. 3, table 9-1, and its way into a control block."""

import ctypes

import pytest

from mpvm.abi import control_block
from mpvm.cpu import state
from mpvm.cpu.state import CpuState, SegmentState, reset_state


def test_the_first_instruction_after_reset_lies_16_bytes_below_4_gib() -> None:
    reset = reset_state()
    assert reset.cs.base + reset.rip == 0xFFFFFFF0
    assert reset.cs.selector == 0xF000


@pytest.mark.parametrize(
    ("register", "value"),
    [
        ("cr0", 0x60000010),
        ("cr2", 0),
        ("cr3", 0),
        ("cr4", 0),
        ("efer", 0),
        ("rflags", 2),
        ("rip", 0xFFF0),
        ("mxcsr", 0x1F80),
        ("xcr0", 1),
        ("pat", 0x0007040600070406),
    ],
)
def test_a_register_has_its_power_up_value(register: str, value: int) -> None:
    assert getattr(reset_state(), register) == value


@pytest.mark.parametrize("name", ["ds", "es", "fs", "gs", "ss"])
def test_data_segments_start_at_0_with_64_kib(name: str) -> None:
    assert getattr(reset_state(), name) == SegmentState(0, 0xFFFF, 0, 0x93)


def test_debug_registers_hold_their_fixed_ones() -> None:
    assert reset_state().dr == [0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400]


def test_the_x87_unit_wakes_with_0x40_in_its_control_word_and_no_empty_register() -> None:
    area = reset_state().fxsave
    assert int.from_bytes(area[0:2], "little") == 0x40
    assert area[4] == 0xFF
    assert int.from_bytes(area[24:28], "little") == 0x1F80


def test_edx_holds_the_signature_of_the_cpu() -> None:
    assert reset_state(0x30661).rdx == 0x30661


def test_a_state_has_no_register_of_an_unknown_name() -> None:
    with pytest.raises(TypeError, match="there is no register rxa"):
        CpuState(rxa=1)


def test_replacing_a_register_leaves_the_others_and_the_original() -> None:
    first = reset_state(0x30661)
    second = first.replace(rip=0x1000)
    assert (first.rip, second.rip, second.rdx) == (0xFFF0, 0x1000, 0x30661)
    assert second != first
    assert second.replace(rip=0xFFF0) == first


def test_only_the_bsp_has_its_flag_in_the_apic_base() -> None:
    assert reset_state().apic_base == 0xFEE00900
    assert reset_state(bsp=False).apic_base == 0xFEE00800


def test_two_reset_states_do_not_share_debug_registers() -> None:
    reset_state().dr[7] = 0
    assert reset_state().dr[7] == 0x400


def distinct_state() -> CpuState:
    """A state in which no two registers are alike."""
    result = CpuState()
    number = 0x100
    for name in (*state.GPR_NAMES, *state.SCALAR_NAMES):
        number += 1
        setattr(result, name, number)
    for name in state.SEGMENT_NAMES:
        number += 16
        setattr(result, name, SegmentState(number, number + 1, number + 2, number + 3))
    result.gdtr = state.DescriptorTableState(number + 20, number + 21)
    result.idtr = state.DescriptorTableState(number + 22, number + 23)
    result.dr = [number + 30 + n for n in range(8)]
    result.xsave = bytes(n & 0xFF for n in range(4096))
    return result


def test_a_stored_state_is_fetched_again_register_by_register() -> None:
    guest = control_block.GuestState()
    distinct_state().store(guest)
    assert CpuState.fetch(guest) == distinct_state()


def test_every_field_of_the_control_block_is_written() -> None:
    named = {*state.SCALAR_NAMES, *state.SEGMENT_NAMES, *state.ARRAY_NAMES, "gpr", "gdtr", "idtr", "xsave"}
    assert named == {field[0] for field in control_block.GuestState._fields_} - {"reserved"}


def test_general_registers_are_stored_in_encoding_order() -> None:
    guest = control_block.GuestState()
    CpuState(rax=1, rcx=2, rdx=3, rbx=4, rsp=5, rbp=6, rsi=7, rdi=8, r8=9, r15=16).store(guest)
    assert list(guest.gpr)[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert guest.gpr[15] == 16


def test_store_overwrites_what_was_there() -> None:
    guest = control_block.GuestState()
    ctypes.memset(ctypes.addressof(guest), 0xFF, ctypes.sizeof(guest))
    reset_state().store(guest)
    assert CpuState.fetch(guest) == reset_state()
