"""The console's escape key."""

import pytest

from mpvm.coordinator.chardev.escape import Command, EscapeParser


def parse(*pieces: bytes) -> list[bytes | Command]:
    parser = EscapeParser()
    return [found for piece in pieces for found in parser.feed(piece)]


def test_bytes_without_the_escape_are_the_guests() -> None:
    assert parse(b"ls\r\x03\x1b[A\xff") == [b"ls\r\x03\x1b[A\xff"]


@pytest.mark.parametrize("command", Command)
def test_the_escape_and_a_letter_are_a_command(command: Command) -> None:
    assert parse(b"\x01" + command.value.encode()) == [command]


def test_the_escape_twice_is_the_guests_escape() -> None:
    assert parse(b"a\x01\x01b") == [b"a\x01b"]


def test_an_unknown_letter_is_dropped_with_its_escape() -> None:
    assert parse(b"a\x01qb") == [b"ab"]


def test_the_letter_may_come_later() -> None:
    assert parse(b"a\x01", b"xb") == [b"a", Command.QUIT, b"b"]


def test_input_before_and_after_a_command_keeps_its_order() -> None:
    assert parse(b"one\x01htwo\x01bthree") == [b"one", Command.HELP, b"two", Command.BREAK, b"three"]


def test_an_escape_is_done_after_its_letter() -> None:
    assert parse(b"\x01hx") == [Command.HELP, b"x"]
