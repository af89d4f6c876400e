"""The MC146818, register by register, against the Motorola data sheet and the PC's use of it."""

import calendar
from collections.abc import Mapping

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.hw.clock import NS_PER_SECOND, ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.timer.mc146818 import RTC_PORT, Rtc
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import FakeSystem, plug

# Friday 2024-03-15 13:45:50 UTC
START = calendar.timegm((2024, 3, 15, 13, 45, 50))
MS = NS_PER_SECOND // 1000

SET, PIE, AIE, UIE, SQWE, DM, H24 = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10
UIP = 0x80


class Bench:
    def __init__(
        self,
        start: float = START,
        cmos: Mapping[int, int] | None = None,
        boot_ns: int = 0,
        **properties: object,
    ) -> None:
        self.clock = ManualClock(boot_ns)
        self.wall_at_boot = start
        self.boot_ns = boot_ns
        self.edges: list[int] = []
        self.irq = IrqLine(self._irq_changed)
        self.rtc = plug(Rtc(**properties), FakeSystem(self.clock, self.wall), {8: self.irq})
        self.rtc.set_cmos_data(cmos or {})
        self.io = AddressSpace("io", 0x10000)
        for base, region in self.rtc.ports():
            self.io.map(base, region)

    def wall(self) -> float:
        return self.wall_at_boot + (self.clock.now() - self.boot_ns) / NS_PER_SECOND

    def _irq_changed(self, level: int) -> None:
        if level:
            self.edges.append(self.clock.now())

    def read(self, register: int) -> int:
        self.io.write(RTC_PORT, 1, register)
        return self.io.read(RTC_PORT + 1, 1)

    def write(self, register: int, value: int) -> None:
        self.io.write(RTC_PORT, 1, register)
        self.io.write(RTC_PORT + 1, 1, value)

    def time(self) -> list[int]:
        """Century, year, month, day, weekday, hours, minutes, seconds as the bytes are."""
        return [self.read(register) for register in (0x32, 9, 8, 7, 6, 4, 2, 0)]

    def set_time(self, *values: int) -> None:
        for register, value in zip((0x32, 9, 8, 7, 6, 4, 2, 0), values, strict=True):
            self.write(register, value)

    def seconds(self, count: float) -> None:
        self.clock.advance(int(count * NS_PER_SECOND))


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- time


def test_the_time_is_the_wall_clocks_in_bcd_and_24_hours_at_first(bench: Bench) -> None:
    assert bench.time() == [0x20, 0x24, 0x03, 0x15, 6, 0x13, 0x45, 0x50]
    assert bench.read(0x0B) == H24


def test_the_registers_count_on_with_the_clock(bench: Bench) -> None:
    bench.clock.advance(10 * NS_PER_SECOND - 1)
    assert bench.time()[-2:] == [0x45, 0x59]
    bench.clock.advance(1)
    assert bench.time()[-2:] == [0x46, 0x00]


def test_the_last_second_of_a_century_carries_into_every_register() -> None:
    bench = Bench(start=calendar.timegm((1999, 12, 31, 23, 59, 59)))
    assert bench.time() == [0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59]
    bench.seconds(1)
    assert bench.time() == [0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00]


def test_february_of_a_leap_year_has_29_days() -> None:
    bench = Bench(start=calendar.timegm((2024, 2, 28, 23, 59, 59)))
    bench.seconds(1)
    assert bench.time()[2:4] == [0x02, 0x29]
    bench.seconds(86400)
    assert bench.time()[2:4] == [0x03, 0x01]


def test_seconds_begin_when_the_wall_clocks_do() -> None:
    bench = Bench(start=START + 0.75)
    bench.clock.advance(250 * MS - 1)
    assert bench.read(0) == 0x50
    bench.clock.advance(1)
    assert bench.read(0) == 0x51


def test_binary_mode_shows_the_same_time_in_binary(bench: Bench) -> None:
    bench.write(0x0B, H24 | DM)
    assert bench.time() == [20, 24, 3, 15, 6, 13, 45, 50]


@pytest.mark.parametrize(
    ("hour", "bcd", "binary"),
    [(0, 0x12, 12), (1, 0x01, 1), (11, 0x11, 11), (12, 0x92, 0x8C), (13, 0x81, 0x81), (23, 0x91, 0x8B)],
)
def test_12_hour_mode_has_pm_in_bit_7(hour: int, bcd: int, binary: int) -> None:
    bench = Bench(start=calendar.timegm((2024, 3, 15, hour, 0, 0)))
    bench.write(0x0B, 0)
    assert bench.read(4) == bcd
    bench.write(0x0B, DM)
    assert bench.read(4) == binary
    bench.write(4, binary)
    bench.write(0x0B, DM | H24)
    assert bench.read(4) == hour


def test_a_time_set_under_set_starts_when_set_is_cleared(bench: Bench) -> None:
    bench.write(0x0B, H24 | SET)
    bench.set_time(0x19, 0x85, 0x10, 0x26, 7, 0x01, 0x20, 0x30)
    bench.seconds(5)
    assert bench.time() == [0x19, 0x85, 0x10, 0x26, 7, 0x01, 0x20, 0x30]
    bench.write(0x0B, H24)
    bench.seconds(40)
    assert bench.time() == [0x19, 0x85, 0x10, 0x26, 7, 0x01, 0x21, 0x10]


def test_format_bits_set_along_with_set_say_how_the_new_bytes_read(bench: Bench) -> None:
    bench.write(0x0B, SET | DM)
    bench.set_time(20, 30, 12, 31, 3, 0x8B, 59, 59)
    bench.write(0x0B, DM)
    bench.seconds(1)
    assert bench.time() == [20, 31, 1, 1, 4, 12, 0, 0]


def test_format_bits_changed_along_with_set_leave_the_bytes_as_they_are(bench: Bench) -> None:
    bench.write(0x0B, SET | DM | H24)
    assert bench.time() == [0x20, 0x24, 0x03, 0x15, 6, 0x13, 0x45, 0x50]


def test_a_byte_written_without_set_moves_the_time_from_there(bench: Bench) -> None:
    bench.write(4, 0x20)
    bench.write(2, 0x59)
    bench.seconds(10)
    assert bench.time()[-3:] == [0x21, 0x00, 0x00]


def test_bytes_written_one_by_one_are_judged_together_at_the_update() -> None:
    bench = Bench(start=calendar.timegm((2024, 3, 31, 12, 0, 0)))
    bench.write(8, 0x02)
    bench.write(7, 0x10)
    bench.seconds(1)
    assert bench.time()[2:4] == [0x02, 0x10]


def test_nonsense_in_the_time_registers_carries_over_instead_of_failing(bench: Bench) -> None:
    bench.write(0x0B, H24 | SET)
    bench.set_time(0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF)
    bench.write(0x0B, H24)
    bench.seconds(1)
    assert all(byte & 0xF <= 9 for byte in bench.time())
    bench.write(0x0B, H24 | SET)
    bench.set_time(0, 0, 0, 0, 0, 0, 0, 0)
    bench.write(0x0B, H24)
    bench.seconds(1)
    assert bench.time()[-1] == 0x01


def test_a_wall_clock_that_jumps_takes_the_time_along_with_its_offset(bench: Bench) -> None:
    bench.write(4, 0x15)  # two hours ahead
    bench.wall_at_boot += 3600
    bench.seconds(1)
    assert bench.time()[-3:] == [0x16, 0x45, 0x51]


def test_a_wall_clock_that_steps_by_whole_seconds_of_another_phase_is_followed_evenly() -> None:
    bench = Bench(start=START + 0.5)
    rtc = plug(Rtc(), FakeSystem(bench.clock, lambda: int(bench.wall())), {8: bench.irq})
    _, region = rtc.ports()[0]
    seen = []
    for _ in range(5):
        region.write(0, 1, 0)
        seen.append(region.read(1, 1))
        bench.seconds(1)
    assert seen == [0x50, 0x51, 0x52, 0x53, 0x54]


# -- register A


def test_register_a_reads_back_and_its_uip_bit_cannot_be_written(bench: Bench) -> None:
    assert bench.read(0x0A) == 0x26
    bench.write(0x0A, 0xAF)
    assert bench.read(0x0A) == 0x2F


def test_uip_comes_244_us_before_the_update_cycle_of_1984_us(bench: Bench) -> None:
    bench.clock.advance(NS_PER_SECOND - 2_228_001)
    assert bench.read(0x0A) & UIP == 0
    bench.clock.advance(1)
    assert bench.read(0x0A) & UIP
    bench.clock.advance(2_227_999)
    assert bench.read(0x0A) & UIP
    assert bench.read(0) == 0x50
    bench.clock.advance(1)
    assert bench.read(0x0A) & UIP == 0
    assert bench.read(0) == 0x51


def test_set_keeps_uip_clear(bench: Bench) -> None:
    bench.write(0x0B, H24 | SET)
    bench.clock.advance(NS_PER_SECOND - MS)
    assert bench.read(0x0A) & UIP == 0


@pytest.mark.parametrize("divider", [0x60, 0x70])
def test_a_divider_in_reset_stops_the_clock_and_the_first_update_comes_half_a_second_after(
    bench: Bench, divider: int
) -> None:
    bench.clock.advance(300 * MS)
    bench.write(0x0A, divider | 6)
    bench.seconds(100.123)
    assert bench.read(0) == 0x50
    assert bench.read(0x0C) & UF == 0
    bench.write(0x0A, 0x26)
    bench.clock.advance(500 * MS - 1)
    assert bench.read(0) == 0x50
    bench.clock.advance(1)
    assert bench.read(0) == 0x51


# -- periodic interrupt


@pytest.mark.parametrize(
    ("rate", "hz"),
    [(1, 256), (2, 128)] + [(rate, 65536 >> rate) for rate in range(3, 16)],
)
def test_the_rate_bits_choose_the_periodic_frequency(bench: Bench, rate: int, hz: int) -> None:
    bench.write(0x0A, 0x20 | rate)
    bench.write(0x0B, H24 | PIE)
    bench.clock.advance(-(-NS_PER_SECOND // hz) - 1)
    assert bench.irq.level == 0
    bench.clock.advance(1)
    assert bench.irq.level == 1
    assert bench.read(0x0C) == IRQF | PF
    assert bench.irq.level == 0


def test_periodic_interrupts_keep_their_rate_without_drift(bench: Bench) -> None:
    bench.write(0x0A, 0x26)
    bench.write(0x0B, H24 | PIE)
    bench.read(0x0C)
    bench.edges.clear()
    for i in range(1, 3000):
        bench.clock.advance(-(-i * NS_PER_SECOND // 1024) - bench.clock.now())
        bench.read(0x0C)
    assert bench.edges == [-(-i * NS_PER_SECOND // 1024) for i in range(1, 3000)]


def test_rate_0_turns_the_periodic_interrupt_off(bench: Bench) -> None:
    bench.write(0x0A, 0x20)
    bench.write(0x0B, H24 | PIE)
    bench.seconds(0.9)
    assert bench.read(0x0C) == 0


def test_the_periodic_flag_is_set_without_its_enable_and_drives_no_line(bench: Bench) -> None:
    bench.clock.advance(MS)
    assert bench.read(0x0C) == PF
    assert bench.edges == []


def test_enabling_an_interrupt_whose_flag_is_set_drives_the_line_at_once(bench: Bench) -> None:
    bench.clock.advance(MS)
    bench.write(0x0B, H24 | PIE)
    assert bench.irq.level == 1
    bench.write(0x0B, H24)
    assert bench.irq.level == 0


def test_set_does_not_stop_the_periodic_interrupt(bench: Bench) -> None:
    bench.write(0x0B, H24 | SET | PIE)
    bench.clock.advance(MS)
    assert bench.read(0x0C) == IRQF | PF


def test_periods_that_pass_before_register_c_is_read_are_one_interrupt(bench: Bench) -> None:
    bench.write(0x0B, H24 | PIE)
    bench.seconds(0.9)
    assert len(bench.edges) == 1
    assert bench.clock.queue.next_deadline() is None
    bench.read(0x0C)
    bench.clock.advance(MS)
    assert len(bench.edges) == 2


# -- update-ended interrupt


def test_the_update_ended_interrupt_comes_with_every_new_second(bench: Bench) -> None:
    bench.write(0x0B, H24 | UIE)
    for second in range(1, 4):
        bench.clock.advance(second * NS_PER_SECOND - bench.clock.now() - 1)
        assert bench.irq.level == 0
        bench.clock.advance(1)
        assert bench.irq.level == 1
        assert bench.read(0x0C) & (IRQF | UF) == IRQF | UF


def test_the_update_ended_flag_is_set_without_its_enable(bench: Bench) -> None:
    bench.seconds(1)
    assert bench.read(0x0C) & (IRQF | UF) == UF
    assert bench.read(0x0C) & UF == 0


def test_going_to_set_clears_the_update_ended_enable_and_stops_its_interrupt(bench: Bench) -> None:
    bench.write(0x0B, H24 | UIE)
    bench.write(0x0B, H24 | UIE | SET)
    assert bench.read(0x0B) == H24 | SET
    bench.seconds(3)
    assert bench.edges == []


# -- alarm


def arm(bench: Bench, hours: int, minutes: int, seconds: int) -> None:
    bench.write(5, hours)
    bench.write(3, minutes)
    bench.write(1, seconds)
    bench.write(0x0B, bench.read(0x0B) | AIE)
    bench.read(0x0C)
    bench.edges.clear()


@pytest.mark.parametrize(
    ("alarm", "after"),
    [
        ((0x13, 0x45, 0x55), 5),
        ((0xC0, 0x46, 0x10), 20),
        ((0xFF, 0xFF, 0x00), 10),
        ((0x14, 0xC0, 0xC0), 850),
        ((0xC0, 0xC0, 0xC0), 1),
    ],
    ids=["exact", "hourly", "every-minute", "within-an-hour", "every-second"],
)
def test_the_alarm_interrupts_when_its_bytes_match_the_time(
    bench: Bench, alarm: tuple[int, int, int], after: int
) -> None:
    arm(bench, *alarm)
    bench.clock.advance(after * NS_PER_SECOND - 1)
    assert bench.edges == []
    bench.clock.advance(1)
    assert bench.edges == [after * NS_PER_SECOND]
    assert bench.read(0x0C) & (IRQF | AF) == IRQF | AF


def test_the_alarm_compares_bytes_in_the_format_of_the_time(bench: Bench) -> None:
    bench.write(0x0B, DM)
    arm(bench, 0x81, 45, 52)
    bench.seconds(2)
    assert bench.edges == [2 * NS_PER_SECOND]


def test_an_alarm_that_no_time_can_match_never_comes(bench: Bench) -> None:
    arm(bench, 0x13, 0x45, 0x7A)
    bench.seconds(3700)
    assert bench.edges == []


@pytest.mark.parametrize(("passed", "flagged"), [(4, 0), (5, AF), (100_000, AF)])
def test_the_alarm_flag_is_set_without_its_enable_however_long_nobody_looks(
    bench: Bench, passed: int, flagged: int
) -> None:
    bench.write(5, 0x13)
    bench.write(3, 0x45)
    bench.write(1, 0x55)
    bench.seconds(passed)
    assert bench.read(0x0C) & (AF | IRQF) == flagged


def test_an_alarm_of_the_next_morning_is_seen_across_midnight(bench: Bench) -> None:
    bench.write(5, 0x00)
    bench.write(3, 0x00)
    bench.write(1, 0x00)
    bench.seconds(36849)
    assert bench.read(0x0C) & AF == 0
    bench.seconds(1)
    assert bench.time()[-3:] == [0, 0, 0]
    assert bench.read(0x0C) & AF


# -- registers B, C, D, RAM and the ports


def test_register_b_reads_back(bench: Bench) -> None:
    bench.write(0x0B, PIE | AIE | UIE | SQWE | DM | H24 | 1)
    assert bench.read(0x0B) == 0x7F


def test_register_c_cannot_be_written_and_clears_on_read(bench: Bench) -> None:
    bench.write(0x0C, 0xFF)
    assert bench.read(0x0C) == 0
    bench.seconds(1)
    assert bench.read(0x0C) == PF | UF
    assert bench.read(0x0C) == 0


def test_register_d_says_that_ram_and_time_are_valid_and_cannot_be_written(bench: Bench) -> None:
    bench.write(0x0D, 0x00)
    assert bench.read(0x0D) == 0x80


def test_there_are_128_bytes_and_the_nmi_mask_bit_is_no_part_of_the_index(bench: Bench) -> None:
    for register in [*range(0x0E, 0x32), *range(0x33, 0x80)]:
        bench.write(register, register ^ 0x5A)
    for register in [*range(0x0E, 0x32), *range(0x33, 0x80)]:
        assert bench.read(0x80 | register) == register ^ 0x5A


def test_the_index_port_reads_all_ones(bench: Bench) -> None:
    bench.read(0x0D)
    assert bench.io.read(RTC_PORT, 1) == 0xFF


def test_a_word_write_is_an_index_and_its_data(bench: Bench) -> None:
    bench.io.write(RTC_PORT, 2, 0xA50F)
    assert bench.read(0x0F) == 0xA5


def test_only_the_index_port_is_posted(bench: Bench) -> None:
    assert [region.posted for _, region in bench.rtc.ports()] == [frozenset({0})]


def test_the_machine_gives_the_first_contents_of_the_ram() -> None:
    bench = Bench(cmos={0x10: 0x40, 0x7F: 0x99})
    assert (bench.read(0x10), bench.read(0x7F), bench.read(0x11)) == (0x40, 0x99, 0)


@pytest.mark.parametrize("address", [0x00, 0x0B, 0x0D, 0x32, 0x80, -1])
def test_cmos_contents_that_are_the_clocks_or_outside_are_refused(address: int) -> None:
    with pytest.raises(DeviceError, match="CMOS byte"):
        Bench(cmos={address: 1})


def test_reset_drops_interrupts_and_keeps_time_ram_and_modes(bench: Bench) -> None:
    bench.write(0x0E, 0x77)
    bench.write(4, 0x20)
    bench.write(0x0B, PIE | AIE | UIE | SQWE | DM | H24)
    bench.seconds(1)
    assert bench.irq.level == 1
    bench.rtc.reset()
    assert bench.irq.level == 0
    assert bench.read(0x0B) == DM | H24
    assert bench.read(0x0C) == 0
    assert bench.read(0x0E) == 0x77
    assert bench.time()[-3:] == [20, 45, 51]
    bench.seconds(2)
    assert len(bench.edges) == 1


# -- state


def test_state_goes_over_in_the_middle_of_a_second_with_an_interrupt_awaited(bench: Bench) -> None:
    bench.write(4, 0x20)
    bench.write(0x0A, 0x2F)
    bench.write(0x0B, H24 | PIE | UIE)
    bench.write(0x0F, 0x0A)
    bench.seconds(1.2)
    bench.read(0x0C)
    other = Bench(start=bench.wall(), boot_ns=55_555)
    other.rtc.load(bench.rtc.state())
    assert other.rtc.state() == bench.rtc.state()
    assert (other.time(), other.read(0x0F)) == (bench.time(), 0x0A)
    other.edges.clear()
    other.clock.advance(NS_PER_SECOND)
    assert other.edges == [55_555 + 300 * MS]
    assert other.time()[-1] == 0x52


def test_a_state_loaded_later_tells_the_wall_clocks_time_with_its_offset(bench: Bench) -> None:
    bench.write(4, 0x14)
    later = Bench(start=START + 7200)
    later.rtc.load(bench.rtc.state())
    assert later.time()[-3:] == [0x16, 0x45, 0x50]


def test_state_goes_over_while_the_time_is_being_set(bench: Bench) -> None:
    bench.write(0x0B, H24 | SET)
    bench.set_time(0x19, 0x85, 0x10, 0x26, 7, 0x01, 0x20, 0x30)
    other = Bench(start=START + 1000)
    other.rtc.load(bench.rtc.state())
    other.seconds(5)
    other.write(0x0B, H24)
    other.seconds(1)
    assert other.time() == [0x19, 0x85, 0x10, 0x26, 7, 0x01, 0x20, 0x31]


# -- interrupts that come too fast for the guest


def _slow_guest(bench: Bench, periods: int) -> int:
    """Periodic interrupts at 1024 Hz of which the guest serves none for so long; then how many it gets."""
    bench.write(0x0B, H24 | PIE)
    bench.clock.advance(periods * NS_PER_SECOND // 1024)
    taken = 0
    while bench.irq.level:
        assert bench.read(0x0C) & PF
        taken += 1
    return taken


def test_interrupts_that_the_guest_was_too_slow_for_are_lost(bench: Bench) -> None:
    assert _slow_guest(bench, 10) == 1


def test_with_slew_they_come_later_a_few_at_once() -> None:
    bench = Bench(lost_tick_policy="slew")
    assert _slow_guest(bench, 11) in (10, 11)
    assert _slow_guest(bench, 101) == 21
    # The next period's brings some more of them.
    bench.clock.advance(NS_PER_SECOND // 1024)
    assert _slow_guest(bench, 0) == 21


def test_with_slew_interrupts_that_nobody_wants_are_not_kept() -> None:
    bench = Bench(lost_tick_policy="slew")
    bench.clock.advance(NS_PER_SECOND)
    assert _slow_guest(bench, 2) <= 3


def test_a_reset_forgets_what_was_lost() -> None:
    bench = Bench(lost_tick_policy="slew")
    bench.write(0x0B, H24 | PIE)
    bench.clock.advance(NS_PER_SECOND)
    bench.rtc.reset()
    assert _slow_guest(bench, 2) in (1, 2)
