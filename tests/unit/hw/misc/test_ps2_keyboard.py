"""The keyboard's answers, command by command."""

import pytest

from mpvm.hw.misc.ps2_keyboard import Ps2Keyboard


@pytest.fixture
def keyboard() -> Ps2Keyboard:
    return Ps2Keyboard()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (0xFF, [0xFA, 0xAA]),
        (0xF2, [0xFA, 0xAB, 0x83]),
        (0xEE, [0xEE]),
        (0xF4, [0xFA]),
        (0xF5, [0xFA]),
        (0xF6, [0xFA]),
        (0xF7, [0xFA]),
        (0xFA, [0xFA]),
        (0xFB, [0xFE]),
        (0xEF, [0xFE]),
        (0x12, [0xFE]),
    ],
    ids=lambda value: f"{value:#x}" if isinstance(value, int) else "",
)
def test_each_command_has_its_answer(keyboard: Ps2Keyboard, command: int, answer: list[int]) -> None:
    assert keyboard.write(command) == answer


def test_leds_are_set_by_the_byte_after_the_command(keyboard: Ps2Keyboard) -> None:
    assert (keyboard.write(0xED), keyboard.write(0x05)) == ([0xFA], [0xFA])
    assert keyboard.leds == 0x05
    assert keyboard.write(0x05) == [0xFE], "the argument has been taken"


def test_a_command_in_place_of_an_argument_is_a_command(keyboard: Ps2Keyboard) -> None:
    keyboard.write(0xED)
    assert keyboard.write(0xF2) == [0xFA, 0xAB, 0x83]
    assert keyboard.leds == 0


def test_the_scan_code_set_is_chosen_and_told(keyboard: Ps2Keyboard) -> None:
    keyboard.write(0xF0)
    assert keyboard.write(0x00) == [0xFA, 0x02]
    keyboard.write(0xF0)
    assert keyboard.write(0x03) == [0xFA]
    keyboard.write(0xF0)
    assert keyboard.write(0x00) == [0xFA, 0x03]


def test_a_scan_code_set_that_does_not_exist_is_refused(keyboard: Ps2Keyboard) -> None:
    keyboard.write(0xF0)
    assert keyboard.write(0x04) == [0xFE]
    assert keyboard.scan_code_set == 2


def test_the_typematic_rate_is_taken_and_defaults_bring_it_back(keyboard: Ps2Keyboard) -> None:
    keyboard.write(0xF3)
    keyboard.write(0xC4)
    assert keyboard.typematic == 0x44, "bit 7 is always 0"
    keyboard.write(0xF6)
    assert keyboard.typematic == 0x2B


def test_scanning_stops_and_starts(keyboard: Ps2Keyboard) -> None:
    keyboard.write(0xF5)
    assert not keyboard.scanning
    keyboard.write(0xF6)
    assert not keyboard.scanning, "defaults do not start it"
    keyboard.write(0xF4)
    assert keyboard.scanning


def test_resend_repeats_the_last_byte(keyboard: Ps2Keyboard) -> None:
    keyboard.write(0xF2)
    assert keyboard.write(0xFE) == [0x83]


def test_reset_returns_to_defaults(keyboard: Ps2Keyboard) -> None:
    for byte in (0xED, 0x07, 0xF0, 0x01, 0xF5):
        keyboard.write(byte)
    keyboard.write(0xFF)
    assert (keyboard.leds, keyboard.scan_code_set, keyboard.scanning) == (0, 2, True)


def test_state_takes_a_due_argument_along(keyboard: Ps2Keyboard) -> None:
    for byte in (0xF5, 0xF0, 0x01, 0xF3, 0x11, 0xED, 0x04, 0xED):
        keyboard.write(byte)
    other = Ps2Keyboard()
    other.load(keyboard.state())
    assert (other.state(), other.leds, other.typematic) == (keyboard.state(), 0x04, 0x11)
    other.write(0x02)
    assert (other.leds, other.scan_code_set, other.scanning) == (0x02, 1, False)
