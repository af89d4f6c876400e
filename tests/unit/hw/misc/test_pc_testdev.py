"""The test device: interrupt lines that a guest drives, ports and memory that are read back."""

from collections.abc import Callable

import pytest

from mpvm.hw.device import IrqLine
from mpvm.hw.misc.pc_testdev import (
    BYTE_ECHO_PORT,
    ECHO_PORT,
    FLUSH_PORT,
    IRQ_LINES,
    IRQ_PORT,
    MEMORY_BASE,
    MEMORY_SIZE,
    PcTestdev,
)
from tests.unit.hw.plug import plug


class Bench:
    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []
        self.lines = {n: IrqLine(self._sink(n)) for n in range(IRQ_LINES)}
        self.device = plug(PcTestdev(), lines=self.lines)
        wiring = self.device.wiring
        self.ports, self.memory = wiring.ports, wiring.memory

    def _sink(self, n: int) -> Callable[[int], None]:
        return lambda level: self.heard.append((n, level))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_byte_is_the_level_of_its_line(bench: Bench) -> None:
    for line in (0, 14, 23):
        bench.ports.write(IRQ_PORT + line, 1, 1)
        bench.ports.write(IRQ_PORT + line, 1, 0x80)
        bench.ports.write(IRQ_PORT + line, 1, 0)
    assert bench.heard == [(n, level) for n in (0, 14, 23) for level in (1, 0)]


def test_a_line_takes_bytes_alone_and_reads_as_zero(bench: Bench) -> None:
    bench.ports.write(IRQ_PORT + 4, 2, 1)
    bench.ports.write(IRQ_PORT + 4, 4, 1)
    assert bench.heard == []
    bench.ports.write(IRQ_PORT + 4, 1, 1)
    assert bench.ports.read(IRQ_PORT + 4, 1) == 0
    assert bench.ports.read(IRQ_PORT + IRQ_LINES, 1) == 0xFF


def test_no_write_to_a_line_is_posted(bench: Bench) -> None:
    assert not any(region.posted for _, region in bench.device.ports())


@pytest.mark.parametrize("base", [ECHO_PORT, BYTE_ECHO_PORT])
def test_ports_are_read_back_in_every_width(bench: Bench, base: int) -> None:
    bench.ports.write(base, 4, 0x44332211)
    assert bench.ports.read(base, 4) == 0x44332211
    bench.ports.write(base + 2, 2, 0xBBAA)
    bench.ports.write(base + 1, 1, 0x99)
    assert [bench.ports.read(base + n, 1) for n in range(4)] == [0x11, 0x99, 0xAA, 0xBB]
    assert bench.ports.read(base + 2, 2) == 0xBBAA


def test_both_echoes_are_the_same_four_bytes(bench: Bench) -> None:
    bench.ports.write(ECHO_PORT, 4, 0x04030201)
    assert bench.ports.read(BYTE_ECHO_PORT + 1, 1) == 2
    bench.ports.write(BYTE_ECHO_PORT + 3, 1, 0xEE)
    assert bench.ports.read(ECHO_PORT, 4) == 0xEE030201


def test_an_access_off_its_own_multiple_is_none(bench: Bench) -> None:
    bench.ports.write(ECHO_PORT, 4, 0x04030201)
    bench.ports.write(ECHO_PORT + 1, 2, 0xFFFF)
    assert bench.ports.read(ECHO_PORT + 1, 2) == 0
    assert bench.ports.read(ECHO_PORT, 4) == 0x04030201


def test_each_byte_of_an_echo_is_published(bench: Bench) -> None:
    echoes = [region for _, region in bench.device.ports() if region.shadows]
    bench.ports.write(BYTE_ECHO_PORT, 4, 0x44332211)
    bench.ports.write(ECHO_PORT + 1, 1, 0x99)
    assert [[echo.shadows[n].read(0) for n in range(4)] for echo in echoes] == [[0x11, 0x99, 0x33, 0x44]] * 2


def test_the_flush_port_reads_as_zero(bench: Bench) -> None:
    bench.ports.write(FLUSH_PORT, 4, 0x1000)
    assert bench.ports.read(FLUSH_PORT, 4) == 0


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_memory_is_read_back_in_every_width(bench: Bench, size: int) -> None:
    value = 0x8877665544332211 & (1 << 8 * size) - 1
    for offset in (0, 8, MEMORY_SIZE - size):
        bench.memory.write(MEMORY_BASE + offset, size, value)
        assert bench.memory.read(MEMORY_BASE + offset, size) == value
    assert bench.memory.read(MEMORY_BASE + MEMORY_SIZE, 1) == 0xFF


def test_a_reset_lowers_the_lines_and_keeps_the_rest(bench: Bench) -> None:
    bench.ports.write(IRQ_PORT + 5, 1, 1)
    bench.ports.write(ECHO_PORT, 1, 7)
    bench.device.reset()
    assert bench.heard == [(5, 1), (5, 0)]
    assert bench.ports.read(ECHO_PORT, 1) == 7


def test_its_state_is_what_another_one_needs(bench: Bench) -> None:
    bench.ports.write(IRQ_PORT + 9, 1, 1)
    bench.ports.write(ECHO_PORT, 4, 0x1234)
    bench.memory.write(MEMORY_BASE + 0x10, 8, 0xDEADBEEF)
    other = Bench()
    other.device.load(bench.device.state())
    assert other.heard == [(9, 1)]
    assert other.ports.read(ECHO_PORT, 4) == 0x1234
    assert other.memory.read(MEMORY_BASE + 0x10, 8) == 0xDEADBEEF
