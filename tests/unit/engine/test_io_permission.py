"""Who may use ports: IOPL, and the TSS's bitmap below it (SDM vol. 1, 19.5)."""

import pytest

from mpvm.abi.exits import ExitReason
from mpvm.cpu.state import SegmentState
from tests.unit.engine.long_mode import ORIGIN, TSS, TSS_LIMIT, TSS_SELECTOR, USER_DATA, LongModeMachine
from tests.unit.engine.real_mode import RealModeMachine

GP = 13
IOPL3 = 0x3002
BITMAP = TSS + TSS_LIMIT + 1
OUT_EACH = [("outb %al, %dx", 1), ("outw %ax, %dx", 2), ("outl %eax, %dx", 4)]
IN_EACH = [("inb %dx, %al", 1), ("inw %dx, %ax", 2), ("inl %dx, %eax", 4)]


def with_bitmap(machine: LongModeMachine, bits: bytes) -> SegmentState:
    """A TSS that ends with an I/O bitmap of `bits`."""
    machine.write(BITMAP, bits)
    return SegmentState(TSS, TSS_LIMIT + len(bits), TSS_SELECTOR, 0x8B)


@pytest.mark.parametrize("instruction", ["inb $0x60, %al", "outb %al, $0x60", "insb", "outsb"])
def test_a_program_below_iopl_without_a_bitmap_gets_gp_of_0(
    long_mode: LongModeMachine, instruction: str
) -> None:
    long_mode.boot(f"{instruction}; hlt", cpl=3, rsi=USER_DATA, rdi=USER_DATA)
    event = long_mode.event()
    assert (event.vector, event.error_code, event.rip) == (GP, 0, ORIGIN)


def test_iopl_3_opens_the_ports_to_programs(long_mode: LongModeMachine) -> None:
    long_mode.boot("inb $0x60, %al; outb %al, $0x61; done", cpl=3, rflags=IOPL3)
    assert long_mode.run_until(ExitReason.IO).address == 0x60
    last = long_mode.run_until(ExitReason.IO, reply=0x5A)
    assert (last.address, last.data) == (0x61, 0x5A)


def test_the_kernel_needs_no_iopl(long_mode: LongModeMachine) -> None:
    long_mode.boot("inb $0x60, %al; done", rflags=2)
    assert long_mode.run_until(ExitReason.IO).address == 0x60


@pytest.mark.parametrize(("instruction", "size"), IN_EACH + OUT_EACH)
def test_clear_bits_in_the_bitmap_allow_an_access(
    long_mode: LongModeMachine, instruction: str, size: int
) -> None:
    bits = ~(((1 << size) - 1) << 0x10) & (1 << 64) - 1
    tr = with_bitmap(long_mode, bits.to_bytes(8, "little") + b"\xff")
    long_mode.boot(f"movw $0x10, %dx; {instruction}; done", cpl=3, tr=tr)
    last = long_mode.run_until(ExitReason.IO)
    assert (last.address, last.size) == (0x10, size)


@pytest.mark.parametrize(("instruction", "size"), IN_EACH + OUT_EACH)
def test_one_set_bit_of_those_of_an_access_forbids_it(
    long_mode: LongModeMachine, instruction: str, size: int
) -> None:
    bits = 1 << 0x10 + size - 1
    tr = with_bitmap(long_mode, bits.to_bytes(8, "little") + b"\xff")
    long_mode.boot(f"movw $0x10, %dx; {instruction}; hlt", cpl=3, tr=tr)
    event = long_mode.event()
    assert (event.vector, event.error_code) == (GP, 0)


def test_an_access_uses_bits_of_two_bytes_of_the_bitmap(long_mode: LongModeMachine) -> None:
    tr = with_bitmap(long_mode, b"\x00\x01\xff")
    long_mode.boot("movw $6, %dx; inw %dx, %ax; movw $7, %dx; inw %dx, %ax; hlt", cpl=3, tr=tr)
    assert long_mode.run_until(ExitReason.IO).address == 6
    assert long_mode.event().vector == GP


def test_a_port_beyond_the_end_of_the_bitmap_is_forbidden(long_mode: LongModeMachine) -> None:
    tr = with_bitmap(long_mode, b"\x00\x00\xff")
    long_mode.boot("movw $15, %dx; inb %dx, %al; movw $24, %dx; inb %dx, %al; hlt", cpl=3, tr=tr)
    assert long_mode.run_until(ExitReason.IO).address == 15
    assert long_mode.event().vector == GP


def test_real_mode_asks_nobody(real_mode: RealModeMachine) -> None:
    real_mode.boot("inb $0x60, %al; done", rflags=2)
    assert real_mode.run_until(ExitReason.IO).address == 0x60


def test_the_byte_behind_the_last_of_a_port_must_be_within_the_tss_too(long_mode: LongModeMachine) -> None:
    tr = with_bitmap(long_mode, b"\x00\x00")
    long_mode.boot("movw $7, %dx; inb %dx, %al; movw $8, %dx; inb %dx, %al; hlt", cpl=3, tr=tr)
    assert long_mode.run_until(ExitReason.IO).address == 7
    assert long_mode.event().vector == GP
