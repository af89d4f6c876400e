"""The I/O APIC, register by register, against the Intel 82093AA data sheet."""

from collections.abc import Callable

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.hw.intc.ioapic import BASE_ADDRESS, IoApic, Window
from mpvm.hw.intc.message import DeliveryMode, InterruptMessage
from tests.unit.hw.plug import plug

LOGICAL = 1 << 11
ACTIVE_LOW = 1 << 13
REMOTE_IRR = 1 << 14
LEVEL = 1 << 15
MASKED = 1 << 16


class Shown(Window):
    """What is shown of each register."""

    def __init__(self) -> None:
        self.registers: dict[int, int] = {}

    def show(self, index: int, value: int) -> None:
        self.registers[index] = value


class Bench:
    def __init__(self, apic_id: int = 0) -> None:
        self.sent: list[InterruptMessage] = []
        self.ioapic = IoApic(apic_id=apic_id)
        self.ioapic.deliver = self.sent.append
        self.ioapic.window = self.shown = Shown()
        plug(self.ioapic)
        ((self.base, self.region),) = self.ioapic.memory()

    def read(self, index: int) -> int:
        self.region.write(0x00, 4, index)
        value = self.region.read(0x10, 4)
        assert value == self.shown.registers.get(index, 0), "what is shown is what is read"
        return value

    def write(self, index: int, value: int) -> None:
        self.region.write(0x00, 4, index)
        self.region.write(0x10, 4, value)

    def entry(self, pin: int) -> int:
        return self.read(0x10 + 2 * pin) | self.read(0x11 + 2 * pin) << 32

    def program(self, pin: int, low: int, destination: int = 0) -> None:
        self.write(0x11 + 2 * pin, destination << 24)
        self.write(0x10 + 2 * pin, low)

    def vectors(self) -> list[int]:
        return [message.vector for message in self.sent]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_answers_at_its_standard_address(bench: Bench) -> None:
    assert (bench.base, bench.region.size) == (BASE_ADDRESS, 0x1000) == (0xFEC00000, 0x1000)


def test_the_version_register_tells_24_pins_and_an_eoi_register(bench: Bench) -> None:
    assert bench.read(0x01) == 0x00170020
    bench.write(0x01, 0xFFFFFFFF)
    assert bench.read(0x01) == 0x00170020


def test_the_id_has_four_bits_and_loads_the_arbitration_register(bench: Bench) -> None:
    bench.write(0x00, 0xF9FFFFFF)
    assert bench.read(0x00) == 0x09000000
    assert bench.read(0x02) == 0x09000000
    bench.write(0x02, 0x05000000)
    assert bench.read(0x02) == 0x09000000


def test_the_machine_chooses_the_first_id() -> None:
    assert Bench(apic_id=4).read(0x00) == 0x04000000


def test_the_index_register_reads_back_its_low_byte(bench: Bench) -> None:
    bench.region.write(0x00, 4, 0xABCD1234)
    assert bench.region.read(0x00, 4) == 0x34


def test_a_window_access_that_is_not_a_dword_does_nothing(bench: Bench) -> None:
    bench.region.write(0x00, 4, 0x10)
    bench.region.write(0x10, 1, 0x55)
    assert bench.region.read(0x10, 2) == 0
    assert bench.region.read(0x10, 4) == MASKED


def test_undefined_registers_read_zero_and_ignore_writes(bench: Bench) -> None:
    before = bench.ioapic.state()
    for index in (0x03, 0x0F, 0x40, 0xFF):
        bench.write(index, 0xFFFFFFFF)
        assert bench.read(index) == 0
    bench.region.write(0x20, 4, 0xFFFFFFFF)
    assert bench.region.read(0x20, 4) == 0
    assert bench.ioapic.state() == {**before, "select": 0xFF}


def test_every_entry_is_masked_at_reset_and_its_reserved_and_read_only_bits_stay_clear(bench: Bench) -> None:
    for pin in range(24):
        assert bench.entry(pin) == MASKED
        bench.write(0x11 + 2 * pin, 0xFFFFFFFF)
        bench.write(0x10 + 2 * pin, 0xFFFFFFFF)
        assert bench.entry(pin) == 0xFF00_0000_0001_AFFF


@pytest.mark.parametrize("mode", list(DeliveryMode), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("logical", [False, True], ids=["physical", "logical"])
def test_an_edge_sends_the_entrys_message(bench: Bench, mode: DeliveryMode, logical: bool) -> None:
    bench.program(5, 0x45 | mode << 8 | (LOGICAL if logical else 0), destination=0x9C)
    bench.ioapic.set_irq(5, 1)
    assert bench.sent == [InterruptMessage(0x45, mode, 0x9C, logical, level_triggered=False)]
    assert bench.entry(5) & REMOTE_IRR == 0


@pytest.mark.parametrize("mode", [3, 6])
def test_a_reserved_delivery_mode_sends_nothing(bench: Bench, mode: int) -> None:
    bench.program(5, 0x45 | mode << 8)
    bench.ioapic.set_irq(5, 1)
    assert bench.sent == []


def test_an_edge_is_sent_once_until_the_line_has_been_low(bench: Bench) -> None:
    bench.program(1, 0x31)
    bench.ioapic.set_irq(1, 1)
    bench.ioapic.set_irq(1, 1)
    assert bench.vectors() == [0x31]
    bench.ioapic.set_irq(1, 0)
    bench.ioapic.set_irq(1, 1)
    assert bench.vectors() == [0x31, 0x31]


def test_an_edge_at_a_masked_pin_is_lost(bench: Bench) -> None:
    bench.program(1, 0x31 | MASKED)
    bench.ioapic.set_irq(1, 1)
    bench.program(1, 0x31)
    assert bench.sent == []


def test_a_level_is_sent_once_and_sets_remote_irr(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL, destination=2)
    bench.ioapic.set_irq(9, 1)
    bench.ioapic.set_irq(9, 0)
    bench.ioapic.set_irq(9, 1)
    assert bench.sent == [InterruptMessage(0x51, DeliveryMode.FIXED, 2, False, level_triggered=True)]
    assert bench.entry(9) & REMOTE_IRR


def test_eoi_of_a_line_that_is_low_again_clears_remote_irr(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL)
    bench.ioapic.set_irq(9, 1)
    bench.ioapic.set_irq(9, 0)
    bench.ioapic.eoi(0x51)
    assert bench.entry(9) & REMOTE_IRR == 0
    assert bench.vectors() == [0x51]


def test_eoi_of_a_line_that_is_still_high_sends_again(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL)
    bench.ioapic.set_irq(9, 1)
    bench.ioapic.eoi(0x51)
    assert bench.vectors() == [0x51, 0x51]
    assert bench.entry(9) & REMOTE_IRR


def test_eoi_reaches_every_entry_with_its_vector_and_no_other(bench: Bench) -> None:
    for pin, vector in ((9, 0x51), (10, 0x51), (11, 0x61)):
        bench.program(pin, vector | LEVEL)
        bench.ioapic.set_irq(pin, 1)
        bench.ioapic.set_irq(pin, 0)
    bench.ioapic.eoi(0x51)
    assert [bool(bench.entry(pin) & REMOTE_IRR) for pin in (9, 10, 11)] == [False, False, True]


def test_the_eoi_register_acts_as_a_local_apics_eoi(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL)
    bench.ioapic.set_irq(9, 1)
    bench.region.write(0x40, 4, 0x50)
    assert bench.vectors() == [0x51]
    bench.region.write(0x40, 4, 0x51)
    assert bench.vectors() == [0x51, 0x51]
    assert bench.region.read(0x40, 4) == 0


def test_a_masked_level_waits_for_its_unmasking(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL | MASKED)
    bench.ioapic.set_irq(9, 1)
    assert bench.sent == []
    assert bench.entry(9) & REMOTE_IRR == 0
    bench.program(9, 0x51 | LEVEL)
    assert bench.vectors() == [0x51]


def test_eoi_under_mask_clears_remote_irr_and_sends_after_the_unmasking(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL)
    bench.ioapic.set_irq(9, 1)
    bench.program(9, 0x51 | LEVEL | MASKED)
    assert bench.entry(9) & REMOTE_IRR
    bench.ioapic.eoi(0x51)
    assert bench.vectors() == [0x51]
    bench.program(9, 0x51 | LEVEL)
    assert bench.vectors() == [0x51, 0x51]


def test_a_write_cannot_change_remote_irr_but_edge_mode_clears_it(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL)
    bench.ioapic.set_irq(9, 1)
    bench.program(9, 0x51 | LEVEL)
    assert bench.entry(9) & REMOTE_IRR
    bench.program(9, 0x51 | MASKED)
    assert bench.entry(9) & REMOTE_IRR == 0
    bench.program(9, 0x51 | LEVEL | REMOTE_IRR)
    assert bench.vectors() == [0x51, 0x51]


@pytest.mark.parametrize("mode", [DeliveryMode.SMI, DeliveryMode.NMI, DeliveryMode.INIT, DeliveryMode.EXTINT])
def test_these_modes_are_edges_even_when_programmed_as_levels(bench: Bench, mode: DeliveryMode) -> None:
    bench.program(3, 0x33 | mode << 8 | LEVEL)
    for level in (1, 0, 1):
        bench.ioapic.set_irq(3, level)
    assert bench.sent == [InterruptMessage(0x33, mode, 0, False, level_triggered=False)] * 2
    assert bench.entry(3) & REMOTE_IRR == 0


def test_polarity_is_kept_and_an_assertion_stays_an_assertion(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL | ACTIVE_LOW)
    assert bench.entry(9) & ACTIVE_LOW
    assert bench.sent == []
    bench.ioapic.set_irq(9, 1)
    assert bench.vectors() == [0x51]


@pytest.mark.parametrize("pin", [-1, 24])
def test_a_pin_that_is_not_there_is_refused(bench: Bench, pin: int) -> None:
    with pytest.raises(DeviceError, match=f"no pin {pin}"):
        bench.ioapic.set_irq(pin, 1)


def test_reset_masks_every_entry_and_restores_the_id() -> None:
    bench = Bench(apic_id=4)
    bench.write(0x00, 0x07000000)
    bench.program(9, 0x51 | LEVEL, destination=3)
    bench.ioapic.set_irq(9, 1)
    bench.ioapic.reset()
    assert bench.read(0x00) == 0x04000000
    assert bench.entry(9) == MASKED


def test_state_goes_over_with_an_eoi_outstanding(bench: Bench) -> None:
    bench.program(9, 0x51 | LEVEL, destination=3)
    bench.ioapic.set_irq(9, 1)
    other = Bench()
    other.ioapic.load(bench.ioapic.state())
    assert other.ioapic.state() == bench.ioapic.state()
    assert other.sent == []
    other.ioapic.eoi(0x51)
    assert other.vectors() == [0x51]
    bench.ioapic.eoi(0x51)
    other.ioapic.set_irq(9, 0)
    assert bench.ioapic.state() != other.ioapic.state()


def test_a_reserved_delivery_mode_is_a_guest_error(bench: Bench, logged: Callable[[], list[str]]) -> None:
    bench.program(5, 0x45)
    bench.ioapic.set_irq(5, 1)
    bench.ioapic.set_irq(5, 0)
    assert logged() == []
    bench.program(5, 0x45 | 3 << 8)
    bench.ioapic.set_irq(5, 1)
    assert logged() == ["guest_errors: I/O APIC: reserved delivery mode 3"]
