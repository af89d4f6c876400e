"""The 16550A against its data sheet, register by register."""

import msgpack
import pytest

from mpvm.abi.errors import ConfigError
from mpvm.hw.bus import IsaBus, Wiring
from mpvm.hw.char import serial
from mpvm.hw.char.chardev import MemoryChardev
from mpvm.hw.char.serial import DLL, DLM, FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, SCR, THR, Uart16550A
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.memory.address_space import AddressSpace
from mpvm.memory.region import ShadowRegister
from mpvm.qom.qdev import qdev_realize, qdev_unrealize
from tests.unit.hw.plug import FakeSystem, plug

BASE = 0x3F8
NO_INTERRUPT = 0x01
LOOP = 0x10
OUT2 = 0x08
FIFO_ON = 0x01


class Rig:
    """A UART with a memory chardev, a hand-driven clock and a record of its IRQ's edges."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_000)
        self.edges: list[int] = []
        self.irq = IrqLine(self.edges.append)
        self.chardev = MemoryChardev()
        self.uart = Uart16550A(chardev=self.chardev, iobase=BASE)
        plug(self.uart, FakeSystem(self.clock), {4: self.irq})
        self.space = AddressSpace("io", 0x10000)
        for base, region in self.uart.ports():
            self.space.map(base, region)
        self.region = self.uart.ports()[0][1]
        self.shadow: ShadowRegister = self.region.shadows[LSR]

    def read(self, offset: int) -> int:
        return self.space.read(BASE + offset, 1)

    def write(self, offset: int, value: int) -> None:
        self.space.write(BASE + offset, 1, value)

    def set_divisor(self, divisor: int) -> None:
        lcr = self.read(LCR)
        self.write(LCR, lcr | 0x80)
        self.write(DLL, divisor & 0xFF)
        self.write(DLM, divisor >> 8)
        self.write(LCR, lcr)


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- transmitter ---------------------------------------------------------------------------------------


def test_a_byte_written_to_thr_is_sent_at_once(rig: Rig) -> None:
    rig.write(THR, 0x41)
    assert rig.chardev.output == b"A"
    assert rig.read(LSR) == 0x60


def test_a_word_write_is_two_byte_writes(rig: Rig) -> None:
    rig.space.write(BASE + LCR, 2, 0x0B1B)
    assert (rig.read(LCR), rig.read(MCR)) == (0x1B, 0x0B)
    assert rig.space.read(BASE + LCR, 2) == 0x0B1B


def test_with_dlab_offsets_0_and_1_are_the_divisor(rig: Rig) -> None:
    rig.write(IER, 0x05)
    rig.set_divisor(0x1234)
    assert rig.chardev.output == b""
    assert rig.read(IER) == 0x05
    rig.write(LCR, 0x80)
    assert (rig.read(DLL), rig.read(DLM)) == (0x34, 0x12)


def test_enabling_the_thre_interrupt_while_thr_is_empty_raises_it(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x02)
    assert rig.irq.level == 1
    assert rig.read(IIR) == 0x02


def test_reading_iir_clears_the_thre_interrupt_and_enabling_it_anew_raises_it_again(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x02)
    assert rig.read(IIR) == 0x02
    assert (rig.irq.level, rig.read(IIR)) == (0, NO_INTERRUPT)
    rig.write(IER, 0x02)
    assert rig.read(IIR) == NO_INTERRUPT, "ETBEI was set already"
    rig.write(IER, 0x00)
    rig.write(IER, 0x02)
    assert (rig.irq.level, rig.read(IIR)) == (1, 0x02)


def test_reading_iir_keeps_the_thre_interrupt_when_it_shows_another(rig: Rig) -> None:
    rig.write(IER, 0x03)
    rig.chardev.feed(b"x")
    assert rig.read(IIR) == 0x04
    rig.read(RBR)
    assert rig.read(IIR) == 0x02


def test_each_burst_of_writes_to_thr_makes_one_edge_when_it_is_empty_again(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x02)
    rig.read(IIR)
    rig.edges.clear()
    for character in b"0123456789abcdef":
        rig.write(THR, character)
    rig.clock.advance(0)
    assert rig.edges == [1]


def test_writing_thr_without_reading_iir_takes_the_interrupt_back_and_raises_it_anew(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x02)
    rig.edges.clear()
    rig.write(THR, 0x41)
    rig.clock.advance(0)
    assert rig.edges == [0, 1]


def test_iir_shows_the_thre_interrupt_as_soon_as_lsr_shows_thr_empty(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x02)
    rig.read(IIR)
    rig.write(THR, 0x41)
    assert rig.read(IIR) == 0x02
    rig.clock.advance(0)
    assert rig.irq.level == 0, "it was identified before its edge"


# -- receiver ------------------------------------------------------------------------------------------


def test_a_received_character_sets_dr_until_it_is_read(rig: Rig) -> None:
    rig.chardev.feed(b"k")
    assert rig.read(LSR) == 0x61
    assert rig.read(RBR) == 0x6B
    assert rig.read(LSR) == 0x60


def test_rbr_keeps_the_last_character_when_nothing_new_came(rig: Rig) -> None:
    rig.chardev.feed(b"k")
    rig.read(RBR)
    assert rig.read(RBR) == 0x6B


def test_without_fifos_the_receiver_has_room_for_one_character(rig: Rig) -> None:
    rig.chardev.feed(b"abc")
    assert rig.chardev.waiting == 2
    assert bytes(rig.read(RBR) for _ in range(3)) == b"abc"
    assert rig.read(LSR) == 0x60


def test_with_fifos_the_receiver_has_room_for_sixteen_and_the_rest_waits(rig: Rig) -> None:
    rig.write(FCR, FIFO_ON)
    rig.chardev.feed(bytes(range(40)))
    assert rig.chardev.waiting == 24
    assert bytes(rig.read(RBR) for _ in range(40)) == bytes(range(40))
    assert rig.read(LSR) == 0x60


@pytest.mark.parametrize(("select", "level"), [(0x00, 1), (0x40, 4), (0x80, 8), (0xC0, 14)])
def test_received_data_interrupts_at_the_trigger_level_until_the_fifo_is_below_it(
    rig: Rig, select: int, level: int
) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x01)
    rig.write(FCR, FIFO_ON | select)
    rig.chardev.feed(bytes(level - 1))
    assert rig.irq.level == 0
    rig.chardev.feed(b"!")
    assert (rig.irq.level, rig.read(IIR)) == (1, 0xC4)
    rig.read(RBR)
    assert (rig.irq.level, rig.read(IIR)) == (0, 0xC1)


def test_without_fifos_received_data_interrupts_at_once(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x01)
    rig.chardev.feed(b"x")
    assert (rig.irq.level, rig.read(IIR)) == (1, 0x04)


def start_timeout(rig: Rig) -> int:
    """One character below the trigger at 115200 8N1; returns four character times in ns."""
    rig.write(MCR, OUT2)
    rig.write(LCR, 0x03)
    rig.set_divisor(1)
    rig.write(IER, 0x01)
    rig.write(FCR, FIFO_ON | 0xC0)
    rig.chardev.feed(b"ab")
    return 4 * 10 * 1_000_000_000 // 115_200


def test_characters_below_the_trigger_interrupt_after_four_character_times(rig: Rig) -> None:
    timeout = start_timeout(rig)
    rig.clock.advance(timeout - 1_000)
    assert rig.irq.level == 0
    rig.clock.advance(1_000)
    assert (rig.irq.level, rig.read(IIR)) == (1, 0xCC)


def test_reading_a_character_clears_the_time_out_and_starts_it_anew(rig: Rig) -> None:
    timeout = start_timeout(rig)
    rig.clock.advance(timeout)
    rig.read(RBR)
    assert (rig.irq.level, rig.read(IIR)) == (0, 0xC1)
    rig.clock.advance(timeout)
    assert rig.read(IIR) == 0xCC
    rig.read(RBR)
    rig.clock.advance(10 * timeout)
    assert rig.read(IIR) == 0xC1, "an empty FIFO does not time out"


def test_without_fifos_there_is_no_time_out(rig: Rig) -> None:
    rig.chardev.feed(b"x")
    assert rig.clock.queue.next_deadline() is None


def test_a_new_character_restarts_the_time_out(rig: Rig) -> None:
    timeout = start_timeout(rig)
    rig.clock.advance(timeout - 1_000)
    rig.chardev.feed(b"c")
    rig.clock.advance(timeout - 1_000)
    assert rig.irq.level == 0
    rig.clock.advance(1_000)
    assert rig.irq.level == 1


def test_a_new_character_does_not_clear_a_time_out_that_has_come(rig: Rig) -> None:
    rig.clock.advance(start_timeout(rig))
    rig.chardev.feed(b"c")
    assert rig.read(IIR) == 0xCC


@pytest.mark.parametrize(
    ("lcr", "divisor", "half_bits"),
    [(0x03, 1, 20), (0x07, 1, 22), (0x1F, 2, 24), (0x00, 1, 14), (0x04, 1, 15), (0x03, 0, 20)],
    ids=["8N1", "8N2", "8E2", "5N1", "5N1.5", "divisor-0"],
)
def test_a_character_time_follows_the_frame_and_the_divisor(
    rig: Rig, lcr: int, divisor: int, half_bits: int
) -> None:
    rig.write(MCR, OUT2)
    rig.write(LCR, lcr)
    rig.set_divisor(divisor)
    rig.write(IER, 0x01)
    rig.write(FCR, FIFO_ON | 0xC0)
    rig.chardev.feed(b"a")
    timeout = 4 * half_bits * (divisor or 0x10000) * 16 * 1_000_000_000 // (2 * serial.CRYSTAL_HZ)
    rig.clock.advance(timeout - 10)
    assert rig.irq.level == 0
    rig.clock.advance(10)
    assert rig.irq.level == 1


def test_the_time_out_waits_for_its_enable_bit(rig: Rig) -> None:
    timeout = start_timeout(rig)
    rig.write(IER, 0)
    rig.clock.advance(timeout)
    assert (rig.irq.level, rig.read(IIR)) == (0, 0xC1)
    rig.write(IER, 0x01)
    assert rig.read(IIR) == 0xCC


def test_an_overrun_of_the_fifo_keeps_the_fifo_and_loses_the_newcomer(rig: Rig) -> None:
    rig.write(FCR, FIFO_ON)
    rig.uart.receive(bytes(range(17)))
    assert rig.read(LSR) == 0x63
    assert rig.read(LSR) == 0x61, "reading LSR clears OE"
    assert [rig.read(RBR) for _ in range(16)] == list(range(16))
    assert rig.read(LSR) == 0x60


def test_an_overrun_without_fifos_loses_the_old_character(rig: Rig) -> None:
    rig.uart.receive(b"ab")
    assert rig.read(LSR) == 0x63
    assert rig.read(RBR) == ord("b")


def test_a_line_error_interrupts_with_the_highest_priority_until_lsr_is_read(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x07)
    rig.uart.receive(b"ab")
    assert rig.read(IIR) == 0x06
    rig.read(LSR)
    assert rig.read(IIR) == 0x04
    rig.read(RBR)
    assert rig.read(IIR) == 0x02
    assert rig.irq.level == 0


def test_a_break_is_a_zero_character_with_bi(rig: Rig) -> None:
    rig.chardev.deliver_break()
    assert rig.read(LSR) == 0x71
    assert rig.read(LSR) == 0x61
    assert rig.read(RBR) == 0


def test_a_break_in_the_fifo_shows_when_it_comes_to_the_top(rig: Rig) -> None:
    rig.write(FCR, FIFO_ON)
    rig.chardev.feed(b"a")
    rig.chardev.deliver_break()
    assert rig.read(LSR) == 0xE1, "bit 7 tells of an error further down"
    rig.read(RBR)
    assert rig.read(LSR) == 0xF1
    assert rig.read(LSR) == 0x61


# -- FCR -----------------------------------------------------------------------------------------------


def test_iir_tells_whether_the_fifos_are_enabled(rig: Rig) -> None:
    assert rig.read(IIR) == 0x01
    rig.write(FCR, FIFO_ON)
    assert rig.read(IIR) == 0xC1
    rig.write(FCR, 0)
    assert rig.read(IIR) == 0x01


def test_receiver_reset_empties_the_fifo_and_stops_its_interrupts(rig: Rig) -> None:
    timeout = start_timeout(rig)
    rig.write(FCR, FIFO_ON | 0xC0 | 0x02)
    assert rig.read(LSR) == 0x60
    rig.clock.advance(2 * timeout)
    assert rig.read(IIR) == 0xC1


def test_transmitter_reset_leaves_the_receiver_alone(rig: Rig) -> None:
    rig.write(FCR, FIFO_ON)
    rig.chardev.feed(b"a")
    rig.write(FCR, FIFO_ON | 0x04)
    assert rig.read(RBR) == ord("a")


@pytest.mark.parametrize("first", [FIFO_ON, 0])
def test_changing_the_mode_empties_the_fifo(rig: Rig, first: int) -> None:
    rig.write(FCR, first)
    rig.uart.receive(b"a")
    rig.write(FCR, first ^ FIFO_ON)
    assert rig.read(LSR) == 0x60


def test_the_fifo_bits_are_only_programmed_together_with_the_enable_bit(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x01)
    rig.write(FCR, 0xC0)
    rig.chardev.feed(b"a")
    rig.write(FCR, 0x02)
    assert (rig.irq.level, rig.read(IIR), rig.read(LSR)) == (1, 0x04, 0x61)


def test_a_reset_of_the_receiver_lets_waiting_input_in(rig: Rig) -> None:
    rig.write(FCR, FIFO_ON)
    rig.chardev.feed(bytes(range(20)))
    rig.write(FCR, FIFO_ON | 0x02)
    assert [rig.read(RBR) for _ in range(4)] == [16, 17, 18, 19]
    assert rig.read(LSR) == 0x60


# -- modem control and status --------------------------------------------------------------------------


def test_out2_gates_the_irq_line(rig: Rig) -> None:
    rig.write(IER, 0x02)
    assert rig.irq.level == 0
    rig.write(MCR, OUT2)
    assert rig.irq.level == 1
    rig.write(MCR, 0)
    assert (rig.irq.level, rig.read(IIR)) == (0, 0x02)


def test_the_peers_modem_lines_are_asserted(rig: Rig) -> None:
    assert rig.read(MSR) == 0xB0


@pytest.mark.parametrize(
    ("mcr", "msr"), [(0x01, 0x20), (0x02, 0x10), (0x04, 0x40), (0x08, 0x80), (0x0F, 0xF0), (0x00, 0x00)]
)
def test_loopback_wires_the_modem_outputs_to_the_inputs(rig: Rig, mcr: int, msr: int) -> None:
    rig.write(MCR, LOOP | mcr)
    assert rig.read(MSR) & 0xF0 == msr


def test_linux_finds_its_loopback_signature(rig: Rig) -> None:
    rig.write(MCR, LOOP | 0x0A)
    assert rig.read(MSR) & 0xF0 == 0x90


def test_delta_bits_tell_what_changed_and_reading_msr_clears_them(rig: Rig) -> None:
    rig.write(MCR, LOOP | 0x0B)
    rig.read(MSR)
    rig.write(MCR, LOOP)
    assert rig.read(MSR) == 0x0B
    assert rig.read(MSR) == 0x00


def test_the_ring_delta_comes_at_the_end_of_the_ring_only(rig: Rig) -> None:
    rig.write(MCR, LOOP)
    rig.read(MSR)
    rig.write(MCR, LOOP | 0x04)
    assert rig.read(MSR) == 0x40
    rig.write(MCR, LOOP)
    assert rig.read(MSR) == 0x04


def test_a_modem_change_interrupts_with_the_lowest_priority_until_msr_is_read(rig: Rig) -> None:
    rig.write(IER, 0x0A)
    rig.write(MCR, LOOP | OUT2)
    assert rig.read(IIR) == 0x02
    assert (rig.read(IIR), rig.irq.level) == (0x00, 1)
    rig.read(MSR)
    assert (rig.read(IIR), rig.irq.level) == (NO_INTERRUPT, 0)


def test_loopback_receives_what_is_sent_and_the_line_sees_nothing(rig: Rig) -> None:
    rig.write(MCR, LOOP)
    rig.write(THR, 0xAE)
    assert rig.read(LSR) == 0x61
    assert rig.read(RBR) == 0xAE
    assert rig.chardev.output == b""


def test_loopback_carries_as_many_bits_as_the_word_has(rig: Rig) -> None:
    rig.write(LCR, 0x00)
    rig.write(MCR, LOOP)
    rig.write(THR, 0xFF)
    assert rig.read(RBR) == 0x1F


def test_loopback_can_overrun(rig: Rig) -> None:
    rig.write(MCR, LOOP)
    rig.write(FCR, FIFO_ON)
    for value in range(17):
        rig.write(THR, value)
    assert rig.read(LSR) == 0x63


def test_input_waits_while_in_loopback(rig: Rig) -> None:
    rig.write(MCR, LOOP)
    rig.chardev.feed(b"z")
    rig.chardev.deliver_break()
    assert (rig.read(LSR), rig.chardev.waiting) == (0x60, 1)
    rig.write(MCR, 0)
    assert rig.read(RBR) == ord("z")


def test_characters_forced_into_a_uart_in_loopback_are_lost(rig: Rig) -> None:
    rig.write(MCR, LOOP)
    rig.uart.receive(b"z")
    assert rig.read(LSR) == 0x60


# -- the rest ------------------------------------------------------------------------------------------


def test_scratch_holds_a_byte(rig: Rig) -> None:
    for value in (0x5A, 0xA5):
        rig.write(SCR, value)
        assert rig.read(SCR) == value


def test_reserved_bits_of_ier_and_mcr_read_zero(rig: Rig) -> None:
    rig.write(IER, 0xFF)
    rig.write(MCR, 0xFF)
    assert (rig.read(IER), rig.read(MCR)) == (0x0F, 0x1F)


def test_writing_the_status_registers_changes_nothing(rig: Rig) -> None:
    rig.write(LSR, 0x00)
    rig.write(MSR, 0x0F)
    assert (rig.read(LSR), rig.read(MSR)) == (0x60, 0xB0)


def test_only_writes_that_cannot_change_lsr_are_posted(rig: Rig) -> None:
    assert rig.region.posted == {THR, IER, LCR, SCR}


def test_lsr_is_published_while_reading_it_has_no_side_effect(rig: Rig) -> None:
    published: list[tuple[bool, int]] = []
    rig.shadow.bind(lambda register: published.append((register.published, register.value)))
    rig.chardev.feed(b"x")
    rig.read(RBR)
    assert published == [(True, 0x60), (True, 0x61), (True, 0x60)]


def test_a_receiver_reset_is_published_at_once(rig: Rig) -> None:
    rig.write(FCR, FIFO_ON)
    rig.chardev.feed(b"x")
    assert rig.shadow.value == 0x61
    rig.write(FCR, FIFO_ON | 0x02)
    assert rig.shadow.value == 0x60


def test_lsr_is_withdrawn_while_it_has_an_error_to_clear(rig: Rig) -> None:
    rig.uart.receive(b"ab")
    assert not rig.shadow.published
    rig.read(LSR)
    assert (rig.shadow.published, rig.shadow.value) == (True, 0x61)


def test_lsr_is_withdrawn_in_loopback_where_a_posted_write_changes_it(rig: Rig) -> None:
    rig.write(MCR, LOOP)
    assert not rig.shadow.published
    rig.write(MCR, 0)
    assert (rig.shadow.published, rig.shadow.value) == (True, 0x60)


def test_a_withdrawn_register_is_published_again_with_the_value_it_had(rig: Rig) -> None:
    published: list[bool] = []
    rig.shadow.bind(lambda register: published.append(register.published))
    rig.write(MCR, LOOP)
    rig.write(MCR, LOOP)
    rig.write(MCR, 0)
    assert published == [True, False, True]


def test_reset_silences_the_line_and_forgets_the_registers(rig: Rig) -> None:
    rig.write(FCR, FIFO_ON)
    rig.write(IER, 0x0F)
    rig.write(MCR, OUT2)
    rig.write(SCR, 1)
    rig.write(LCR, 0x1B)
    rig.chardev.feed(b"abc")
    assert rig.irq.level == 1
    rig.uart.reset()
    assert rig.irq.level == 0
    assert [rig.read(r) for r in (IER, IIR, LCR, MCR, LSR, MSR, SCR)] == [0, 1, 3, 0, 0x60, 0xB0, 0]
    assert rig.clock.queue.next_deadline() is None


def test_state_goes_to_another_uart_with_its_irq_its_fifo_and_the_time_left() -> None:
    rig = Rig()
    timeout = start_timeout(rig)
    rig.write(SCR, 0x77)
    rig.chardev.deliver_break()
    rig.clock.advance(timeout - 1_000)
    state = msgpack.unpackb(msgpack.packb(rig.uart.state()))

    other = Rig()
    other.clock.advance(123_456_789)
    other.uart.load(state)
    assert other.uart.state() == state
    assert other.irq.level == 0
    other.clock.advance(1_000)
    assert (other.irq.level, other.read(IIR)) == (1, 0xCC)
    assert other.read(LSR) == 0xE1
    assert bytes(other.read(RBR) for _ in range(3)) == b"ab\0"
    assert other.read(SCR) == 0x77


def test_a_pending_thre_interrupt_survives_a_move() -> None:
    rig = Rig()
    rig.write(MCR, OUT2)
    rig.write(IER, 0x02)
    rig.write(THR, 0x41)
    other = Rig()
    other.uart.load(rig.uart.state())
    assert (other.irq.level, other.read(IIR)) == (1, 0x02)


def test_an_error_waiting_in_lsr_survives_a_move_unpublished() -> None:
    rig = Rig()
    rig.uart.receive(b"ab")
    other = Rig()
    other.uart.load(rig.uart.state())
    assert not other.shadow.published
    assert other.read(LSR) == 0x63


def test_what_was_due_before_a_load_does_not_happen_after_it() -> None:
    idle = Rig().uart.state()
    rig = Rig()
    timeout = start_timeout(rig)
    rig.write(IER, 0x03)
    rig.write(THR, 0x41)
    rig.uart.load(idle)
    assert rig.clock.queue.next_deadline() is None
    rig.clock.advance(timeout)
    assert rig.uart.state() == idle


def test_a_uart_that_leaves_lets_go_of_line_and_chardev(rig: Rig) -> None:
    rig.write(IER, 0x02)
    rig.write(MCR, OUT2)
    rig.clock.advance(1_000_000)
    assert rig.irq.level == 1
    qdev_unrealize(rig.uart)
    assert rig.irq.level == 0
    rig.chardev.feed(b"x")
    assert rig.chardev.waiting == 1


# -- several bytes at once -----------------------------------------------------------------------------


def test_a_string_for_thr_is_sent_whole_and_makes_one_edge(rig: Rig) -> None:
    rig.write(MCR, OUT2)
    rig.write(IER, 0x02)
    rig.read(IIR)
    rig.edges.clear()
    rig.space.write_string(BASE + THR, b"hello")
    rig.clock.advance(1)
    assert rig.chardev.output == b"hello"
    assert rig.edges == [1]


def test_a_string_for_thr_comes_back_in_loopback(rig: Rig) -> None:
    rig.write(FCR, FIFO_ON)
    rig.write(MCR, 0x10)
    rig.space.write_string(BASE + THR, b"hello")
    assert rig.chardev.output == b""
    assert bytes(rig.read(RBR) for _ in range(5)) == b"hello"


def test_a_string_for_the_divisor_leaves_its_last_byte_there(rig: Rig) -> None:
    rig.write(LCR, 0x80)
    rig.space.write_string(BASE + DLL, b"\x01\x23")
    assert rig.read(DLL) == 0x23
    assert rig.chardev.output == b""


def uarts(*given: dict[str, int]) -> list[Uart16550A]:
    bus = IsaBus()
    bus.wiring = Wiring(FakeSystem(ManualClock()), lambda irq: IrqLine())
    made = [Uart16550A(**properties) for properties in given]
    for uart in made:
        qdev_realize(uart, bus)
    return made


def test_each_uart_is_the_next_of_com1_to_com4() -> None:
    made = uarts({}, {}, {}, {})
    assert [(uart.index, uart.iobase, uart.irq) for uart in made] == [
        *((0, 0x3F8, 4), (1, 0x2F8, 3), (2, 0x3E8, 4), (3, 0x2E8, 3)),
    ]


def test_an_index_or_a_place_of_its_own_goes_before_that() -> None:
    made = uarts({"index": 3}, {"iobase": 0x100}, {"irq": 9})
    assert [(uart.iobase, uart.irq) for uart in made] == [(0x2E8, 3), (0x100, 3), (0x3E8, 9)]


def test_a_fifth_uart_needs_a_place_of_its_own() -> None:
    four: list[dict[str, int]] = [{}, {}, {}, {}]
    assert uarts(*four, {"iobase": 0x100, "irq": 5})[4].iobase == 0x100
    for wrong in ({}, {"iobase": 0x100}, {"index": 4}):
        with pytest.raises(ConfigError, match=r"isa-serial.index: 4 is out of range, 0 to 3 is right"):
            uarts(*four, wrong)
