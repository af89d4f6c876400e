"""The 8254, mode by mode, against the figures of the Intel 8254 data sheet; and port 0x61."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpvm.hw.clock import NS_PER_SECOND, ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.timer.i8254 import CLOCK_HZ, Counter, Pit
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import FakeSystem, plug

LSB_ONLY = 0x10
MSB_ONLY = 0x20
LSB_THEN_MSB = 0x30
BCD = 0x01


def mode(number: int) -> int:
    return number << 1


class Bench:
    def __init__(self, start: int = 0) -> None:
        self.clock = ManualClock(start)
        self.edges: list[int] = []
        self.irq = IrqLine(self._irq_changed)
        self.pit = plug(Pit(), FakeSystem(self.clock), {0: self.irq})
        self.io = AddressSpace("io", 0x10000)
        for base, region in self.pit.ports():
            self.io.map(base, region)
        # No counter runs and no gate but the fixed ones is high.
        for select in (0x00, 0x40, 0x80):
            self.out(0x43, select | LSB_THEN_MSB)
        self.pulse = 0
        self.origin = start * CLOCK_HZ // NS_PER_SECOND
        self.edges.clear()

    def _irq_changed(self, level: int) -> None:
        if level:
            self.edges.append(self.clock.now())

    def out(self, port: int, value: int) -> None:
        self.io.write(port, 1, value)

    def in_(self, port: int) -> int:
        return self.io.read(port, 1)

    def to(self, pulse: int) -> None:
        """Stand just after CLK pulse `pulse`, counted from the start."""
        self.pulse = pulse
        deadline = -(-(self.origin + pulse) * NS_PER_SECOND // CLOCK_HZ)
        self.clock.advance(deadline - self.clock.now())

    def control(self, counter: int, value: int) -> None:
        self.out(0x43, counter << 6 | value)

    def count(self, counter: int, value: int) -> None:
        self.out(0x40 + counter, value & 0xFF)
        self.out(0x40 + counter, value >> 8)

    def read(self, counter: int) -> int:
        self.out(0x43, counter << 6)
        return self.in_(0x40 + counter) | self.in_(0x40 + counter) << 8

    def status(self, counter: int) -> int:
        self.out(0x43, 0xE0 | 2 << counter)
        return self.in_(0x40 + counter)

    def gate(self, level: int) -> None:
        self.out(0x61, level)

    def out2(self) -> int:
        return self.in_(0x61) >> 5 & 1

    def wave(self, pulses: int) -> str:
        """OUT 2 after each of the next `pulses` CLK pulses."""
        levels = ""
        for _ in range(pulses):
            self.to(self.pulse + 1)
            levels += "-" if self.out2() else "_"
        return levels

    def edge_pulses(self) -> list[int]:
        """The CLK pulses at which IRQ 0 rose."""
        return [now * CLOCK_HZ // NS_PER_SECOND - self.origin for now in self.edges]


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- mode 0: interrupt on terminal count


def test_mode_0_goes_high_n_plus_1_pulses_after_the_count_was_written(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(0))
    bench.out(0x42, 4)
    assert bench.wave(8) == "____----"


def test_mode_0_stands_still_while_its_gate_is_low_but_takes_a_new_count(bench: Bench) -> None:
    bench.control(2, LSB_THEN_MSB | mode(0))
    bench.count(2, 3)
    bench.to(10)
    assert bench.read(2) == 3
    bench.gate(1)
    assert bench.wave(4) == "__--"


def test_mode_0_goes_low_and_stops_at_the_first_byte_of_a_new_count(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_THEN_MSB | mode(0))
    bench.count(2, 2)
    bench.to(5)
    assert bench.out2() == 1
    bench.out(0x42, 3)
    assert bench.out2() == 0
    stopped = bench.read(2)
    bench.to(9)
    assert bench.read(2) == stopped
    bench.out(0x42, 0)
    assert bench.wave(5) == "___--"


def test_mode_0_goes_on_counting_below_zero(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_THEN_MSB | mode(0))
    bench.count(2, 2)
    bench.to(4)
    assert bench.read(2) == 0xFFFF


# -- mode 1: hardware retriggerable one-shot


def test_mode_1_is_low_for_n_pulses_after_its_trigger(bench: Bench) -> None:
    bench.control(2, LSB_ONLY | mode(1))
    bench.out(0x42, 3)
    assert bench.wave(2) == "--"
    bench.gate(1)
    assert bench.wave(6) == "___---"


def test_mode_1_is_retriggered_by_a_rising_gate_and_not_stopped_by_a_low_one(bench: Bench) -> None:
    bench.control(2, LSB_ONLY | mode(1))
    bench.out(0x42, 3)
    bench.gate(1)
    assert bench.wave(2) == "__"
    bench.gate(0)
    bench.gate(1)
    bench.to(bench.pulse + 1)
    bench.gate(0)
    assert bench.wave(4) == "__--"


def test_mode_1_uses_a_new_count_at_the_next_trigger(bench: Bench) -> None:
    bench.control(2, LSB_ONLY | mode(1))
    bench.out(0x42, 2)
    bench.gate(1)
    bench.to(1)
    bench.out(0x42, 4)
    assert bench.wave(3) == "_--"
    bench.gate(0)
    bench.gate(1)
    assert bench.wave(6) == "____--"


# -- mode 2: rate generator


def test_mode_2_is_low_for_the_last_pulse_of_every_n(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(2))
    bench.out(0x42, 3)
    assert bench.wave(10) == "--_--_--_-"


def test_mode_2_counts_from_n_to_1(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_THEN_MSB | mode(2))
    bench.count(2, 3)
    seen = []
    for pulse in range(1, 7):
        bench.to(pulse)
        seen.append(bench.read(2))
    assert seen == [3, 2, 1, 3, 2, 1]


def test_mode_2_goes_high_at_once_when_its_gate_falls_and_starts_anew_when_it_rises(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(2))
    bench.out(0x42, 3)
    assert bench.wave(3) == "--_"
    bench.gate(0)
    assert bench.out2() == 1
    assert bench.wave(4) == "----"
    bench.gate(1)
    assert bench.wave(4) == "--_-"


def test_mode_2_uses_a_new_count_from_the_next_cycle_on(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(2))
    bench.out(0x42, 4)
    assert bench.wave(2) == "--"
    bench.out(0x42, 2)
    assert bench.wave(6) == "-_-_-_"


def test_mode_2_uses_a_new_count_at_once_after_a_trigger(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(2))
    bench.out(0x42, 9)
    bench.to(3)
    bench.out(0x42, 2)
    bench.gate(0)
    bench.gate(1)
    assert bench.wave(4) == "-_-_"


# -- mode 3: square wave


@pytest.mark.parametrize(("count", "wave"), [(4, "--__--__-"), (5, "---__---_"), (3, "--_--_--_")])
def test_mode_3_is_high_for_the_greater_half(bench: Bench, count: int, wave: str) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(3))
    bench.out(0x42, count)
    assert bench.wave(9) == wave


@pytest.mark.parametrize(("count", "values"), [(4, [4, 2, 4, 2, 4]), (5, [4, 2, 0, 4, 2, 4, 2, 0])])
def test_mode_3_counts_down_by_two_in_each_half(bench: Bench, count: int, values: list[int]) -> None:
    bench.gate(1)
    bench.control(2, LSB_THEN_MSB | mode(3))
    bench.count(2, count)
    seen = []
    for pulse in range(1, len(values) + 1):
        bench.to(pulse)
        seen.append(bench.read(2))
    assert seen == values


def test_mode_3_goes_high_at_once_when_its_gate_falls_and_starts_anew_when_it_rises(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(3))
    bench.out(0x42, 4)
    assert bench.wave(3) == "--_"
    bench.gate(0)
    assert bench.out2() == 1
    assert bench.wave(3) == "---"
    bench.gate(1)
    assert bench.wave(5) == "--__-"


def test_mode_3_uses_a_new_count_from_the_next_half_on(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(3))
    bench.out(0x42, 8)
    assert bench.wave(2) == "--"
    bench.out(0x42, 4)
    assert bench.wave(8) == "--__--__"


# -- modes 4 and 5: strobes


def test_mode_4_is_low_for_one_pulse_n_plus_1_after_the_count_was_written_and_never_again(
    bench: Bench,
) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(4))
    bench.out(0x42, 3)
    assert bench.wave(6) == "---_--"
    bench.to(3 * 65536)
    assert "_" not in bench.wave(8)


def test_mode_4_stands_still_while_its_gate_is_low(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(4))
    bench.out(0x42, 3)
    bench.to(2)
    bench.gate(0)
    bench.to(20)
    bench.gate(1)
    assert bench.wave(3) == "-_-"


def test_mode_4_starts_anew_with_a_new_count(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(4))
    bench.out(0x42, 3)
    bench.to(3)
    bench.out(0x42, 2)
    assert bench.wave(5) == "--_--"


def test_mode_5_strobes_n_plus_1_pulses_after_its_trigger_whatever_the_gate_does(bench: Bench) -> None:
    bench.control(2, LSB_ONLY | mode(5))
    bench.out(0x42, 2)
    assert bench.wave(5) == "-----"
    bench.gate(1)
    bench.to(bench.pulse + 1)
    bench.gate(0)
    assert bench.wave(4) == "-_--"
    bench.gate(1)
    assert bench.wave(4) == "--_-"


# -- programming


@pytest.mark.parametrize(("access", "count"), [(LSB_ONLY, 0x34), (MSB_ONLY, 0x1200), (LSB_THEN_MSB, 0x1234)])
def test_the_access_bits_say_which_bytes_of_the_count_are_written(
    bench: Bench, access: int, count: int
) -> None:
    bench.control(2, access | mode(0))
    if access != MSB_ONLY:
        bench.out(0x42, count & 0xFF)
    if access != LSB_ONLY:
        bench.out(0x42, count >> 8)
    bench.to(1)
    bench.out(0x43, 0x80)
    expected = [count & 0xFF] if access == LSB_ONLY else [count >> 8]
    if access == LSB_THEN_MSB:
        expected = [0x34, 0x12]
    assert [bench.in_(0x42) for _ in expected] == expected


@pytest.mark.parametrize(("bcd", "count"), [(0, 0x10000), (BCD, 10000)], ids=["binary", "bcd"])
def test_a_count_of_0_is_the_greatest(bench: Bench, bcd: int, count: int) -> None:
    bench.gate(1)
    bench.control(2, LSB_THEN_MSB | mode(0) | bcd)
    bench.count(2, 0)
    bench.to(count)
    assert bench.out2() == 0
    bench.to(count + 1)
    assert bench.out2() == 1


def test_a_bcd_counter_counts_decimal_digits_and_wraps_to_9999(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_THEN_MSB | mode(0) | BCD)
    bench.count(2, 0x1000)
    bench.to(2)
    assert bench.read(2) == 0x0999
    bench.to(1001)
    assert (bench.read(2), bench.out2()) == (0, 1)
    bench.to(1002)
    assert bench.read(2) == 0x9999


@pytest.mark.parametrize(("written", "acts_as"), [(6, 2), (7, 3)])
def test_the_high_mode_bit_of_the_periodic_modes_is_a_dont_care(
    bench: Bench, written: int, acts_as: int
) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(written))
    bench.out(0x42, 4)
    assert bench.wave(8) == {2: "---_---_", 3: "--__--__"}[acts_as]
    assert bench.status(2) & 0x3F == LSB_ONLY | mode(written)


@pytest.mark.parametrize(("number", "wave"), [(2, "-_-_-_"), (3, "-_-_-_")])
def test_the_illegal_count_of_1_in_a_periodic_mode_acts_as_2(bench: Bench, number: int, wave: str) -> None:
    bench.gate(1)
    bench.control(2, LSB_ONLY | mode(number))
    bench.out(0x42, 1)
    assert bench.wave(6) == wave


def test_a_latched_count_stays_until_it_is_read_and_a_second_latch_is_ignored(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_THEN_MSB | mode(0))
    bench.count(2, 0x1000)
    bench.to(1)
    bench.out(0x43, 0x80)
    bench.to(0x101)
    bench.out(0x43, 0x80)
    assert bench.in_(0x42) | bench.in_(0x42) << 8 == 0x1000
    assert bench.in_(0x42) | bench.in_(0x42) << 8 == 0x0F00


def test_a_control_word_drops_a_latched_count(bench: Bench) -> None:
    bench.control(2, LSB_THEN_MSB | mode(0))
    bench.count(2, 0x1234)
    bench.to(1)
    bench.out(0x43, 0x80)
    bench.control(2, LSB_ONLY | mode(0))
    bench.out(0x42, 0x77)
    bench.to(2)
    assert bench.in_(0x42) == 0x77


def test_reads_and_writes_of_two_bytes_may_be_interleaved(bench: Bench) -> None:
    bench.control(2, LSB_THEN_MSB | mode(2))
    bench.count(2, 0x1234)
    bench.to(1)
    low = bench.in_(0x42)
    bench.out(0x42, 0x78)
    high = bench.in_(0x42)
    bench.out(0x42, 0x56)
    assert (low, high) == (0x34, 0x12)
    bench.gate(1)
    bench.to(2)
    assert bench.read(2) == 0x5678


def test_the_status_byte_tells_out_null_count_and_the_control_word(bench: Bench) -> None:
    bench.control(2, LSB_THEN_MSB | mode(2) | BCD)
    assert bench.status(2) == 0x80 | 0x40 | LSB_THEN_MSB | mode(2) | BCD
    bench.count(2, 0x0010)
    assert bench.status(2) & 0x40
    bench.to(1)
    assert bench.status(2) == 0x80 | LSB_THEN_MSB | mode(2) | BCD


def test_null_count_is_set_by_the_second_byte_only(bench: Bench) -> None:
    bench.gate(1)
    bench.control(2, LSB_THEN_MSB | mode(2))
    bench.count(2, 8)
    bench.to(1)
    bench.out(0x42, 4)
    assert bench.status(2) & 0x40 == 0
    bench.out(0x42, 0)
    assert bench.status(2) & 0x40
    bench.to(9)
    assert bench.status(2) & 0x40 == 0


def test_read_back_latches_the_count_and_status_of_all_chosen_counters(bench: Bench) -> None:
    for counter in (0, 2):
        bench.control(counter, LSB_THEN_MSB | mode(0))
        bench.count(counter, 0x1200 + counter)
    bench.to(1)
    bench.out(0x43, 0xC0 | 0x02 | 0x08)
    bench.to(100)
    assert [bench.in_(0x40) for _ in range(3)] == [0x30, 0x00, 0x12]
    assert [bench.in_(0x42) for _ in range(3)] == [0x30, 0x02, 0x12]


def test_read_back_of_the_status_alone_leaves_the_count_unlatched(bench: Bench) -> None:
    bench.control(0, LSB_ONLY | mode(0))
    bench.out(0x40, 0x50)
    bench.to(1)
    bench.out(0x43, 0xE2)
    bench.to(0x11)
    assert bench.in_(0x40) == LSB_ONLY
    assert bench.in_(0x40) == 0x40


def test_the_control_word_register_cannot_be_read(bench: Bench) -> None:
    assert bench.in_(0x43) == 0xFF


def test_a_word_access_is_two_bytes_at_consecutive_ports(bench: Bench) -> None:
    bench.control(0, LSB_ONLY | mode(0))
    bench.control(1, LSB_ONLY | mode(0))
    bench.io.write(0x40, 2, 0x2211)
    bench.to(1)
    assert bench.io.read(0x40, 2) == 0x2211


# -- port 0x61


def test_port_61_keeps_its_four_control_bits(bench: Bench) -> None:
    bench.out(0x61, 0xFF)
    assert bench.in_(0x61) & 0xCF == 0x0F
    bench.out(0x61, 0x02)
    assert bench.in_(0x61) & 0xCF == 0x02


def test_the_refresh_bit_toggles_every_18_pulses(bench: Bench) -> None:
    levels = []
    for pulse in (0, 17, 18, 35, 36):
        bench.to(pulse)
        levels.append(bench.in_(0x61) >> 4 & 1)
    assert levels == [0, 0, 1, 1, 0]


# -- IRQ 0


def test_irq_0_rises_once_at_the_terminal_count_of_mode_0(bench: Bench) -> None:
    bench.control(0, LSB_THEN_MSB | mode(0))
    bench.count(0, 1000)
    bench.to(500_000)
    assert bench.edge_pulses() == [1001]
    assert bench.irq.level == 1


def test_irq_0_falls_when_mode_0_is_programmed(bench: Bench) -> None:
    bench.control(0, LSB_ONLY | mode(0))
    bench.out(0x40, 1)
    bench.to(2)
    assert bench.irq.level == 1
    bench.control(0, LSB_ONLY | mode(0))
    assert bench.irq.level == 0


def test_irq_0_rises_at_the_end_of_the_strobe_of_mode_4(bench: Bench) -> None:
    bench.control(0, LSB_ONLY | mode(4))
    bench.edges.clear()
    bench.out(0x40, 10)
    bench.to(100_000)
    assert bench.edge_pulses() == [12]


@pytest.mark.parametrize("number", [0, 4], ids=["terminal-count", "strobe"])
def test_a_one_shot_that_is_over_leaves_no_timer_armed(bench: Bench, number: int) -> None:
    bench.control(0, LSB_ONLY | mode(number))
    bench.out(0x40, 10)
    assert bench.clock.queue.next_deadline() is not None
    bench.to(12)
    assert bench.clock.queue.next_deadline() is None


def test_a_square_wave_is_waited_for_once_a_period(bench: Bench) -> None:
    bench.control(0, LSB_THEN_MSB | mode(3))
    bench.count(0, 1000)
    bench.to(1)
    deadline = bench.clock.queue.next_deadline()
    assert deadline is not None
    assert deadline * CLOCK_HZ // NS_PER_SECOND == 1001


def test_a_control_word_that_takes_out_high_is_an_edge_of_irq_0(bench: Bench) -> None:
    bench.control(0, LSB_ONLY | mode(0))
    bench.edges.clear()
    bench.control(0, LSB_ONLY | mode(2))
    assert bench.edge_pulses() == [0]


@pytest.mark.parametrize("number", [2, 3], ids=["rate-generator", "square-wave"])
def test_irq_0_rises_once_a_period_without_drift(number: int) -> None:
    bench = Bench(start=123_456_789)
    bench.control(0, LSB_THEN_MSB | mode(number))
    bench.edges.clear()
    bench.count(0, 11932)
    bench.clock.advance(10 * NS_PER_SECOND)
    expected = [1 + 11932 * (i + 1) for i in range(len(bench.edges))]
    assert bench.edge_pulses() == expected
    assert len(expected) == 10 * CLOCK_HZ // 11932


def test_a_rising_edge_comes_at_the_first_nanosecond_of_its_pulse(bench: Bench) -> None:
    bench.control(0, LSB_ONLY | mode(0))
    bench.out(0x40, 2)
    bench.clock.advance(2514)
    assert bench.edges == []
    bench.clock.advance(1)  # 3 pulses are 2514.29 ns
    assert bench.edges == [2515]


def test_a_new_rate_takes_over_at_the_end_of_the_period(bench: Bench) -> None:
    bench.control(0, LSB_THEN_MSB | mode(2))
    bench.edges.clear()
    bench.count(0, 1000)
    bench.to(500)
    bench.count(0, 400)
    bench.to(2000)
    assert bench.edge_pulses() == [1001, 1401, 1801]


def test_edges_that_passed_during_a_long_stop_are_one_edge_and_the_phase_is_kept() -> None:
    class StoppedClock(ManualClock):
        def stop_until(self, now: int) -> None:
            self._now = now
            self.queue.run_due(now)

    bench = Bench()
    clock = StoppedClock()
    bench.clock = clock
    bench.pit = plug(Pit(), FakeSystem(clock), {0: bench.irq})
    (_, region), _ = bench.pit.ports()
    region.write(3, 1, LSB_THEN_MSB | mode(2))
    region.write(0, 1, 1000 & 0xFF)
    region.write(0, 1, 1000 >> 8)
    bench.edges.clear()
    clock.stop_until(NS_PER_SECOND)
    assert len(bench.edges) == 1
    bench.edges.clear()
    clock.advance(1_000_000)
    next_edge = 1 + -(-(CLOCK_HZ - 1) // 1000) * 1000
    assert bench.edge_pulses() == [next_edge]


def test_a_late_square_wave_edge_is_not_withdrawn_by_the_low_half(bench: Bench) -> None:
    bench.control(0, LSB_THEN_MSB | mode(3))
    bench.count(0, 1000)
    bench.to(1002)
    bench.to(1600)
    assert bench.status(0) & 0x80 == 0
    assert bench.irq.level == 1


def test_after_reset_irq_0_comes_at_18_hz_and_starts_low() -> None:
    bench = Bench()
    bench.irq.raise_()
    bench.pit.reset()
    assert bench.irq.level == 0
    bench.edges.clear()
    bench.clock.advance(NS_PER_SECOND)
    assert len(bench.edges) == 18


def test_no_port_is_posted(bench: Bench) -> None:
    assert all(not region.posted for _, region in bench.pit.ports())


# -- one step or many


@settings(deadline=None, max_examples=300)
@given(
    number=st.integers(0, 5),
    count=st.integers(0, 9),
    bcd=st.booleans(),
    steps=st.lists(
        st.tuples(st.sampled_from(["gate-up", "gate-down", "count", "none"]), st.integers(1, 40)), max_size=6
    ),
)
def test_one_step_over_many_pulses_is_the_same_as_pulse_by_pulse(
    number: int, count: int, bcd: bool, steps: list[tuple[str, int]]
) -> None:
    leap, walk = Counter(), Counter()
    for counter in (leap, walk):
        counter.gate = 0
        counter.write_control(LSB_ONLY | mode(number) | bcd)
        counter.write(count)
    for action, pulses in steps:
        for counter in (leap, walk):
            if action == "gate-up":
                counter.set_gate(1)
            elif action == "gate-down":
                counter.set_gate(0)
            elif action == "count":
                counter.write(count + 3)
        due = leap.next_rise()
        target = leap.pulse + pulses
        rises = [pulse for pulse in range(walk.pulse + 1, target + 1) if walk.advance(pulse)]
        assert leap.advance(target) == bool(rises)
        assert leap.state() == walk.state()
        if rises or (due is not None and due <= target):
            assert rises[:1] == [due]


# -- state


@pytest.mark.parametrize("number", range(6))
def test_state_goes_over_to_another_pit_in_the_middle_of_a_pulse_and_a_count(number: int) -> None:
    bench = Bench()
    bench.out(0x61, 0x03)
    for counter in (0, 2):
        bench.control(counter, LSB_THEN_MSB | mode(number))
        bench.count(counter, 300)
    bench.gate(0)
    bench.gate(3)
    bench.clock.advance(100_300)
    bench.out(0x43, 0xC8)
    bench.out(0x42, 0x55)  # half a count
    other = Bench(start=987_654_321)
    other.pit.load(bench.pit.state())
    assert other.pit.state() == bench.pit.state()
    bench.edges.clear()
    other.edges.clear()
    for made in (bench, other):
        made.clock.advance(1_000_000)

    def passed(made: Bench, start: int) -> list[int]:
        return [now - start for now in made.edges]

    assert passed(bench, 100_300) == passed(other, 987_654_321)
    reads: list[Any] = [[made.in_(0x42) for _ in range(5)] for made in (bench, other)]
    assert reads[0] == reads[1]
    assert bench.pit.state() == other.pit.state()
