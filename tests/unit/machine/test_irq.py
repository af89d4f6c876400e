"""The board's interrupt wires."""

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.hw.device import SharedWire
from mpvm.machine.irq import IrqRouter


def test_a_shared_wire_is_high_while_anyone_drives_it() -> None:
    heard: list[int] = []
    wire = SharedWire(heard.append)
    one, two = wire.input(), wire.input()
    one.raise_()
    two.raise_()
    one.lower()
    assert heard == [1]
    two.lower()
    assert heard == [1, 0]


class Controllers:
    def __init__(self) -> None:
        self.pic: list[tuple[int, int]] = []
        self.ioapic: list[tuple[int, int]] = []
        self.router = IrqRouter(
            lambda n, level: self.pic.append((n, level)), lambda pin, level: self.ioapic.append((pin, level))
        )


def test_an_isa_line_reaches_both_controllers() -> None:
    board = Controllers()
    board.router.line(4).raise_()
    assert (board.pic, board.ioapic) == ([(4, 1)], [(4, 1)])


def test_the_pit_is_pin_2_of_the_io_apic_and_line_0_of_the_8259() -> None:
    board = Controllers()
    board.router.line(0).pulse()
    assert board.pic == [(0, 1), (0, 0)]
    assert board.ioapic == [(2, 0), (2, 1), (2, 0)]


def test_com1_and_com3_share_a_wire() -> None:
    board = Controllers()
    com1, com3 = board.router.line(4), board.router.line(4)
    com1.raise_()
    com3.raise_()
    com1.lower()
    assert board.pic == [(4, 1)]


def test_a_gsi_above_the_isas_reaches_the_io_apic_alone() -> None:
    board = Controllers()
    board.router.gsi(16).raise_()
    board.router.gsi(23).raise_()
    assert (board.pic, board.ioapic) == ([], [(16, 1), (23, 1)])


def test_a_gsi_of_the_isas_shares_the_isas_wire() -> None:
    board = Controllers()
    board.router.line(4).raise_()
    board.router.gsi(4).raise_()
    board.router.gsi(0).raise_()
    assert board.pic == [(4, 1), (0, 1)]
    assert board.ioapic == [(4, 1), (2, 0), (2, 1)]


def test_there_are_24_gsis_of_which_16_are_the_isas() -> None:
    router = Controllers().router
    with pytest.raises(ConfigError, match="one from 0 to 23 is right"):
        router.gsi(24)
    with pytest.raises(ConfigError, match="one from 0 to 15 is right"):
        router.line(16)


def test_the_pit_and_the_rtc_go_nowhere_while_they_are_replaced() -> None:
    board = Controllers()
    rtc = board.router.line(8)
    rtc.raise_()
    board.router.replace_legacy(True)
    board.router.line(0).raise_()
    board.router.gsi(0).pulse()
    assert board.pic == [(8, 1), (8, 0), (0, 1), (0, 0)]
    board.router.replace_legacy(False)
    assert board.pic[4:] == [(0, 1), (8, 1)]


def test_each_of_the_lines_that_share_pin_2_makes_edges_there() -> None:
    board = Controllers()
    board.router.gsi(0).raise_()
    board.router.gsi(2).pulse()
    assert board.ioapic == [(2, 0), (2, 1), (2, 0), (2, 1), (2, 0)]
    assert board.pic == [(0, 1)]
