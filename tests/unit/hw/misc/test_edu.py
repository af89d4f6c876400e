"""The device to learn drivers from: registers, interrupts by pin and by message, and copies."""

import math

import pytest

from mpvm.hw.bus import Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.misc.edu import Edu, factorial
from mpvm.hw.pci.bus import PciBus
from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam, ram_slots
from tests.unit.hw.plug import FakeSystem

MEMORY = 1 << 20
BASE, BUFFER = 0xFEA00000, 0x40000
IDENTITY, LIVENESS, FACTORIAL, STATUS, INTERRUPTS, RAISE, ACKNOWLEDGE = 0, 4, 8, 0x20, 0x24, 0x60, 0x64
SOURCE, DESTINATION, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
MSI = 0x40


class Rig:
    def __init__(self) -> None:
        self.levels: list[int] = []
        self.messages: list[tuple[int, int, int]] = []
        self.ram = GuestRam(memoryview(bytearray(MEMORY)), ram_slots(MEMORY))
        dma = DmaMemory(self.ram, self.ram.write)
        self.wiring = Wiring(FakeSystem(ManualClock()), lambda irq: IrqLine(), dma)
        self.bus = PciBus()
        self.bus.wiring = self.wiring
        self.bus.intx = lambda device, pin: IrqLine(self.levels.append)
        self.bus.deliver = lambda *message: self.messages.append(message)
        self.device = Edu()
        self.bus.add(self.device, 3)
        self.config(0x10, BASE)
        self.config(4, 6)

    def config(self, offset: int, value: int) -> None:
        self.bus.write(3, 0, offset, 4, value)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        self.wiring.memory.write(BASE + offset, size, value)

    def read(self, offset: int, size: int = 4) -> int:
        return self.wiring.memory.read(BASE + offset, size)

    def use_message(self, address: int, data: int) -> None:
        for offset, value in ((4, address), (8, address >> 32), (12, data), (0, 1 << 16)):
            self.config(MSI + offset, value)

    def copy(self, source: int, destination: int, count: int, command: int) -> None:
        for offset, value in ((SOURCE, source), (DESTINATION, destination), (COUNT, count)):
            self.write(offset, value, 8)
        self.write(COMMAND, command)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_it_says_who_it_is(rig: Rig) -> None:
    assert rig.bus.read(3, 0, 0, 4) == 0x11E81234
    assert rig.read(IDENTITY) == 0x010000ED
    assert (rig.bus.read(3, 0, 0x34, 1), rig.bus.read(3, 0, MSI, 4)) == (MSI, 0x00800005)


def test_it_inverts(rig: Rig) -> None:
    rig.write(LIVENESS, 0x12345678)
    assert rig.read(LIVENESS) == 0xEDCBA987


@pytest.mark.parametrize("number", [0, 1, 5, 12, 33, 34, 35, 0xFFFFFFFF])
def test_a_factorial_is_modulo_2_to_the_32(number: int) -> None:
    assert factorial(number) == math.factorial(min(number, 40)) % (1 << 32)


def test_a_factorial_interrupts_when_that_is_wanted(rig: Rig) -> None:
    rig.write(FACTORIAL, 4)
    assert (rig.read(FACTORIAL), rig.levels) == (24, [])
    rig.write(STATUS, 0xFF)
    assert rig.read(STATUS) == 0x80
    rig.write(FACTORIAL, 5)
    assert (rig.levels, rig.read(INTERRUPTS)) == ([1], 1)


def test_the_pin_is_high_until_all_is_acknowledged(rig: Rig) -> None:
    rig.write(RAISE, 0)
    assert rig.levels == []
    rig.write(RAISE, 6)
    rig.write(ACKNOWLEDGE, 2)
    assert (rig.levels, rig.read(INTERRUPTS)) == ([1], 4)
    rig.write(ACKNOWLEDGE, 4)
    assert rig.levels == [1, 0]


def test_a_message_takes_the_place_of_the_pin(rig: Rig) -> None:
    rig.use_message(0xFEE01000, 0x41)
    rig.write(RAISE, 1)
    assert (rig.messages, rig.levels) == ([(3 << 3, 0xFEE01000, 0x41)], [])


def test_a_message_to_memory_is_a_store(rig: Rig) -> None:
    rig.use_message(0x8000, 0x4142)
    rig.write(RAISE, 1)
    assert (rig.messages, rig.ram.read(0x8000, 4)) == ([], b"BA\0\0")


def test_who_may_not_master_the_bus_sends_and_copies_nothing(rig: Rig) -> None:
    rig.use_message(0xFEE01000, 0x41)
    rig.config(4, 2)
    rig.write(RAISE, 1)
    rig.ram.write(0x1000, b"data")
    rig.copy(BUFFER, 0x1000, 4, 3)
    assert (rig.messages, rig.ram.read(0x1000, 4)) == ([], b"data")


def test_a_copy_goes_in_and_out_again(rig: Rig) -> None:
    rig.ram.write(0x1000, b"data")
    rig.copy(0x1000, BUFFER + 8, 4, 1)
    rig.copy(BUFFER + 8, 0x2000, 4, 7)
    assert rig.ram.read(0x2000, 4) == b"data"
    assert (rig.read(COMMAND), rig.read(INTERRUPTS), rig.levels) == (6, 0x100, [1])


def test_its_addresses_have_28_bits(rig: Rig) -> None:
    rig.ram.write(0x1000, b"data")
    rig.copy(0xF0001000, BUFFER, 4, 1)
    rig.copy(BUFFER, 0x2000, 4, 3)
    assert rig.ram.read(0x2000, 4) == b"data"


@pytest.mark.parametrize(
    ("inside", "count"), [(BUFFER - 1, 4), (BUFFER + 4093, 4), (0, 4), (BUFFER, 1 << 40)]
)
def test_a_copy_beyond_the_buffer_is_none(rig: Rig, inside: int, count: int) -> None:
    rig.ram.write(0x2000, b"data")
    rig.copy(inside, 0x2000, count, 7)
    assert (rig.ram.read(0x2000, 4), rig.levels) == (b"data", [])


def test_accesses_of_other_widths_are_none(rig: Rig) -> None:
    rig.write(LIVENESS, 5)
    rig.write(LIVENESS, 6, 1)
    assert (rig.read(LIVENESS), rig.read(IDENTITY, 8), rig.read(IDENTITY, 2)) == (
        ~5 & 0xFFFFFFFF,
        (1 << 64) - 1,
        0,
    )


def test_a_reset_forgets(rig: Rig) -> None:
    rig.write(RAISE, 1)
    rig.device.reset()
    assert rig.levels == [1, 0]
    rig.config(0x10, BASE)
    rig.config(4, 6)
    assert rig.read(INTERRUPTS) == 0


def test_its_state_moves(rig: Rig) -> None:
    rig.ram.write(0x1000, b"data")
    rig.copy(0x1000, BUFFER, 4, 1)
    rig.write(RAISE, 2)
    other = Rig()
    other.device.load(rig.device.state())
    other.copy(BUFFER, 0x3000, 4, 3)
    assert (other.levels, other.read(INTERRUPTS), other.ram.read(0x3000, 4)) == ([1], 2, b"data")
