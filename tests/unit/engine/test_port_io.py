"""IN, OUT, INS and OUTS reach the caller of run() as exits (SDM vol. 2; KVM_EXIT_IO)."""

import pytest

from mpvm.abi.exits import ExitReason, IoDirection
from tests.unit.engine.long_mode import DATA, LongModeMachine
from tests.unit.engine.machine import Exit
from tests.unit.engine.real_mode import RealModeMachine

SIZES = [("b", "al", 1), ("w", "ax", 2), ("l", "eax", 4)]


@pytest.mark.parametrize(("suffix", "register", "size"), SIZES)
def test_out_exits_with_port_size_and_the_low_part_of_the_accumulator(
    real_mode: RealModeMachine, suffix: str, register: str, size: int
) -> None:
    real_mode.boot(f"movl $0x89abcdef, %eax; movw $0x3f8, %dx; out{suffix} %{register}, %dx; done")
    value = 0x89ABCDEF & (1 << 8 * size) - 1
    assert real_mode.run() == Exit(ExitReason.IO, IoDirection.OUT, 0x3F8, size, value)
    real_mode.finish()


@pytest.mark.parametrize(("suffix", "register", "size"), SIZES)
def test_in_exits_and_the_reply_goes_into_the_accumulator(
    real_mode: RealModeMachine, suffix: str, register: str, size: int
) -> None:
    real_mode.boot(f"movl $0x11223344, %eax; movw $0xcf8, %dx; in{suffix} %dx, %{register}; done")
    assert real_mode.run() == Exit(ExitReason.IO, IoDirection.IN, 0xCF8, size, 0)
    state = real_mode.finish(reply=0xFEDCBA98)
    mask = (1 << 8 * size) - 1
    assert state.rax == (0x11223344 & ~mask) | (0xFEDCBA98 & mask)


def test_a_reply_wider_than_the_access_is_cut(real_mode: RealModeMachine) -> None:
    real_mode.boot("movl $0x11223344, %eax; inb $0x60, %al; done")
    real_mode.run_until(ExitReason.IO)
    assert real_mode.finish(reply=0xFFFFFFFFFFFFFF55).rax == 0x11223355


def test_in_to_eax_clears_the_upper_half_of_rax_in_64_bit_mode(long_mode: LongModeMachine) -> None:
    long_mode.boot("movq $-1, %rax; inl $0x60, %eax; done")
    long_mode.run_until(ExitReason.IO)
    assert long_mode.finish(reply=0x80000001).rax == 0x80000001


def test_the_highest_port_is_reached_through_dx(real_mode: RealModeMachine) -> None:
    real_mode.boot("movl $0xabcdffff, %edx; outb %al, %dx; done")
    assert real_mode.run().address == 0xFFFF


def test_each_io_instruction_is_one_exit(real_mode: RealModeMachine) -> None:
    real_mode.boot("inb $0x60, %al; outb %al, $0x61; inb $0x62, %al; done")
    before = real_mode.exits(ExitReason.IO)
    assert [real_mode.run(reply=i).address for i in range(4)] == [0x60, 0x61, 0x62, 0xF4]
    assert real_mode.exits(ExitReason.IO) - before == 4


@pytest.mark.parametrize(("suffix", "size"), [("b", 1), ("w", 2), ("l", 4)])
def test_rep_outs_writes_each_element_in_order_and_moves_rsi_and_rcx(
    long_mode: LongModeMachine, suffix: str, size: int
) -> None:
    data = bytes(range(0x81, 0x81 + 3 * size))
    long_mode.boot(f"cld; movl ${DATA}, %esi; movl $3, %ecx; movw $0x3f8, %dx; rep outs{suffix}; done")
    long_mode.write(DATA, data)
    written = []
    for _ in range(3):
        last = long_mode.run_until(ExitReason.IO)
        assert (last.address, last.size, last.direction) == (0x3F8, size, IoDirection.OUT)
        written.append(last.data)
    assert b"".join(value.to_bytes(size, "little") for value in written) == data
    state = long_mode.finish()
    assert (state.rsi, state.rcx) == (DATA + 3 * size, 0)


@pytest.mark.parametrize(("suffix", "size"), [("b", 1), ("w", 2), ("l", 4)])
def test_rep_ins_stores_each_reply_in_order_and_moves_rdi_and_rcx(
    long_mode: LongModeMachine, suffix: str, size: int
) -> None:
    long_mode.boot(f"cld; movl ${DATA}, %edi; movl $3, %ecx; movw $0x1f0, %dx; rep ins{suffix}; done")
    values = [0xA1B2C3D4, 0x01020304, 0x55667788]
    long_mode.run_until(ExitReason.IO)
    long_mode.run_until(ExitReason.IO, reply=values[0])
    long_mode.run_until(ExitReason.IO, reply=values[1])
    state = long_mode.finish(reply=values[2])
    mask = (1 << 8 * size) - 1
    assert long_mode.read(DATA, 3 * size) == b"".join((v & mask).to_bytes(size, "little") for v in values)
    assert long_mode.load(DATA + 3 * size, 4) == 0
    assert (state.rdi, state.rcx) == (DATA + 3 * size, 0)


def test_outs_goes_downwards_with_the_direction_flag(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"std; movl ${DATA + 2}, %esi; movl $3, %ecx; movw $0x80, %dx; rep outsb; done")
    long_mode.write(DATA, b"abc")
    assert bytes(long_mode.run_until(ExitReason.IO).data for _ in range(3)) == b"cba"
    assert long_mode.finish().rsi == DATA - 1


def test_rep_with_a_count_of_zero_makes_no_exit(long_mode: LongModeMachine) -> None:
    long_mode.boot(f"movl ${DATA}, %esi; xorl %ecx, %ecx; movw $0x80, %dx; rep outsb; done")
    assert long_mode.finish().rsi == DATA


def test_flags_survive_an_exit(real_mode: RealModeMachine) -> None:
    real_mode.boot("""
        xorw %ax, %ax
        stc
        inb $0x60, %al
        done
    """)
    real_mode.run_until(ExitReason.IO)
    state = real_mode.finish(reply=0x7F)
    assert state.rflags & 0x41 == 0x41, "XOR has set ZF, STC has set CF, and IN changes no flag"
