"""ACPI fixed hardware against chapter 4.8 of the specification, register by register."""

from collections.abc import Callable

import msgpack
import pytest

from mpvm.abi.errors import DeviceError
from mpvm.hw.acpi import pm
from mpvm.hw.acpi.pm import AcpiPm, ResetControl
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.system import WakeupReason
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import FakeSystem, plug

STS = pm.PM1A_EVT_BLK
EN = pm.PM1A_EVT_BLK + 2
CNT = pm.PM1A_CNT_BLK
TMR = pm.PM_TMR_BLK
GPE_STS = pm.GPE0_BLK
GPE_EN = pm.GPE0_BLK + 2

TMR_BIT, GBL_BIT, PWRBTN_BIT, RTC_BIT, WAK_BIT = 0x0001, 0x0020, 0x0100, 0x0400, 0x8000
SLP_EN = 0x2000
SECOND = 1_000_000_000
# the first ns at which bit 23 is set
HALF_WRAP_NS = -(-(1 << 23) * SECOND // 3_579_545)


class Rig:
    """The PM blocks, mapped, with counters of what they ask of the machine."""

    def __init__(self, start: int = 5_000) -> None:
        self.clock = ManualClock(start)
        self.sci = IrqLine()
        self.asked: list[str] = []
        system = FakeSystem(
            self.clock,
            power_off=lambda: self.asked.append("power off"),
            suspend=lambda: self.asked.append("suspend"),
            request_reset=lambda: self.asked.append("reset"),
        )
        self.pm = plug(AcpiPm(), system, {9: self.sci})
        self.reset_control = plug(ResetControl(), system)
        self.space = AddressSpace("io", 0x10000)
        for base, region in self.pm.ports() + self.reset_control.ports():
            self.space.map(base, region)

    def word(self, port: int) -> int:
        return self.space.read(port, 2)

    def set_word(self, port: int, value: int) -> None:
        self.space.write(port, 2, value)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_platform_is_in_acpi_mode_from_reset_on(rig: Rig) -> None:
    assert rig.word(CNT) == 0x0001
    rig.set_word(CNT, 0x0000)
    assert rig.word(CNT) == 0x0001


# -- PM timer ------------------------------------------------------------------------------------------


def test_the_timer_counts_3579545_ticks_a_second(rig: Rig) -> None:
    assert rig.space.read(TMR, 4) == 0
    rig.clock.advance(SECOND)
    assert rig.space.read(TMR, 4) == 3_579_545


def test_the_timer_wraps_at_24_bits(rig: Rig) -> None:
    rig.clock.advance(10 * SECOND)
    assert rig.space.read(TMR, 4) == 35_795_450 & 0xFFFFFF


def test_the_timer_can_be_read_in_parts(rig: Rig) -> None:
    rig.clock.advance(4 * SECOND)
    value = rig.space.read(TMR, 4)
    assert rig.space.read(TMR + 2, 2) == value >> 16
    assert rig.space.read(TMR + 1, 1) == value >> 8 & 0xFF


def test_writing_the_timer_changes_nothing(rig: Rig) -> None:
    rig.clock.advance(SECOND)
    rig.space.write(TMR, 4, 0)
    assert rig.space.read(TMR, 4) == 3_579_545


def test_the_timer_is_published_as_a_counter_that_agrees_with_the_register(rig: Rig) -> None:
    shadow = rig.pm.ports()[0][1].shadows[pm.PM_TMR_OFFSET]
    for step in (0, 1, 279, 280, 3 * SECOND, 7 * SECOND + 13):
        rig.clock.advance(step)
        assert shadow.read(rig.clock.now()) == rig.space.read(TMR, 4)


def test_tmr_sts_is_set_when_bit_23_changes_either_way(rig: Rig) -> None:
    rig.clock.advance(HALF_WRAP_NS - 1)
    assert rig.word(STS) == 0
    rig.clock.advance(1)
    assert rig.word(STS) == TMR_BIT
    rig.set_word(STS, TMR_BIT)
    assert rig.word(STS) == 0
    rig.clock.advance(HALF_WRAP_NS)
    assert rig.word(STS) == TMR_BIT


def test_tmr_sts_interrupts_only_when_enabled(rig: Rig) -> None:
    rig.clock.advance(3 * SECOND)
    assert rig.sci.level == 0
    rig.set_word(EN, TMR_BIT)
    assert rig.sci.level == 1
    rig.set_word(STS, TMR_BIT)
    assert rig.sci.level == 0


def test_the_carry_interrupts_at_its_very_tick_and_at_each_one_after(rig: Rig) -> None:
    rig.set_word(EN, TMR_BIT)
    rig.clock.advance(HALF_WRAP_NS - 1)
    assert rig.sci.level == 0
    rig.clock.advance(1)
    assert rig.sci.level == 1
    rig.set_word(STS, TMR_BIT)
    rig.clock.advance(HALF_WRAP_NS - 2)
    assert rig.sci.level == 0
    rig.clock.advance(2)
    assert rig.sci.level == 1


def test_without_tmr_en_no_clock_timer_is_armed(rig: Rig) -> None:
    assert rig.clock.queue.next_deadline() is None
    rig.set_word(EN, TMR_BIT)
    assert rig.clock.queue.next_deadline() == 5_000 + HALF_WRAP_NS
    rig.set_word(EN, 0)
    assert rig.clock.queue.next_deadline() is None


# -- PM1 events ----------------------------------------------------------------------------------------


def test_the_power_button_sets_its_status_and_interrupts_when_enabled(rig: Rig) -> None:
    rig.pm.press_power_button()
    assert (rig.word(STS), rig.sci.level) == (PWRBTN_BIT, 0)
    rig.set_word(EN, PWRBTN_BIT)
    assert rig.sci.level == 1
    rig.set_word(STS, PWRBTN_BIT)
    assert (rig.word(STS), rig.sci.level) == (0, 0)


def test_an_event_that_is_enabled_interrupts_at_once(rig: Rig) -> None:
    rig.set_word(EN, PWRBTN_BIT)
    rig.set_word(GPE_EN, 1 << 3)
    rig.pm.press_power_button()
    assert rig.sci.level == 1
    rig.set_word(STS, PWRBTN_BIT)
    rig.pm.signal_gpe(3)
    assert rig.sci.level == 1


def test_waking_tells_by_what_and_interrupts_when_that_is_enabled(rig: Rig) -> None:
    rig.set_word(EN, RTC_BIT)
    rig.pm.wake(WakeupReason.RTC)
    assert (rig.word(STS), rig.sci.level) == (WAK_BIT | RTC_BIT, 1)


def test_waking_by_the_monitor_looks_like_the_power_button(rig: Rig) -> None:
    rig.pm.wake(WakeupReason.OTHER)
    assert rig.word(STS) == WAK_BIT | PWRBTN_BIT


def test_writing_zeros_to_a_status_register_clears_nothing(rig: Rig) -> None:
    rig.pm.press_power_button()
    rig.pm.wake(WakeupReason.RTC)
    rig.set_word(STS, 0)
    assert rig.word(STS) == WAK_BIT | PWRBTN_BIT | RTC_BIT
    rig.set_word(STS, RTC_BIT | WAK_BIT)
    assert rig.word(STS) == PWRBTN_BIT


def test_the_enable_register_holds_the_events_that_exist(rig: Rig) -> None:
    rig.set_word(EN, 0xFFFF)
    assert rig.word(EN) == TMR_BIT | GBL_BIT | PWRBTN_BIT | RTC_BIT


def test_a_byte_access_reaches_half_a_register(rig: Rig) -> None:
    rig.set_word(EN, 0xFFFF)
    rig.space.write(EN + 1, 1, 0x01)
    assert rig.word(EN) == TMR_BIT | GBL_BIT | PWRBTN_BIT
    rig.pm.press_power_button()
    rig.space.write(STS, 1, 0xFF)
    assert rig.word(STS) == PWRBTN_BIT
    rig.space.write(STS + 1, 1, 0xFF)
    assert rig.word(STS) == 0


def test_a_dword_access_covers_status_and_enable(rig: Rig) -> None:
    rig.pm.press_power_button()
    rig.space.write(STS, 4, PWRBTN_BIT | RTC_BIT << 16)
    assert rig.space.read(STS, 4) == RTC_BIT << 16


# -- PM1 control ---------------------------------------------------------------------------------------


def test_sleep_enable_with_the_type_of_s5_powers_off(rig: Rig) -> None:
    rig.set_word(CNT, pm.SLP_TYP_S5 << 10)
    assert rig.asked == []
    rig.set_word(CNT, pm.SLP_TYP_S5 << 10 | SLP_EN)
    assert rig.asked == ["power off"]


def test_a_byte_write_of_the_upper_half_powers_off_too(rig: Rig) -> None:
    rig.space.write(CNT + 1, 1, (pm.SLP_TYP_S5 << 10 | SLP_EN) >> 8)
    assert rig.asked == ["power off"]


def test_sleep_enable_with_the_type_of_s3_suspends(rig: Rig) -> None:
    rig.set_word(CNT, pm.SLP_TYP_S3 << 10 | SLP_EN)
    assert rig.asked == ["suspend"]


def test_suspend_to_disk_powers_off(rig: Rig) -> None:
    rig.set_word(CNT, pm.SLP_TYP_S4 << 10 | SLP_EN)
    assert rig.asked == ["power off"]


@pytest.mark.parametrize("slp_typ", range(3, 8))
def test_other_sleep_types_do_nothing(rig: Rig, slp_typ: int) -> None:
    rig.set_word(CNT, slp_typ << 10 | SLP_EN)
    assert rig.asked == []


def test_control_keeps_its_type_and_hides_its_write_only_bits(rig: Rig) -> None:
    rig.set_word(CNT, 0x0003 << 10 | SLP_EN | 0x0004 | 0x0002)
    assert rig.word(CNT) == 0x0003 << 10 | 0x0002 | 0x0001


# -- GPE0 ----------------------------------------------------------------------------------------------


def test_a_general_purpose_event_interrupts_when_enabled_until_cleared(rig: Rig) -> None:
    rig.pm.signal_gpe(9)
    assert (rig.word(GPE_STS), rig.sci.level) == (1 << 9, 0)
    rig.space.write(GPE_EN + 1, 1, 0x02)
    assert rig.sci.level == 1
    rig.space.write(GPE_STS + 1, 1, 0x02)
    assert (rig.word(GPE_STS), rig.sci.level) == (0, 0)


def test_the_sci_stays_up_while_any_event_is_pending(rig: Rig) -> None:
    rig.set_word(EN, PWRBTN_BIT)
    rig.set_word(GPE_EN, 1)
    rig.pm.press_power_button()
    rig.pm.signal_gpe(0)
    rig.set_word(STS, PWRBTN_BIT)
    assert rig.sci.level == 1
    rig.set_word(GPE_STS, 1)
    assert rig.sci.level == 0


@pytest.mark.parametrize("number", [-1, 16])
def test_a_general_purpose_event_that_does_not_exist_is_an_error(rig: Rig, number: int) -> None:
    with pytest.raises(DeviceError, match=f"GPE {number} "):
        rig.pm.signal_gpe(number)


# -- reset ---------------------------------------------------------------------------------------------


def test_the_fadts_reset_value_in_the_reset_register_resets(rig: Rig) -> None:
    rig.space.write(pm.RESET_PORT, 1, pm.RESET_VALUE)
    assert rig.asked == ["reset"]


@pytest.mark.parametrize("value", [0x04, 0x06, 0x0E])
def test_a_rising_rst_cpu_resets(rig: Rig, value: int) -> None:
    rig.space.write(pm.RESET_PORT, 1, value & ~0x04)
    assert rig.asked == []
    rig.space.write(pm.RESET_PORT, 1, value)
    assert rig.asked == ["reset"]


def test_a_reset_that_has_been_asked_for_is_not_asked_for_twice(rig: Rig) -> None:
    rig.space.write(pm.RESET_PORT, 1, 0x06)
    rig.space.write(pm.RESET_PORT, 1, 0x06)
    assert rig.asked == ["reset"]
    rig.reset_control.reset()
    rig.space.write(pm.RESET_PORT, 1, 0x06)
    assert rig.asked == ["reset", "reset"]


def test_the_reset_register_holds_its_three_bits(rig: Rig) -> None:
    rig.space.write(pm.RESET_PORT, 1, 0xFB)
    assert rig.space.read(pm.RESET_PORT, 1) == 0x0A


def test_reset_clears_every_register_and_lowers_the_sci(rig: Rig) -> None:
    rig.set_word(EN, 0xFFFF)
    rig.set_word(GPE_EN, 0xFFFF)
    rig.set_word(CNT, 0x1C02)
    rig.pm.press_power_button()
    rig.pm.signal_gpe(3)
    rig.clock.advance(10 * SECOND)
    rig.pm.reset()
    assert rig.sci.level == 0
    image = b"".join(rig.space.read(pm.PM_BASE + i, 4).to_bytes(4, "little") for i in range(0, 16, 4))
    assert image == bytes.fromhex("00000000 01000000 00000000 00000000")


# -- state ---------------------------------------------------------------------------------------------


def test_state_goes_to_another_machine_where_the_timer_goes_on(rig: Rig) -> None:
    rig.set_word(EN, TMR_BIT | PWRBTN_BIT)
    rig.set_word(CNT, 0x0402)
    rig.set_word(GPE_EN, 0x8001)
    rig.pm.signal_gpe(5)
    rig.clock.advance(4 * SECOND)
    rig.set_word(STS, TMR_BIT)
    state = msgpack.unpackb(msgpack.packb(rig.pm.state()))

    other = Rig(start=77 * SECOND)
    other.pm.load(state)
    assert other.pm.state() == state
    assert other.sci.level == 0
    assert other.space.read(TMR, 4) == rig.space.read(TMR, 4)
    assert [other.word(p) for p in (STS, EN, CNT, GPE_STS, GPE_EN)] == [0, 0x101, 0x403, 0x20, 0x8001]
    assert other.asked == []
    other.clock.advance(SECOND)
    assert other.sci.level == 1


def test_a_pending_event_raises_the_sci_of_the_machine_it_moves_to(rig: Rig) -> None:
    rig.set_word(EN, PWRBTN_BIT)
    rig.pm.press_power_button()
    other = Rig()
    other.pm.load(rig.pm.state())
    assert other.sci.level == 1


def test_the_reset_controls_state_starts_no_reset_where_it_goes(rig: Rig) -> None:
    rig.space.write(pm.RESET_PORT, 1, 0x0F)
    other = Rig()
    other.reset_control.load(rig.reset_control.state())
    assert other.space.read(pm.RESET_PORT, 1) == 0x0E
    assert other.asked == []


def test_a_reset_control_of_its_own_answers_at_0xcf9() -> None:
    asked: list[str] = []
    system = FakeSystem(ManualClock(), request_reset=lambda: asked.append("reset"))
    control = plug(ResetControl(), system)
    [(port, region)] = control.ports()
    region.write(0, 1, 0x0E)
    assert (port, region.size, asked) == (0xCF9, 1, ["reset"])


def test_a_sleeping_state_that_there_is_not_is_told_as_such(
    rig: Rig, logged: Callable[[], list[str]]
) -> None:
    rig.set_word(CNT, pm.SLP_TYP_S5 << 10 | SLP_EN)
    rig.set_word(CNT, 3 << 10)
    assert logged() == []
    rig.set_word(CNT, 3 << 10 | SLP_EN)
    assert logged() == ["unimp: ACPI: a sleeping state of SLP_TYP 3"]
