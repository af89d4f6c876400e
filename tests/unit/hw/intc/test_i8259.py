"""The 8259A pair, register by register, against the Intel 8259A data sheet and PIIX3's ELCR."""

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.i8259 import ELCR_PORT, MASTER_PORT, SLAVE_PORT, PicPair
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import plug

EOI = 0x20
SPECIFIC_EOI = 0x60
READ_IRR = 0x0A
READ_ISR = 0x0B
POLL = 0x0C
SET_SPECIAL_MASK = 0x68
RESET_SPECIAL_MASK = 0x48


class Bench:
    def __init__(self) -> None:
        self.intr = IrqLine()
        self.pic = PicPair()
        self.pic.intr = self.intr
        plug(self.pic)
        self.io = AddressSpace("io", 0x10000)
        for base, region in self.pic.ports():
            self.io.map(base, region)

    def out(self, port: int, value: int) -> None:
        self.io.write(port, 1, value)

    def in_(self, port: int) -> int:
        return self.io.read(port, 1)

    def initialize(self, master_icw4: int = 0x01, slave_icw4: int = 0x01) -> None:
        for port, base, icw3, icw4 in (
            (MASTER_PORT, 0x30, 0x04, master_icw4),
            (SLAVE_PORT, 0x38, 0x02, slave_icw4),
        ):
            self.out(port, 0x11)
            self.out(port + 1, base)
            self.out(port + 1, icw3)
            self.out(port + 1, icw4)

    def irr(self, port: int = MASTER_PORT) -> int:
        self.out(port, READ_IRR)
        return self.in_(port)

    def isr(self, port: int = MASTER_PORT) -> int:
        self.out(port, READ_ISR)
        return self.in_(port)


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.initialize()
    return made


def test_a_rising_edge_raises_intr_and_inta_gives_the_vector(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    assert bench.intr.level == 1
    assert bench.pic.acknowledge() == 0x34
    assert bench.intr.level == 0
    assert (bench.irr(), bench.isr()) == (0x00, 0x10)


def test_an_edge_request_needs_a_new_edge_after_inta(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT, EOI)
    assert bench.intr.level == 0
    bench.pic.set_irq(4, 0)
    bench.pic.set_irq(4, 1)
    assert bench.intr.level == 1


def test_an_edge_request_whose_line_falls_before_inta_is_withdrawn(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.set_irq(4, 0)
    assert bench.irr() == 0
    assert bench.intr.level == 0


def test_inta_without_a_request_gives_the_masters_level_7_and_puts_nothing_in_service(bench: Bench) -> None:
    assert bench.pic.acknowledge() == 0x37
    assert bench.isr() == 0


def test_a_slave_request_that_is_gone_by_inta_gives_level_15_with_only_ir2_in_service(bench: Bench) -> None:
    bench.pic.set_irq(12, 1)
    bench.pic.set_irq(12, 0)
    assert bench.pic.acknowledge() == 0x3F
    assert (bench.isr(), bench.isr(SLAVE_PORT)) == (0x04, 0x00)


def test_a_real_irq_7_differs_from_a_spurious_one_by_its_in_service_bit(bench: Bench) -> None:
    bench.pic.set_irq(7, 1)
    assert bench.pic.acknowledge() == 0x37
    assert bench.isr() == 0x80


def test_a_masked_line_does_not_reach_the_output_until_it_is_unmasked(bench: Bench) -> None:
    bench.out(MASTER_PORT + 1, 0x10)
    bench.pic.set_irq(4, 1)
    assert (bench.intr.level, bench.irr()) == (0, 0x10)
    bench.out(MASTER_PORT + 1, 0x00)
    assert bench.intr.level == 1


def test_the_elcr_is_read_without_the_device(bench: Bench) -> None:
    shadows = bench.pic.ports()[2][1].shadows
    bench.out(0x4D0, 0xFF)
    bench.out(0x4D1, 0xFF)
    assert [shadows[offset].read(0) for offset in range(2)] == [0xF8, 0xDE]
    bench.pic.reset_enter()
    bench.pic.reset_hold()
    assert [shadows[offset].read(0) for offset in range(2)] == [0, 0]


def test_the_mask_register_reads_back(bench: Bench) -> None:
    bench.out(MASTER_PORT + 1, 0xA5)
    bench.out(SLAVE_PORT + 1, 0x5A)
    assert (bench.in_(MASTER_PORT + 1), bench.in_(SLAVE_PORT + 1)) == (0xA5, 0x5A)


def test_in_the_fully_nested_mode_only_a_higher_level_interrupts_a_service(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(5, 1)
    assert bench.intr.level == 0
    bench.pic.set_irq(3, 1)
    assert bench.intr.level == 1
    assert bench.pic.acknowledge() == 0x33


def test_a_non_specific_eoi_ends_the_highest_level_in_service(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(3, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT, EOI)
    assert bench.isr() == 0x10
    bench.out(MASTER_PORT, EOI)
    assert bench.isr() == 0x00


def test_a_specific_eoi_ends_just_its_level(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(3, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT, SPECIFIC_EOI | 4)
    assert bench.isr() == 0x08


def test_an_eoi_lets_a_waiting_lower_level_through(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(6, 1)
    bench.out(MASTER_PORT, EOI)
    assert bench.pic.acknowledge() == 0x36


def test_in_automatic_eoi_mode_nothing_stays_in_service() -> None:
    bench = Bench()
    bench.initialize(master_icw4=0x03)
    bench.pic.set_irq(4, 1)
    bench.pic.set_irq(6, 1)
    assert bench.pic.acknowledge() == 0x34
    assert bench.isr() == 0
    assert bench.intr.level == 1
    assert bench.pic.acknowledge() == 0x36


def test_rotate_in_automatic_eoi_mode_makes_the_served_level_the_lowest() -> None:
    bench = Bench()
    bench.initialize(master_icw4=0x03)
    bench.out(MASTER_PORT, 0x80)
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(4, 0)
    bench.pic.set_irq(4, 1)
    bench.pic.set_irq(6, 1)
    assert bench.pic.acknowledge() == 0x36
    bench.out(MASTER_PORT, 0x00)
    bench.pic.set_irq(5, 1)
    assert bench.pic.acknowledge() == 0x34  # 7 is the highest now, 6 the lowest; no rotation any more
    assert bench.pic.acknowledge() == 0x35


def test_rotate_on_non_specific_eoi_makes_that_level_the_lowest(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT, 0xA0)
    bench.pic.set_irq(3, 1)
    bench.pic.set_irq(5, 1)
    assert bench.pic.acknowledge() == 0x35


def test_rotate_on_specific_eoi_ends_and_lowers_the_named_level(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT, 0xE0 | 4)
    assert bench.isr() == 0
    bench.pic.set_irq(0, 1)
    bench.pic.set_irq(6, 1)
    assert bench.pic.acknowledge() == 0x36


def test_the_set_priority_command_names_the_lowest_level(bench: Bench) -> None:
    bench.out(MASTER_PORT, 0xC0 | 5)
    bench.pic.set_irq(0, 1)
    bench.pic.set_irq(6, 1)
    assert bench.pic.acknowledge() == 0x36
    assert bench.isr() == 0x40


def test_special_mask_mode_lets_lower_levels_interrupt_a_masked_service(bench: Bench) -> None:
    bench.pic.set_irq(3, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT + 1, 0x08)
    bench.pic.set_irq(6, 1)
    assert bench.intr.level == 0
    bench.out(MASTER_PORT, SET_SPECIAL_MASK)
    assert bench.intr.level == 1
    bench.out(MASTER_PORT, RESET_SPECIAL_MASK)
    assert bench.intr.level == 0


def test_in_special_mask_mode_a_non_specific_eoi_passes_over_a_masked_level(bench: Bench) -> None:
    bench.pic.set_irq(3, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT + 1, 0x08)
    bench.out(MASTER_PORT, SET_SPECIAL_MASK)
    bench.pic.set_irq(6, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT, EOI)
    assert bench.isr() == 0x08


def test_ocw3_without_esmm_leaves_the_special_mask_mode_alone(bench: Bench) -> None:
    bench.out(MASTER_PORT, SET_SPECIAL_MASK)
    bench.out(MASTER_PORT, 0x08)
    assert bench.pic.master.special_mask


def test_a_slave_request_takes_ir2_of_the_master_and_its_vector_is_the_slaves(bench: Bench) -> None:
    bench.pic.set_irq(9, 1)
    assert bench.irr() == 0x04
    assert bench.pic.acknowledge() == 0x39
    assert (bench.isr(), bench.isr(SLAVE_PORT)) == (0x04, 0x02)


def test_slave_levels_rank_between_irq_1_and_irq_3(bench: Bench) -> None:
    bench.pic.set_irq(3, 1)
    bench.pic.set_irq(15, 1)
    bench.pic.set_irq(1, 1)
    for expected in (0x31, 0x3F, 0x33):
        assert bench.pic.acknowledge() == expected
        bench.out(SLAVE_PORT, EOI)
        bench.out(MASTER_PORT, EOI)


def test_a_second_slave_request_comes_through_once_both_chips_have_their_eoi(bench: Bench) -> None:
    bench.pic.set_irq(9, 1)
    bench.pic.set_irq(10, 1)
    assert bench.pic.acknowledge() == 0x39
    bench.out(SLAVE_PORT, EOI)
    assert bench.intr.level == 0
    bench.out(MASTER_PORT, EOI)
    assert bench.pic.acknowledge() == 0x3A


def test_without_the_special_fully_nested_mode_a_higher_slave_level_waits(bench: Bench) -> None:
    bench.pic.set_irq(10, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(8, 1)
    assert bench.intr.level == 0


def test_in_the_special_fully_nested_mode_a_higher_slave_level_comes_through() -> None:
    bench = Bench()
    bench.initialize(master_icw4=0x11)
    bench.pic.set_irq(10, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(3, 1)
    assert bench.intr.level == 0
    bench.pic.set_irq(8, 1)
    assert bench.intr.level == 1
    assert bench.pic.acknowledge() == 0x38


def test_in_the_special_fully_nested_mode_a_level_without_a_slave_still_waits_for_its_own_eoi() -> None:
    bench = Bench()
    bench.initialize(master_icw4=0x11)
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(4, 0)
    bench.pic.set_irq(4, 1)
    assert bench.intr.level == 0


def test_a_slave_in_automatic_eoi_mode_hands_over_one_request_after_the_other() -> None:
    bench = Bench()
    bench.initialize(master_icw4=0x03, slave_icw4=0x03)
    bench.pic.set_irq(9, 1)
    bench.pic.set_irq(10, 1)
    assert [bench.pic.acknowledge(), bench.pic.acknowledge()] == [0x39, 0x3A]
    assert bench.intr.level == 0


def test_a_poll_acknowledges_the_highest_level_and_tells_it(bench: Bench) -> None:
    bench.pic.set_irq(5, 1)
    bench.out(MASTER_PORT, POLL)
    assert bench.in_(MASTER_PORT) == 0x85
    assert bench.intr.level == 0
    assert bench.isr() == 0x20


def test_a_poll_without_a_request_has_bit_7_clear_and_lasts_for_one_read(bench: Bench) -> None:
    bench.out(MASTER_PORT + 1, 0x5A)
    bench.out(MASTER_PORT, POLL)
    assert bench.in_(MASTER_PORT + 1) & 0x80 == 0
    assert bench.in_(MASTER_PORT + 1) == 0x5A


def test_polling_master_and_slave_serves_a_slave_request(bench: Bench) -> None:
    bench.pic.set_irq(9, 1)
    bench.out(MASTER_PORT, POLL)
    assert bench.in_(MASTER_PORT) == 0x82
    bench.out(SLAVE_PORT, POLL)
    assert bench.in_(SLAVE_PORT) == 0x81
    assert (bench.isr(), bench.isr(SLAVE_PORT)) == (0x04, 0x02)
    bench.out(SLAVE_PORT, EOI)
    bench.out(MASTER_PORT, EOI)
    bench.pic.set_irq(10, 1)
    assert bench.pic.acknowledge() == 0x3A


def test_a_polled_slave_in_automatic_eoi_mode_raises_a_new_edge_for_its_next_request() -> None:
    bench = Bench()
    bench.initialize(slave_icw4=0x03)
    bench.pic.set_irq(9, 1)
    bench.pic.set_irq(10, 1)
    for port, level in ((MASTER_PORT, 0x82), (SLAVE_PORT, 0x81)):
        bench.out(port, POLL)
        assert bench.in_(port) == level
    bench.out(MASTER_PORT, EOI)
    assert bench.pic.acknowledge() == 0x3A


def test_the_read_register_choice_stays_until_an_ocw3_makes_another(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(6, 1)
    bench.out(MASTER_PORT, READ_ISR)
    assert [bench.in_(MASTER_PORT), bench.in_(MASTER_PORT)] == [0x10, 0x10]
    bench.out(MASTER_PORT, RESET_SPECIAL_MASK)  # an OCW3 without RR
    assert bench.in_(MASTER_PORT) == 0x10
    bench.out(MASTER_PORT, READ_IRR)
    assert bench.in_(MASTER_PORT) == 0x40


def test_elcr_keeps_the_fixed_edge_inputs_clear(bench: Bench) -> None:
    bench.io.write(ELCR_PORT, 2, 0xFFFF)
    assert bench.io.read(ELCR_PORT, 2) == 0xDEF8
    assert bench.in_(ELCR_PORT + 1) == 0xDE


def test_a_level_triggered_line_asks_again_after_eoi_while_it_is_high(bench: Bench) -> None:
    bench.out(ELCR_PORT + 1, 0x08)
    bench.pic.set_irq(11, 1)
    assert bench.pic.acknowledge() == 0x3B
    bench.out(SLAVE_PORT, EOI)
    bench.out(MASTER_PORT, EOI)
    assert bench.intr.level == 1
    assert bench.pic.acknowledge() == 0x3B
    bench.pic.set_irq(11, 0)
    bench.out(SLAVE_PORT, EOI)
    bench.out(MASTER_PORT, EOI)
    assert bench.intr.level == 0


def test_a_line_made_level_triggered_while_it_is_high_is_a_request(bench: Bench) -> None:
    bench.pic.set_irq(5, 1)
    bench.pic.acknowledge()
    bench.out(MASTER_PORT, EOI)
    assert bench.irr() == 0
    bench.out(ELCR_PORT, 0x20)
    assert bench.irr() == 0x20


def test_icw1_clears_the_mask_the_services_and_the_latched_edges(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.pic.acknowledge()
    bench.pic.set_irq(6, 1)
    bench.out(MASTER_PORT + 1, 0xFF)
    bench.out(MASTER_PORT, SET_SPECIAL_MASK)
    bench.out(MASTER_PORT, 0xC0 | 2)
    bench.out(MASTER_PORT, READ_ISR)
    bench.out(MASTER_PORT, 0x11)
    assert bench.in_(MASTER_PORT) == 0  # IRR again
    assert bench.isr() == 0
    assert bench.in_(MASTER_PORT + 1) == 0
    assert not bench.pic.master.special_mask
    assert bench.pic.master.lowest == 7


def test_after_icw1_a_line_that_is_high_still_needs_a_new_edge(bench: Bench) -> None:
    bench.pic.set_irq(4, 1)
    bench.initialize()
    assert bench.intr.level == 0
    bench.pic.set_irq(4, 0)
    bench.pic.set_irq(4, 1)
    assert bench.pic.acknowledge() == 0x34


def test_icw1_without_icw4_turns_its_functions_off_and_expects_no_fourth_word() -> None:
    bench = Bench()
    bench.initialize(master_icw4=0x13)
    bench.out(MASTER_PORT, 0x10)
    bench.out(MASTER_PORT + 1, 0x47)
    bench.out(MASTER_PORT + 1, 0x04)
    bench.out(MASTER_PORT + 1, 0x0F)
    assert bench.in_(MASTER_PORT + 1) == 0x0F
    assert (bench.pic.master.auto_eoi, bench.pic.master.special_fully_nested) == (False, False)
    bench.pic.set_irq(4, 1)
    assert bench.pic.acknowledge() == 0x44  # the low three bits of ICW2 are the level's


def test_a_single_8259_expects_no_third_word() -> None:
    bench = Bench()
    bench.out(MASTER_PORT, 0x13)
    bench.out(MASTER_PORT + 1, 0x30)
    bench.out(MASTER_PORT + 1, 0x03)
    bench.out(MASTER_PORT + 1, 0x80)
    assert bench.pic.master.auto_eoi
    assert bench.in_(MASTER_PORT + 1) == 0x80


def test_only_the_command_ports_are_posted(bench: Bench) -> None:
    posted = {base + offset for base, region in bench.pic.ports() for offset in region.posted}
    assert posted == {MASTER_PORT, SLAVE_PORT}


@pytest.mark.parametrize("n", [-1, 2, 16])
def test_an_irq_that_no_device_can_drive_is_refused(bench: Bench, n: int) -> None:
    with pytest.raises(DeviceError, match=f"IRQ {n}"):
        bench.pic.set_irq(n, 1)


def test_reset_lowers_intr_and_forgets_the_trigger_modes(bench: Bench) -> None:
    bench.out(ELCR_PORT, 0x20)
    bench.pic.set_irq(5, 1)
    bench.pic.set_irq(9, 1)
    bench.pic.reset()
    assert (bench.intr.level, bench.irr(), bench.irr(SLAVE_PORT)) == (0, 0, 0)
    assert bench.io.read(ELCR_PORT, 2) == 0


def test_state_goes_over_to_another_pair_in_the_middle_of_a_service(bench: Bench) -> None:
    bench.out(ELCR_PORT + 1, 0x08)
    bench.out(MASTER_PORT, 0xC0 | 3)
    bench.pic.set_irq(11, 1)
    bench.pic.set_irq(4, 1)
    assert bench.pic.acknowledge() == 0x34
    other = Bench()
    other.pic.load(bench.pic.state())
    assert other.pic.state() == bench.pic.state()
    other.out(MASTER_PORT, EOI)
    assert other.pic.acknowledge() == 0x3B


def test_state_goes_over_in_the_middle_of_an_initialization(bench: Bench) -> None:
    bench.out(MASTER_PORT, 0x11)
    bench.out(MASTER_PORT + 1, 0x60)
    other = Bench()
    other.pic.load(bench.pic.state())
    other.out(MASTER_PORT + 1, 0x04)
    other.out(MASTER_PORT + 1, 0x03)
    other.out(MASTER_PORT + 1, 0x7F)
    assert other.in_(MASTER_PORT + 1) == 0x7F
    assert other.pic.master.auto_eoi
