"""The 8042 keyboard controller, command by command."""

from collections.abc import Callable

import msgpack
import pytest

from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.misc.i8042 import I8042
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import FakeSystem, plug

DATA, COMMAND = 0x60, 0x64
OBF, SYS, CMD, AUX_OBF, TIMEOUT = 0x01, 0x04, 0x08, 0x20, 0x40


class Rig:
    def __init__(self) -> None:
        self.edges: list[int] = []
        self.irq1 = IrqLine(self.edges.append)
        self.irq12 = IrqLine()
        self.resets = 0
        self.a20: list[bool] = []
        self.device = I8042()
        self.device.set_a20 = self.a20.append
        system = FakeSystem(ManualClock(), request_reset=self.request_reset)
        plug(self.device, system, {1: self.irq1, 12: self.irq12})
        self.space = AddressSpace("io", 0x10000)
        for base, region in self.device.ports():
            self.space.map(base, region)

    def request_reset(self) -> None:
        self.resets += 1

    def command(self, command: int, *data: int) -> None:
        self.space.write(COMMAND, 1, command)
        for byte in data:
            self.space.write(DATA, 1, byte)

    def keyboard(self, *data: int) -> None:
        for byte in data:
            self.space.write(DATA, 1, byte)

    def status(self) -> int:
        return self.space.read(COMMAND, 1)

    def answer(self) -> list[int]:
        """Everything that waits, as a driver reads it: while OBF is set."""
        got = []
        while self.status() & OBF:
            got.append(self.space.read(DATA, 1))
        return got


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_status_at_first_is_tested_and_unlocked_with_nothing_to_read(rig: Rig) -> None:
    assert rig.status() == 0x14


def test_status_tells_a_command_from_data(rig: Rig) -> None:
    rig.command(0xAE)
    assert rig.status() & CMD
    rig.keyboard(0xF4)
    assert not rig.status() & CMD


def test_the_self_test_passes_and_leaves_the_interfaces_off(rig: Rig) -> None:
    rig.command(0xAA)
    assert rig.answer() == [0x55]
    rig.command(0x20)
    assert rig.answer() == [0x34]
    assert rig.status() & SYS


def test_the_self_test_drops_what_was_waiting(rig: Rig) -> None:
    rig.keyboard(0xF2)
    rig.command(0xAA)
    assert rig.answer() == [0x55]


def test_the_keyboard_interface_test_passes(rig: Rig) -> None:
    rig.command(0xAB)
    assert rig.answer() == [0x00]


def test_the_auxiliary_interface_test_names_an_error(rig: Rig) -> None:
    rig.command(0xA9)
    assert rig.answer() == [0x01]


def test_the_command_byte_is_written_and_read(rig: Rig) -> None:
    rig.command(0x60, 0x47)
    rig.command(0x20)
    assert rig.answer() == [0x47]


def test_reserved_bits_of_the_command_byte_read_zero(rig: Rig) -> None:
    rig.command(0x60, 0xFF)
    rig.command(0x20)
    assert rig.answer() == [0x77]


def test_the_system_flag_of_the_command_byte_shows_in_status(rig: Rig) -> None:
    rig.command(0x60, 0x00)
    assert not rig.status() & SYS
    rig.command(0x60, 0x04)
    assert rig.status() & SYS


def test_the_controllers_ram_holds_what_is_written(rig: Rig) -> None:
    rig.command(0x7F, 0xA5)
    rig.command(0x61, 0x5A)
    rig.command(0x3F)
    rig.command(0x21)
    assert rig.answer() == [0xA5, 0x5A]


@pytest.mark.parametrize(
    ("off", "on", "bit"), [(0xAD, 0xAE, 0x10), (0xA7, 0xA8, 0x20)], ids=["keyboard", "auxiliary"]
)
def test_an_interface_is_switched_in_the_command_byte(rig: Rig, off: int, on: int, bit: int) -> None:
    rig.command(off)
    rig.command(0x20)
    assert rig.answer()[0] & bit
    rig.command(on)
    rig.command(0x20)
    assert not rig.answer()[0] & bit


# -- the keyboard --------------------------------------------------------------------------------------


def test_the_keyboard_answers_a_reset(rig: Rig) -> None:
    rig.keyboard(0xFF)
    assert rig.answer() == [0xFA, 0xAA]


def test_the_identity_is_translated_as_scan_codes_are(rig: Rig) -> None:
    rig.keyboard(0xF2)
    assert rig.answer() == [0xFA, 0xAB, 0x41]
    rig.command(0x60, 0x05)
    rig.keyboard(0xF2)
    assert rig.answer() == [0xFA, 0xAB, 0x83]


def test_a_disabled_interface_holds_the_keyboards_bytes_back(rig: Rig) -> None:
    rig.keyboard(0xF2)
    assert rig.space.read(DATA, 1) == 0xFA
    rig.command(0xAD)
    assert rig.space.read(DATA, 1) == 0xAB, "it was in the output buffer already"
    assert rig.answer() == []
    rig.command(0xAE)
    assert rig.answer() == [0x41]


def test_a_byte_for_the_keyboard_turns_its_interface_on(rig: Rig) -> None:
    rig.command(0xAD)
    rig.keyboard(0xF4)
    assert rig.answer() == [0xFA]


def test_the_controllers_reply_comes_before_the_keyboards_next_byte(rig: Rig) -> None:
    rig.keyboard(0xF2)
    rig.command(0xAB)
    assert rig.answer() == [0xFA, 0x00, 0xAB, 0x41]


def test_reading_an_empty_output_buffer_repeats_the_last_byte(rig: Rig) -> None:
    rig.keyboard(0xEE)
    rig.answer()
    assert rig.space.read(DATA, 1) == 0xEE


# -- interrupts ----------------------------------------------------------------------------------------


def test_each_byte_is_an_edge_on_irq1(rig: Rig) -> None:
    rig.keyboard(0xFF)
    rig.answer()
    assert rig.edges == [1, 0, 1, 0]


def test_without_its_enable_bit_irq1_stays_low(rig: Rig) -> None:
    rig.command(0x60, 0x44)
    rig.keyboard(0xFF)
    assert (rig.status() & OBF, rig.irq1.level) == (OBF, 0)
    rig.command(0x60, 0x45)
    assert rig.irq1.level == 1


# -- no auxiliary device -------------------------------------------------------------------------------


def test_a_byte_for_the_auxiliary_device_times_out(rig: Rig) -> None:
    rig.command(0xD4, 0xFF)
    assert rig.status() & (OBF | AUX_OBF | TIMEOUT) == OBF | AUX_OBF | TIMEOUT
    assert rig.answer() == [0xFE]
    assert not rig.status() & (AUX_OBF | TIMEOUT)


def test_the_time_out_raises_irq12_where_it_is_enabled_and_never_irq1(rig: Rig) -> None:
    rig.command(0xD4, 0xFF)
    assert (rig.irq1.level, rig.irq12.level) == (0, 0)
    rig.command(0x60, 0x47)
    assert (rig.irq1.level, rig.irq12.level) == (0, 1)
    rig.answer()
    assert rig.irq12.level == 0


def test_the_auxiliary_loop_back_is_not_marked_auxiliary(rig: Rig) -> None:
    rig.command(0xD3, 0x5A)
    assert not rig.status() & AUX_OBF
    assert rig.answer() == [0x5A]


def test_a_byte_put_into_the_keyboards_output_buffer_comes_untranslated(rig: Rig) -> None:
    rig.command(0xD2, 0x83)
    assert (rig.irq1.level, rig.answer()) == (1, [0x83])


# -- output port, A20, reset ---------------------------------------------------------------------------


def test_the_output_port_shows_a20_and_the_interrupt_outputs(rig: Rig) -> None:
    rig.command(0xD0)
    assert rig.answer() == [0xC3]
    rig.keyboard(0xEE)
    rig.command(0xD0)
    assert rig.answer() == [0xEE, 0xD3]


def test_writing_the_output_port_drives_a20(rig: Rig) -> None:
    rig.command(0xD1, 0xDD)
    assert rig.a20[-1] is False
    rig.command(0xD0)
    assert rig.answer() == [0xC1]
    rig.command(0xD1, 0xDF)
    assert (rig.a20[-1], rig.resets) == (True, 0)


def test_0xdd_closes_a20_and_0xdf_opens_it(rig: Rig) -> None:
    rig.command(0xDD)
    assert rig.a20[-1] is False
    rig.command(0xDF)
    assert (rig.a20[-1], rig.resets) == (True, 0)


def test_writing_the_output_port_with_reset_low_resets(rig: Rig) -> None:
    rig.command(0xD1, 0xDE)
    assert rig.resets == 1


@pytest.mark.parametrize(
    ("command", "resets"), [(0xFE, 1), (0xF0, 1), (0xFC, 1), (0xFF, 0), (0xFD, 0), (0xF1, 0)]
)
def test_a_pulse_resets_when_it_takes_the_reset_bit_low(rig: Rig, command: int, resets: int) -> None:
    rig.command(command)
    assert (rig.resets, rig.a20) == (resets, [])


def test_the_input_port_says_unlocked(rig: Rig) -> None:
    rig.command(0xC0)
    assert rig.answer() == [0xB0]


def test_an_unknown_command_is_ignored_and_swallows_no_data(rig: Rig) -> None:
    rig.command(0xB5)
    assert rig.answer() == []
    rig.keyboard(0xEE)
    assert rig.answer() == [0xEE]


def test_a_new_command_takes_the_place_of_one_that_waits_for_data(rig: Rig) -> None:
    rig.command(0xD1)
    rig.command(0xAE)
    rig.keyboard(0xEE)
    assert (rig.answer(), rig.resets) == ([0xEE], 0)


def test_data_is_read_without_the_device_only_while_the_output_buffer_is_empty(rig: Rig) -> None:
    shadow = rig.device.ports()[0][1].shadows[0]
    rig.command(0x20)
    assert not shadow.published
    value = rig.space.read(DATA, 1)
    assert shadow.published
    assert shadow.read(0) == value == rig.space.read(DATA, 1)


def test_both_ports_tell_of_a_byte_before_its_interrupt_comes(rig: Rig) -> None:
    data, status = (region.shadows[0] for _, region in rig.device.ports())
    seen: list[tuple[bool, int]] = []
    rig.command(0x60, 0x01)
    rig.device._irq1 = IrqLine(lambda level: seen.append((data.published, status.read(0) & OBF)))
    rig.command(0xD2, 0x1C)
    assert seen[-1] == (False, OBF)


# -- shadow, reset, state ------------------------------------------------------------------------------


def test_status_is_published_and_always_agrees(rig: Rig) -> None:
    shadow = rig.device.ports()[1][1].shadows[0]
    for step in (lambda: rig.keyboard(0xFF), rig.answer, lambda: rig.command(0xD4, 0), rig.device.reset):
        step()
        assert shadow.read(0) == rig.status()


def test_no_write_is_posted(rig: Rig) -> None:
    assert [region.posted for _, region in rig.device.ports()] == [frozenset(), frozenset()]


def test_reset_drops_what_waits_and_opens_a20(rig: Rig) -> None:
    rig.command(0x60, 0x01)
    rig.command(0xDD)
    rig.keyboard(0xED)
    rig.device.reset()
    assert (rig.status(), rig.irq1.level, rig.a20[-1]) == (0x14, 0, True)
    rig.command(0x20)
    assert rig.answer() == [0x65]
    rig.keyboard(0x05)
    assert rig.answer() == [0xFE], "the keyboard forgot its command, too"


def test_state_takes_bytes_on_their_way_and_a_due_argument_along(rig: Rig) -> None:
    rig.command(0x65, 0x99)
    rig.command(0xDD)
    rig.keyboard(0xF2)
    rig.command(0x25)
    rig.command(0xD1)
    state = msgpack.unpackb(msgpack.packb(rig.device.state()))
    other = Rig()
    other.device.load(state)
    assert other.device.state() == state
    assert (other.status(), other.irq1.level, other.a20) == (rig.status(), 1, [False])
    other.space.write(DATA, 1, 0xDF)
    assert other.a20[-1] is True
    assert other.answer() == [0xFA, 0x99, 0xAB, 0x41]


def test_a_time_out_in_the_output_buffer_moves_with_its_flags(rig: Rig) -> None:
    rig.command(0x60, 0x47)
    rig.command(0xD4, 0x00)
    other = Rig()
    other.device.load(rig.device.state())
    assert other.status() & (OBF | AUX_OBF | TIMEOUT) == OBF | AUX_OBF | TIMEOUT
    assert (other.irq1.level, other.irq12.level) == (0, 1)


def test_a_command_that_there_is_not_is_a_guest_error(rig: Rig, logged: Callable[[], list[str]]) -> None:
    rig.command(0xAA)
    # The first takes an argument, which is no command.
    rig.command(0xD1, 0xDF)
    rig.command(0xAE)
    rig.keyboard(0xED, 0x07)
    assert logged() == []
    rig.keyboard(0xF1)
    rig.command(0xB0)
    assert logged() == [
        "guest_errors: PS/2 keyboard: unknown command 0xf1",
        "guest_errors: i8042: unknown command 0xb0",
    ]
