"""What the VM page says about ports, so that workers need not ask."""

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.abi.layout import (
    MAX_DEVICE_RANGES,
    MAX_MEMORY_SLOTS,
    MAX_SHADOWS,
    PortWrite,
    ShadowKind,
    VmPage,
)
from mpvm.abi.log import LogItem
from mpvm.machine.publish import PublishedWindow, Publisher
from mpvm.memory.address_space import BEHIND_PRIORITY, AddressSpace
from mpvm.memory.ram import VGA_HOLE_END, VGA_HOLE_START
from mpvm.memory.region import RamRegion, Region, ShadowRegister
from mpvm.trace import log


def region(name: str, **declared: object) -> Region:
    return Region(name, 8, lambda offset, size: 0, lambda offset, size, value: None, **declared)  # type: ignore[arg-type]


def publish(*mapped: tuple[int, Region]) -> VmPage:
    ports, page = AddressSpace("ports", 0x10000), VmPage()
    for base, each in mapped:
        ports.map(base, each)
    Publisher(page).publish(ports)
    return page


def test_only_declared_ports_are_posted() -> None:
    page = publish((0x3F8, region("uart", posted=frozenset({0, 3}))), (0x60, region("keyboard")))
    assert [port for port in range(0x10000) if page.port_posted[port] == PortWrite.POSTED] == [0x3F8, 0x3FB]
    assert page.port_posted[0x60] == PortWrite.SYNCHRONOUS


def test_who_is_nobody_is_read_as_all_ones_and_hears_nothing() -> None:
    page = publish((0x60, region("keyboard")))
    nobody = page.port_shadow[0x5F]
    assert page.shadow[nobody - 1].kind == ShadowKind.NOBODY
    assert [port for port in range(0x10000) if page.port_shadow[port] != nobody] == list(range(0x60, 0x68))
    assert [port for port in range(0x10000) if page.port_posted[port] != PortWrite.NOBODY] == list(
        range(0x60, 0x68)
    )


def test_a_region_that_comes_or_goes_later_is_published() -> None:
    register = ShadowRegister()
    register.set_constant(1)
    ports, page = AddressSpace("ports", 0x10000), VmPage()
    Publisher(page).publish(ports)
    nobody = page.port_shadow[0xC000]
    late = region("bar", posted=frozenset({1}), shadows={2: register})
    ports.map(0xC000, late)
    assert (page.port_posted[0xC000], page.port_posted[0xC001]) == (PortWrite.SYNCHRONOUS, PortWrite.POSTED)
    assert page.shadow[page.port_shadow[0xC002] - 1].value == 1
    ports.unmap(0xC000)
    assert page.port_posted[0xC001] == PortWrite.NOBODY
    assert page.port_shadow[0xC002] == nobody


def test_what_another_region_hides_is_not_published() -> None:
    ports, page = AddressSpace("ports", 0x10000), VmPage()
    ports.map(0x100, region("in front"))
    ports.map(0x100, region("behind", posted=frozenset({0})), BEHIND_PRIORITY)
    Publisher(page).publish(ports)
    assert page.port_posted[0x100] == PortWrite.SYNCHRONOUS


def test_who_logs_the_guests_errors_hears_of_nobodys_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_mask", int(LogItem.GUEST_ERRORS))
    page = publish((0x60, region("keyboard")))
    assert (page.port_posted[0x70], page.port_shadow[0x70]) == (PortWrite.SYNCHRONOUS, 0)


def test_a_constant_is_published_at_once_and_at_every_change() -> None:
    register = ShadowRegister()
    register.set_constant(0x60)
    page = publish((0x3F8, region("uart", shadows={5: register})))
    slot = page.port_shadow[0x3FD] - 1
    shadow = page.shadow[slot]
    assert (shadow.kind, shadow.value, shadow.seq % 2) == (ShadowKind.CONSTANT, 0x60, 0)
    before = shadow.seq
    register.set_constant(0x61)
    assert (shadow.value, shadow.seq) == (0x61, before + 2)


def test_a_counter_is_published_as_base_and_rate() -> None:
    register = ShadowRegister()
    page = publish((0x608, region("pm-timer", shadows={0: register})))
    register.set_counter(7, 1000, 3_579_545, 0xFFFFFF)
    shadow = page.shadow[page.port_shadow[0x608] - 1]
    assert (shadow.kind, shadow.value, shadow.base_ns, shadow.hz, shadow.mask) == (
        ShadowKind.COUNTER,
        7,
        1000,
        3_579_545,
        0xFFFFFF,
    )


def test_a_withdrawn_register_is_read_by_an_exit_again() -> None:
    register = ShadowRegister()
    page = publish((0x3F8, region("uart", shadows={5: register})))
    register.set_synchronous()
    shadow = page.shadow[page.port_shadow[0x3FD] - 1]
    assert (shadow.kind, shadow.seq % 2) == (ShadowKind.NONE, 0)


def test_registers_have_slots_of_their_own_and_one_at_two_ports_has_one() -> None:
    one, two = ShadowRegister(), ShadowRegister()
    page = publish((0x100, region("a", shadows={0: one, 4: one})), (0x200, region("b", shadows={0: two})))
    assert page.port_shadow[0x100] == page.port_shadow[0x104] != page.port_shadow[0x200]
    assert page.port_shadow[0x101] == 0


def test_the_sequence_wraps() -> None:
    register = ShadowRegister()
    page = publish((0x100, region("a", shadows={0: register})))
    shadow = page.shadow[page.port_shadow[0x100] - 1]
    shadow.seq = 0xFFFFFFFE
    register.set_constant(5)
    assert shadow.seq == 0


def test_too_many_shadows_are_a_defect_of_the_machine() -> None:
    registers = [ShadowRegister() for _ in range(MAX_SHADOWS + 1)]
    with pytest.raises(DeviceError, match=f"more than {MAX_SHADOWS}"):
        publish(*((8 * n, region(str(n), shadows={0: register})) for n, register in enumerate(registers)))


def test_registers_in_memory_are_published_by_their_address() -> None:
    register = ShadowRegister()
    register.set_constant(0x1122334455667788)
    memory, page = AddressSpace("memory", 1 << 52), VmPage()
    memory.map(0xFED00000, region("hpet", shadows={0: register}))
    Publisher(page).publish_memory(memory)
    assert page.memory_shadow_count == 1
    assert page.memory_shadow[0].gpa == 0xFED00000
    assert page.shadow[page.memory_shadow[0].shadow].value == 0x1122334455667788


def ranges(page: VmPage) -> list[tuple[int, int]]:
    return [(page.device_range[i].start, page.device_range[i].end) for i in range(page.device_range_count)]


def test_where_devices_are_in_memory_is_published_now_and_when_it_changes() -> None:
    memory, page = AddressSpace("memory", 1 << 52), VmPage()
    memory.map(0xFED00000, region("one"))
    Publisher(page).publish_memory(memory)
    assert (ranges(page), page.device_ranges_seq % 2) == ([(0xFED00000, 0xFED00008)], 0)
    assert page.device_ranges_seq != 0
    memory.map(0xFE000000, region("bar"))
    assert ranges(page) == [(0xFE000000, 0xFE000008), (0xFED00000, 0xFED00008)]
    memory.unmap(0xFE000000)
    assert ranges(page) == [(0xFED00000, 0xFED00008)]


def test_more_devices_than_can_be_told_of_are_looked_for_by_the_coordinator() -> None:
    memory, page = AddressSpace("memory", 1 << 52), VmPage()
    Publisher(page).publish_memory(memory)
    for number in range(MAX_DEVICE_RANGES + 1):
        memory.map(0xFE000000 + number * 0x1000, region("bar"))
    assert page.device_ranges_seq % 2 == 1
    memory.unmap(0xFE000000)
    assert (page.device_ranges_seq % 2, page.device_range_count) == (0, MAX_DEVICE_RANGES)


def test_who_logs_the_guests_errors_hears_of_nobodys_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_mask", int(LogItem.GUEST_ERRORS))
    memory, page = AddressSpace("memory", 1 << 52), VmPage()
    Publisher(page).publish_memory(memory)
    assert page.device_ranges_seq == 0


def publish_ram(*mapped: tuple[int, Region], slots: int = 2) -> tuple[VmPage, bytearray]:
    memory, page, block = AddressSpace("memory", 1 << 52), VmPage(slot_count=slots), bytearray(1 << 20)
    for base, each in mapped:
        memory.map(base, each, BEHIND_PRIORITY)

    def store(offset: int, data: bytes) -> None:
        block[offset : offset + len(data)] = data

    Publisher(page).publish_ram(memory, memoryview(block), store)
    return page, block


def slots(page: VmPage) -> list[tuple[int, int, int]]:
    return [(each.gpa, each.size, each.offset) for each in page.slot[2 : page.slot_count]]


def test_a_devices_memory_is_a_slot_behind_the_rams_own() -> None:
    one, other = RamRegion("one", 0x1000), RamRegion("other", 0x2000)
    one.write(8, 2, 0x2211)
    page, block = publish_ram((0xFF000000, one), (0xFE000000, other), (0xFD000000, region("registers")))
    assert slots(page) == [
        (0xFE000000, 0x2000, VGA_HOLE_START),
        (0xFF000000, 0x1000, VGA_HOLE_START + 0x2000),
    ]
    assert page.memory_generation == 2
    assert block[VGA_HOLE_START + 0x2008 : VGA_HOLE_START + 0x200A] == b"\x11\x22"
    one.write(0, 4, 0x44332211)
    assert block[VGA_HOLE_START + 0x2000 : VGA_HOLE_START + 0x2004] == b"\x11\x22\x33\x44"
    block[VGA_HOLE_START + 0x2001] = 0xEE
    assert one.read(0, 2) == 0xEE11


def test_memory_of_which_another_device_has_a_part_is_no_slot() -> None:
    whole, hidden = RamRegion("whole", 0x2000), RamRegion("hidden", 0x2000)
    page, _ = publish_ram((0xFF001000, hidden), (0xFF000000, whole))
    assert slots(page) == [(0xFF000000, 0x2000, VGA_HOLE_START)]


@pytest.mark.parametrize("taken", [2, MAX_MEMORY_SLOTS - 1])
def test_memory_without_room_is_the_devices_own(taken: int) -> None:
    fits = RamRegion("fits", VGA_HOLE_END - VGA_HOLE_START)
    last = RamRegion("last", 0x1000)
    page, block = publish_ram((0xFE000000, fits), (0xFF000000, last), slots=taken)
    assert page.slot_count == taken + 1
    last.write(0, 1, 5)
    assert (last.read(0, 1), any(block)) == (5, False)


def test_the_io_apics_registers_are_in_the_page() -> None:
    page = VmPage()
    window = PublishedWindow(page)
    assert page.ioapic_base == 0xFEC00000
    page.ioapic_select = 0x12
    assert window.select == 0x12
    window.select = 1
    window.show(1, 0x170020)
    assert (page.ioapic_select, page.ioapic_registers[1]) == (1, 0x170020)
