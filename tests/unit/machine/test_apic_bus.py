"""Which local APICs an interrupt message reaches (SDM vol. 3, 10.6.2), and what it leaves there."""

from collections.abc import Callable

import pytest

from mpvm.abi.layout import Startup, VcpuArea
from mpvm.hw.intc.message import DeliveryMode, InterruptMessage
from mpvm.machine.apic_bus import (
    APIC_BASE_ENABLE,
    APIC_BASE_X2APIC,
    DFR,
    ID,
    LDR,
    LVT_LEVEL,
    LVT_LINT0,
    LVT_LINT1,
    LVT_MASKED,
    SVR,
    SVR_APIC_ENABLED,
    TPR,
    ApicBus,
)

FLAT, CLUSTER = 0xFFFFFFFF, 0x0FFFFFFF
EXTINT_UNMASKED = DeliveryMode.EXTINT << 8


class Bench:
    def __init__(self, smp: int) -> None:
        self.areas = [VcpuArea(index=index, apic_id=index, is_bsp=index == 0) for index in range(smp)]
        for area in self.areas:
            area.lapic.regs[SVR] = SVR_APIC_ENABLED | 0xFF
            area.lapic.regs[DFR] = FLAT
            area.lapic.regs[LVT_LINT0] = area.lapic.regs[LVT_LINT1] = LVT_MASKED
            area.lapic.regs[ID] = area.index << 24
            area.control.guest.apic_base = APIC_BASE_ENABLE
        self.kicked: list[int] = []
        self.bus = ApicBus(self.areas, self.kicked.append)

    def logical(self, *ids: int, dfr: int = FLAT) -> None:
        for area, id_ in zip(self.areas, ids, strict=True):
            area.lapic.regs[LDR] = id_ << 24
            area.lapic.regs[DFR] = dfr

    def x2apic(self) -> None:
        for area in self.areas:
            area.control.guest.apic_base |= APIC_BASE_X2APIC

    def send(
        self,
        destination: int,
        mode: DeliveryMode = DeliveryMode.FIXED,
        *,
        logical: bool = False,
        level: bool = False,
        vector: int = 0x31,
    ) -> list[int]:
        """The vCPUs that were kicked by a message."""
        self.kicked.clear()
        self.bus.send(InterruptMessage(vector, mode, destination, logical, level))
        return self.kicked[:]


@pytest.mark.parametrize("destination", [0, 1, 3])
def test_a_physical_destination_is_the_apic_id(destination: int) -> None:
    assert Bench(4).send(destination) == [destination]


def test_a_physical_destination_is_the_id_that_the_guest_has_written() -> None:
    bench = Bench(2)
    bench.areas[1].lapic.regs[ID] = 5 << 24
    assert (bench.send(5), bench.send(1)) == ([1], [])
    bench.x2apic()
    assert (bench.send(5), bench.send(1)) == ([], [1])


def test_a_physical_destination_of_nobody_reaches_nobody() -> None:
    assert Bench(4).send(4) == []


@pytest.mark.parametrize("logical", [False, True])
@pytest.mark.parametrize("x2apic", [False, True])
def test_all_ones_is_everybody(logical: bool, x2apic: bool) -> None:
    bench = Bench(3)
    if x2apic:
        bench.x2apic()
    assert bench.send(0xFF, logical=logical) == [0, 1, 2]


def test_the_flat_model_matches_any_common_bit() -> None:
    bench = Bench(4)
    bench.logical(1, 2, 4, 8)
    assert bench.send(0b0110, logical=True) == [1, 2]
    assert bench.send(0b0001, logical=True) == [0]
    assert bench.send(0b10000, logical=True) == []


def test_the_cluster_model_matches_bits_within_the_cluster() -> None:
    bench = Bench(4)
    bench.logical(0x11, 0x12, 0x21, 0x22, dfr=CLUSTER)
    assert bench.send(0x13, logical=True) == [0, 1]
    assert bench.send(0x22, logical=True) == [3]
    assert bench.send(0x31, logical=True) == []


def test_an_apic_without_a_logical_id_matches_no_logical_destination() -> None:
    bench = Bench(2)
    assert bench.send(0x7F, logical=True) == []


def test_x2apics_logical_id_follows_from_the_apic_id() -> None:
    bench = Bench(20)
    bench.x2apic()
    assert bench.send(0b1010, logical=True) == [1, 3]


@pytest.mark.parametrize(("level", "left"), [(False, 1), (True, 2)], ids=["edge", "level"])
def test_a_fixed_interrupt_is_left_with_its_trigger_mode(level: bool, left: int) -> None:
    bench = Bench(2)
    bench.send(1, level=level, vector=0xEF)
    inbox = bench.areas[1].inbox
    assert (inbox.any, inbox.vector[0xEF], sum(inbox.vector)) == (1, left, left)
    assert bench.areas[0].inbox.any == 0


@pytest.mark.parametrize(
    ("mode", "field", "mark"),
    [
        (DeliveryMode.NMI, "nmi", 1),
        (DeliveryMode.INIT, "startup", Startup.INIT),
        (DeliveryMode.SMI, "smi", 1),
        (DeliveryMode.EXTINT, "extint", 1),
    ],
)
def test_the_other_modes_leave_their_mark_and_no_vector(mode: DeliveryMode, field: str, mark: int) -> None:
    bench = Bench(2)
    assert bench.send(1, mode) == [1]
    inbox = bench.areas[1].inbox
    assert (getattr(inbox, field), inbox.any, sum(inbox.vector)) == (mark, 1, 0)


def test_the_interrupt_is_there_before_the_target_is_told() -> None:
    bench = Bench(1)
    seen: list[tuple[int, int]] = []
    inbox = bench.areas[0].inbox
    ApicBus(bench.areas, lambda index: seen.append((inbox.any, inbox.vector[0x31]))).send(
        InterruptMessage(0x31, DeliveryMode.FIXED, 0, False, False)
    )
    assert seen == [(1, 1)]


@pytest.mark.parametrize("mode", [DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY])
def test_a_software_disabled_apic_takes_no_vector(mode: DeliveryMode) -> None:
    bench = Bench(2)
    bench.areas[0].lapic.regs[SVR] = 0xFF
    assert bench.send(0xFF, mode) == [1]


@pytest.mark.parametrize("mode", [DeliveryMode.NMI, DeliveryMode.INIT, DeliveryMode.SMI])
def test_a_software_disabled_apic_still_takes_the_rest(mode: DeliveryMode) -> None:
    bench = Bench(1)
    bench.areas[0].lapic.regs[SVR] = 0xFF
    assert bench.send(0, mode) == [0]


def test_lowest_priority_goes_to_the_one_with_the_lowest_task_priority() -> None:
    bench = Bench(4)
    bench.logical(1, 2, 4, 8)
    for area, priority in zip(bench.areas, (0x10, 0x50, 0x20, 0x30), strict=True):
        area.lapic.regs[TPR] = priority
    assert bench.send(0b1110, DeliveryMode.LOWEST_PRIORITY, logical=True) == [2]


def test_equal_priorities_take_turns() -> None:
    bench = Bench(3)
    got = [bench.send(0xFF, DeliveryMode.LOWEST_PRIORITY) for _ in range(6)]
    assert sorted(got[:3]) == sorted(got[3:]) == [[0], [1], [2]]


def test_intr_kicks_the_bsp_and_whoever_takes_extint_at_lint0() -> None:
    bench = Bench(4)
    bench.areas[1].lapic.regs[LVT_LINT0] = EXTINT_UNMASKED | LVT_MASKED
    bench.areas[2].lapic.regs[LVT_LINT0] = EXTINT_UNMASKED
    bench.areas[3].lapic.regs[LVT_LINT0] = DeliveryMode.NMI << 8
    bench.bus.raise_intr()
    assert bench.kicked == [0, 2, 3]
    assert bench.areas[3].inbox.nmi == 1


@pytest.mark.parametrize(("lint0", "left"), [(0x45, 1), (LVT_LEVEL | 0x45, 2), (LVT_MASKED | 0x45, 0)])
def test_the_8259s_may_be_a_vector_at_lint0(lint0: int, left: int) -> None:
    bench = Bench(2)
    bench.areas[1].lapic.regs[LVT_LINT0] = lint0
    bench.bus.raise_intr()
    assert bench.areas[1].inbox.vector[0x45] == left


@pytest.mark.parametrize(
    ("lint1", "nmi", "vector"),
    [
        (DeliveryMode.NMI << 8, 1, 0),
        (LVT_MASKED | DeliveryMode.NMI << 8, 0, 0),
        (LVT_LEVEL | 0x45, 0, 1),
        (3 << 8, 0, 0),
    ],
)
def test_the_boards_nmi_is_what_lint1_makes_of_it(lint1: int, nmi: int, vector: int) -> None:
    bench = Bench(2)
    bench.areas[1].lapic.regs[LVT_LINT1] = lint1
    bench.bus.raise_nmi()
    assert bench.kicked == [1] * (nmi or vector)
    assert (bench.areas[1].inbox.nmi, bench.areas[1].inbox.vector[0x45]) == (nmi, vector)


def test_the_boards_nmi_reaches_a_cpu_whose_local_apic_is_off() -> None:
    bench = Bench(1)
    bench.areas[0].control.guest.apic_base = 0
    bench.bus.raise_nmi()
    assert bench.areas[0].inbox.nmi == 1


def test_an_nmi_of_the_board_joins_those_that_wait() -> None:
    bench = Bench(1)
    bench.areas[0].inbox.nmi = 2
    bench.send(0, DeliveryMode.NMI)
    assert bench.areas[0].inbox.nmi == 2


def test_a_reset_takes_back_what_nobody_has_seen() -> None:
    bench = Bench(1)
    bench.send(0)
    bench.send(0, DeliveryMode.NMI)
    bench.bus.clear()
    inbox = bench.areas[0].inbox
    assert (inbox.any, inbox.nmi, sum(inbox.vector)) == (0, 0, 0)


def test_system_management_interrupts_are_told_as_what_there_is_not(logged: Callable[[], list[str]]) -> None:
    bench = Bench(2)
    bench.send(1, DeliveryMode.NMI)
    assert logged() == []
    bench.send(1, DeliveryMode.SMI)
    assert logged() == ["unimp: vCPU 1: SMI, and there is no system-management mode"]


def test_a_local_apic_off_the_bus_gets_nothing_and_one_that_comes_has_an_empty_inbox() -> None:
    bench = Bench(3)
    bench.bus.unplug(bench.areas[1])
    assert bench.send(0xFF, DeliveryMode.NMI) == [0, 2]
    assert bench.send(1) == []
    bench.areas[1].inbox.any = bench.areas[1].inbox.vector[0x31] = 1
    bench.bus.plug(bench.areas[1])
    assert (bench.areas[1].inbox.any, bench.areas[1].inbox.vector[0x31]) == (0, 0)
    assert bench.send(1) == [1]
