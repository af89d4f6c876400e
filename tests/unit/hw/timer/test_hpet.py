"""The event timers, by the IA-PC HPET specification 1.0a, on a clock that the test drives."""

from collections.abc import Callable

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.hw.acpi.tables import HPET_BASE
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.message import DeliveryMode, InterruptMessage
from mpvm.hw.timer.hpet import PERIOD_NS, Hpet
from tests.unit.hw.plug import FakeSystem, plug

CAPABILITIES, CONFIG, STATUS, COUNTER = 0x00, 0x10, 0x20, 0xF0
ENABLE, LEGACY = 1, 2
LEVEL, INTERRUPT, PERIODIC, VALUE_SET, MODE_32, FSB = 2, 4, 8, 0x40, 0x100, 0x4000
ROUTE_2, ROUTE_20 = 2 << 9, 20 << 9
ROUTES = 1 << 2 | 1 << 20


def config(timer: int) -> int:
    return 0x100 + 0x20 * timer


def comparator(timer: int) -> int:
    return config(timer) + 8


class Rig:
    def __init__(self, start: int = 0, **properties: object) -> None:
        self.clock = ManualClock(start)
        self.heard: list[tuple[int, int]] = []
        self.legacy: list[bool] = []
        self.messages: list[InterruptMessage] = []
        self.lines = {gsi: IrqLine(self._sink(gsi)) for gsi in range(24)}
        device = Hpet(hpet_intcap=ROUTES, **properties)
        device.set_legacy = self.legacy.append
        device.deliver = self.messages.append
        self.device = plug(device, FakeSystem(self.clock), self.lines)
        self.memory = device.wiring.memory

    def _sink(self, gsi: int) -> Callable[[int], None]:
        return lambda level: self.heard.append((gsi, level))

    def read(self, offset: int, size: int = 8) -> int:
        return self.memory.read(HPET_BASE + offset, size)

    def write(self, offset: int, value: int, size: int = 8) -> None:
        self.memory.write(HPET_BASE + offset, size, value)

    def ticks(self, count: int) -> None:
        self.clock.advance(count * PERIOD_NS)

    def edges(self, gsi: int) -> int:
        return sum(heard == (gsi, 1) for heard in self.heard)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_capabilities_are_those_of_qemu(rig: Rig) -> None:
    assert rig.read(CAPABILITIES) == 0x009896808086A201
    assert rig.read(4, 4) == 0x989680
    assert rig.read(config(0)) == ROUTES << 32 | 0x30
    assert rig.read(comparator(2)) == (1 << 64) - 1
    assert rig.read(config(3)) == 0


def test_the_counter_stands_until_it_is_enabled_and_then_counts_from_where_it_stood(rig: Rig) -> None:
    rig.ticks(50)
    assert rig.read(COUNTER) == 0
    rig.write(COUNTER, 0x1_0000_0000)
    rig.write(CONFIG, ENABLE)
    rig.ticks(7)
    assert (rig.read(COUNTER), rig.read(COUNTER, 4), rig.read(COUNTER + 4, 4)) == (0x1_0000_0007, 7, 1)
    rig.write(CONFIG, 0)
    rig.ticks(9)
    assert rig.read(COUNTER) == 0x1_0000_0007


def test_the_counter_is_a_shadowed_read(rig: Rig) -> None:
    shadow = rig.device.memory()[0][1].shadows[COUNTER]
    assert (shadow.counter, shadow.value) == (None, 0)
    rig.ticks(3)
    rig.write(CONFIG, ENABLE)
    assert shadow.counter == (0, 30, 100_000_000, (1 << 64) - 1)


def test_accesses_that_are_not_aligned_or_too_narrow_are_none(rig: Rig) -> None:
    assert [rig.read(CAPABILITIES, 1), rig.read(CAPABILITIES, 2), rig.read(2, 4)] == [0, 0, 0]
    rig.write(CONFIG, ENABLE, 1)
    assert rig.read(CONFIG) == 0


def test_a_one_shot_timer_interrupts_once_at_its_match(rig: Rig) -> None:
    rig.write(config(0), INTERRUPT | ROUTE_2)
    rig.write(comparator(0), 100)
    rig.write(CONFIG, ENABLE)
    rig.ticks(99)
    assert rig.heard == []
    rig.ticks(1)
    assert rig.heard == [(2, 1), (2, 0)]
    rig.ticks(10_000)
    assert rig.edges(2) == 1
    assert rig.read(STATUS) == 0


def test_a_comparator_that_was_passed_matches_at_once(rig: Rig) -> None:
    rig.write(CONFIG, ENABLE)
    rig.write(config(0), INTERRUPT | ROUTE_2)
    rig.ticks(1000)
    rig.write(comparator(0), 990)
    rig.ticks(1)
    assert rig.edges(2) == 1


def test_a_timer_without_its_interrupt_is_silent(rig: Rig) -> None:
    rig.write(comparator(1), 10)
    rig.write(config(1), ROUTE_2)
    rig.write(CONFIG, ENABLE)
    rig.ticks(100)
    assert rig.heard == []


def test_a_periodic_timer_takes_its_start_and_then_its_period(rig: Rig) -> None:
    rig.write(config(0), INTERRUPT | PERIODIC | VALUE_SET | ROUTE_2)
    rig.write(comparator(0), 1000)
    assert not rig.read(config(0)) & VALUE_SET
    rig.write(comparator(0), 300)
    rig.write(CONFIG, ENABLE)
    rig.ticks(999)
    assert rig.edges(2) == 0
    for edges, compared in ((1, 1300), (2, 1600), (3, 1900)):
        rig.ticks(1 if edges == 1 else 300)
        assert (rig.edges(2), rig.read(comparator(0))) == (edges, compared)


def test_periods_that_nobody_looked_at_are_one_interrupt(rig: Rig) -> None:
    rig.write(config(0), INTERRUPT | PERIODIC | VALUE_SET | ROUTE_2)
    rig.write(comparator(0), 100)
    rig.write(CONFIG, ENABLE)
    rig.clock._now += 950 * PERIOD_NS
    rig.clock.queue.run_due(rig.clock.now())
    assert (rig.edges(2), rig.read(comparator(0))) == (1, 1000)


def test_a_level_stays_until_its_status_is_cleared(rig: Rig) -> None:
    rig.write(config(2), INTERRUPT | LEVEL | ROUTE_20)
    rig.write(comparator(2), 10)
    rig.write(CONFIG, ENABLE)
    rig.ticks(10)
    assert (rig.heard, rig.read(STATUS)) == ([(20, 1)], 4)
    rig.write(STATUS, 3)
    assert rig.read(STATUS) == 4
    rig.write(STATUS, 4)
    assert (rig.heard, rig.read(STATUS)) == ([(20, 1), (20, 0)], 0)


def test_a_route_that_a_timer_has_not_got_is_not_taken(rig: Rig) -> None:
    rig.write(config(0), ROUTE_20)
    rig.write(config(0), 5 << 9)
    assert rig.read(config(0)) & 0x3E00 == ROUTE_20


def test_a_32_bit_timer_compares_the_low_half_and_matches_at_the_wrap_too(rig: Rig) -> None:
    rig.write(COUNTER, 0x5_FFFF_FF00)
    rig.write(config(0), INTERRUPT | MODE_32 | ROUTE_2)
    rig.write(comparator(0), 0x9_0000_0010)
    assert rig.read(comparator(0)) == 0x10
    rig.write(CONFIG, ENABLE)
    rig.ticks(0xFF)
    assert rig.edges(2) == 1
    rig.ticks(0x10)
    assert rig.edges(2) == 1
    rig.ticks(1)
    assert rig.edges(2) == 2


def test_a_comparator_is_written_in_halves_too(rig: Rig) -> None:
    rig.write(comparator(1), 0x11223344, 4)
    rig.write(comparator(1) + 4, 0x55667788, 4)
    assert rig.read(comparator(1)) == 0x5566778811223344
    assert rig.read(comparator(1) + 4, 4) == 0x55667788


def test_legacy_replacement_routes_to_0_and_8_and_takes_the_pit_and_the_rtc_off(rig: Rig) -> None:
    rig.legacy.clear()
    for timer in range(3):
        rig.write(config(timer), INTERRUPT | ROUTE_20)
        rig.write(comparator(timer), 10 + timer)
    rig.write(CONFIG, ENABLE | LEGACY)
    assert rig.legacy == [True]
    rig.ticks(20)
    assert [rig.edges(gsi) for gsi in (0, 8, 20)] == [1, 1, 1]
    rig.write(CONFIG, ENABLE)
    assert rig.legacy == [True, False]


def test_fsb_interrupts_are_messages_where_there_are_any() -> None:
    rig = Rig(msi=True)
    rig.write(config(0), INTERRUPT | FSB)
    rig.write(config(0) + 0x10, 0xFEE03000 << 32 | 0x41)
    rig.write(comparator(0), 10)
    rig.write(CONFIG, ENABLE)
    rig.ticks(10)
    assert rig.messages == [InterruptMessage(0x41, DeliveryMode.FIXED, 3, False, False)]
    assert rig.heard == []
    without = Rig()
    without.write(config(0), FSB)
    assert not without.read(config(0)) & FSB


def test_stopping_the_counter_withdraws_and_stops_everything(rig: Rig) -> None:
    rig.write(config(0), INTERRUPT | LEVEL | ROUTE_2)
    rig.write(comparator(0), 10)
    rig.write(CONFIG, ENABLE)
    rig.ticks(10)
    rig.write(CONFIG, 0)
    assert rig.heard[-1] == (2, 0)
    rig.write(comparator(0), 30)
    rig.ticks(1000)
    assert rig.edges(2) == 1


def test_a_reset_puts_everything_back(rig: Rig) -> None:
    rig.write(config(0), INTERRUPT | LEVEL | ROUTE_2)
    rig.write(comparator(0), 10)
    rig.write(CONFIG, ENABLE | LEGACY)
    rig.ticks(10)
    rig.device.reset()
    assert [rig.read(offset) for offset in (CONFIG, STATUS, COUNTER)] == [0, 0, 0]
    assert rig.read(config(0)) == ROUTES << 32 | 0x30
    assert rig.heard[-1][1] == 0
    assert rig.legacy[-1] is False


def test_state_goes_on_elsewhere(rig: Rig) -> None:
    rig.write(config(0), INTERRUPT | PERIODIC | VALUE_SET | ROUTE_2)
    rig.write(comparator(0), 100)
    rig.write(config(1), INTERRUPT | LEVEL | ROUTE_20)
    rig.write(comparator(1), 10)
    rig.write(CONFIG, ENABLE)
    rig.ticks(150)
    other = Rig(start=12345)
    other.device.load(rig.device.state())
    assert other.read(COUNTER) == 150
    assert (20, 1) in other.heard
    other.ticks(50)
    assert other.edges(2) == 1


@pytest.mark.parametrize("timers", [2, 33])
def test_there_are_3_to_32_timers(timers: int) -> None:
    with pytest.raises(ConfigError, match="3 to 32 is right"):
        Rig(timers=timers)
