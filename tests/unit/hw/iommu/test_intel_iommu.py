"""The IOMMU: translations and refusals, remapped interrupts, the queue, faults and their event."""

import struct

import pytest

from mpvm.abi.errors import PropertyError
from mpvm.hw.bus import SystemBus, Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.ioapic import IoApic
from mpvm.hw.intc.message import DeliveryMode, InterruptMessage
from mpvm.hw.iommu.intel_iommu import BASE_ADDRESS, IntelIommu
from mpvm.hw.pci.bus import PciBus
from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam, ram_slots
from mpvm.qom.qdev import qdev_realize
from tests.unit.hw.plug import FakeSystem

MEMORY = 4 << 20
ROOT, CONTEXTS, TABLES, QUEUE, ENTRIES = 0x10000, 0x11000, 0x12000, 0x20000, 0x100000
# Registers.
CAPABILITIES, EXTENDED, COMMAND, STATUS, ROOT_TABLE, CONTEXT_COMMAND = 8, 0x10, 0x18, 0x1C, 0x20, 0x28
FAULT_STATUS, FAULT_EVENT, HEAD, TAIL, QUEUE_ADDRESS, COMPLETION, COMPLETION_EVENT = (
    *(0x34, 0x38, 0x80, 0x88, 0x90, 0x9C, 0xA0),
)
INTERRUPTS, IOTLB, RECORD = 0xB8, 0xF8, 0x220
TRANSLATE, SET_ROOT, QUEUED, REMAP, SET_INTERRUPTS, COMPATIBILITY = (1 << n for n in (31, 30, 26, 25, 24, 23))
RECORDED = 1 << 63
REQUESTER = 0x0118
READ, WRITE, BOTH, LARGE = 1, 2, 3, 0x80
PAGE = 0x7000


class Rig:
    def __init__(self, **properties: object) -> None:
        self.sent: list[InterruptMessage] = []
        self.ram = GuestRam(memoryview(bytearray(MEMORY)), ram_slots(MEMORY))
        system = SystemBus()
        system.wiring = Wiring(
            FakeSystem(ManualClock()), lambda irq: IrqLine(), DmaMemory(self.ram, self.ram.write)
        )
        self.memory = system.wiring.memory
        self.bus = PciBus()
        self.bus.wiring = system.wiring
        self.ioapic = IoApic()
        self.ioapic.deliver = self.sent.append
        self.device = IntelIommu()
        for name, value in properties.items():
            self.device.set_property(name.replace("_", "-"), value)
        self.device.connect(self.bus, self.ioapic, self.sent.append)
        qdev_realize(self.ioapic, system)
        qdev_realize(self.device, system)

    def write(self, register: int, value: int, size: int = 4) -> None:
        self.memory.write(BASE_ADDRESS + register, size, value)

    def read(self, register: int, size: int = 4) -> int:
        return self.memory.read(BASE_ADDRESS + register, size)

    def quads(self, address: int, *values: int) -> None:
        self.ram.write(address, struct.pack(f"<{len(values)}Q", *values))

    # -- DMA -----------------------------------------------------------------------------------------

    def translate(self, context: int = TABLES | 1, width: int = 1) -> None:
        """One 4 KiB page at PAGE, which is at 0x8000, and one of 2 MiB behind it, which is itself."""
        self.quads(ROOT + 16 * (REQUESTER >> 8), CONTEXTS | 1)
        self.quads(CONTEXTS + 16 * (REQUESTER & 0xFF), context, width | 7 << 8)
        self.quads(TABLES, TABLES + 0x1000 | BOTH)
        self.quads(TABLES + 0x1000, TABLES + 0x2000 | BOTH, 0x200000 | BOTH | LARGE)
        self.page(0x8000 | BOTH)
        self.write(ROOT_TABLE, ROOT, 8)
        self.write(COMMAND, SET_ROOT)
        self.write(COMMAND, TRANSLATE)

    def page(self, entry: int) -> None:
        self.quads(TABLES + 0x2000 + 8 * (PAGE >> 12), entry)

    def store(self, address: int, data: bytes) -> bool:
        memory = self.bus.dma(REQUESTER)
        assert memory is not None
        return memory.write(address, data)

    def load(self, address: int, size: int, requester: int = REQUESTER) -> bytes | None:
        memory = self.bus.dma(requester)
        assert memory is not None
        return memory.read(address, size)

    @property
    def reason(self) -> int | None:
        record = self.read(RECORD + 8, 8)
        return record >> 32 & 0xFF if record & RECORDED else None

    # -- interrupts ----------------------------------------------------------------------------------

    def remap(self, index: int, low: int, high: int = 0) -> None:
        self.quads(ENTRIES + 16 * index, low, high)
        self.write(INTERRUPTS, ENTRIES | 7, 8)
        self.write(COMMAND, SET_INTERRUPTS)
        self.write(COMMAND, REMAP)

    def message(self, address: int, data: int = 0) -> None:
        self.bus.deliver(REQUESTER, address, data)

    def pin(self, entry: int) -> None:
        for half in range(2):
            self.memory.write(0xFEC00000, 4, 0x10 + half)
            self.memory.write(0xFEC00010, 4, entry >> 32 * half & 0xFFFFFFFF)
        self.ioapic.set_irq(0, 1)
        self.ioapic.set_irq(0, 0)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_capabilities_are_those_of_qemus(rig: Rig) -> None:
    assert (rig.read(CAPABILITIES, 8), rig.read(EXTENDED, 8)) == (0x00D2008C22260206, 0xF00F4A)
    wide = Rig(aw_bits=48, pt=False, intremap="off", caching_mode=True)
    assert (wide.read(CAPABILITIES, 8), wide.read(EXTENDED, 8)) == (0x00D2008C222F0686, 0xF02)


@pytest.mark.parametrize(("name", "value"), [("eim", "on"), ("aw_bits", 40), ("intremap", "maybe")])
def test_what_it_can_not_be_is_refused(name: str, value: object) -> None:
    with pytest.raises(PropertyError):
        Rig(**{name: value})


def test_without_translation_memory_is_as_it_is(rig: Rig) -> None:
    assert rig.store(0x9000, b"data")
    assert rig.load(0x9000, 4) == b"data"


def test_a_page_is_elsewhere(rig: Rig) -> None:
    rig.translate()
    assert rig.store(PAGE + 0x10, b"data")
    assert (rig.ram.read(0x8010, 4), rig.load(PAGE + 0x10, 4)) == (b"data", b"data")


def test_an_access_goes_on_in_the_next_page(rig: Rig) -> None:
    rig.translate()
    rig.quads(TABLES + 0x2000 + 8 * 511, 0xA000 | BOTH)
    assert rig.store(0x1FFFFE, b"data")
    assert (rig.ram.read(0xAFFE, 2), rig.ram.read(0x200000, 2)) == (b"da", b"ta")
    assert rig.load(0x1FFFFE, 4) == b"data"


def test_nothing_is_stored_of_what_is_not_there_whole(rig: Rig) -> None:
    rig.translate()
    assert not rig.store(PAGE + 0xFFE, b"data")
    assert rig.ram.read(0x8FFE, 2) == bytes(2)


@pytest.mark.parametrize(
    ("entry", "read", "reason"),
    [
        (READ, False, 5),
        (WRITE, True, 6),
        (0, True, 6),
        (BOTH | 1 << 11, True, 12),
        (BOTH | 1 << 40, True, 12),
    ],
)
def test_a_page_that_forbids_it_is_a_fault(rig: Rig, entry: int, read: bool, reason: int) -> None:
    rig.translate()
    rig.page(0x8000 | entry)
    assert rig.load(PAGE + 8, 4) is None if read else not rig.store(PAGE + 8, b"data")
    assert rig.read(RECORD, 8) == PAGE
    assert rig.read(RECORD + 8, 8) == RECORDED | read << 62 | reason << 32 | REQUESTER
    assert rig.read(FAULT_STATUS) == 2


@pytest.mark.parametrize(
    ("context", "width", "reason"),
    [
        (0, 1, 2),
        (TABLES | 1 | 1 << 4, 1, 11),
        (TABLES | 1, 1 | 1 << 24, 11),
        (TABLES | 1, 2, 3),
        (TABLES | 1, 0, 3),
        (TABLES | 1 | 3 << 2, 1, 3),
        (1 << 30 | 1, 1, 3),
    ],
)
def test_a_context_that_can_not_be_is_a_fault(rig: Rig, context: int, width: int, reason: int) -> None:
    rig.translate(context, width)
    assert rig.load(PAGE, 4) is None
    assert rig.reason == reason


def test_root_entries_and_tables_that_can_not_be_are_faults(rig: Rig) -> None:
    rig.translate()
    for entry, reason in ((0, 1), (CONTEXTS | 3, 10), (1 << 30 | 1, 9)):
        rig.quads(ROOT + 16 * (REQUESTER >> 8), entry)
        rig.load(PAGE, 4)
        assert rig.reason == reason
        rig.write(RECORD + 8, RECORDED, 8)
    rig.write(ROOT_TABLE, 1 << 30, 8)
    rig.write(COMMAND, TRANSLATE | SET_ROOT)
    rig.load(PAGE, 4)
    assert rig.reason == 8


def test_an_address_of_40_bits_is_a_fault(rig: Rig) -> None:
    rig.translate()
    assert rig.load(1 << 39, 4) is None
    assert rig.reason == 4


def test_48_bits_have_a_level_more() -> None:
    rig = Rig(aw_bits=48)
    rig.translate(TABLES - 0x1000 | 1, 2)
    rig.quads(TABLES - 0x1000 + 8, TABLES | BOTH)
    rig.quads(CONTEXTS + 16 * (REQUESTER & 0xFF), TABLES - 0x1000 | 1, 2)
    rig.store(1 << 39 | PAGE, b"data")
    assert rig.ram.read(0x8000, 4) == b"data"


def test_pass_through_is_memory_as_it_is_where_there_is_that() -> None:
    for there in (True, False):
        rig = Rig(pt=there)
        rig.translate(1 | 2 << 2)
        assert rig.store(0x9000, b"data") == there
        assert rig.reason == (None if there else 3)


def test_a_silent_context_has_its_faults_not_recorded(rig: Rig) -> None:
    rig.translate(TABLES | 3)
    assert rig.load(0x1000, 4) is None
    assert (rig.reason, rig.read(FAULT_STATUS)) == (None, 0)


def test_faults_of_one_requester_are_one(rig: Rig) -> None:
    rig.translate()
    for page in (0x1000, 0x2000):
        rig.load(page, 4)
    assert (rig.read(FAULT_STATUS), rig.read(RECORD, 8)) == (2, 0x1000)


def test_a_fault_that_finds_another_requesters_overflows(rig: Rig) -> None:
    rig.translate()
    rig.load(0x1000, 4)
    rig.load(0x2000, 4, REQUESTER + 1)
    assert (rig.read(FAULT_STATUS), rig.read(RECORD, 8)) == (3, 0x1000)
    rig.write(RECORD + 8, RECORDED, 8)
    assert rig.read(FAULT_STATUS) == 1
    rig.write(FAULT_STATUS, 1)
    assert rig.read(FAULT_STATUS) == 0


def test_the_fault_event_waits_while_it_is_masked(rig: Rig) -> None:
    rig.translate()
    rig.write(FAULT_EVENT + 4, 0x55)
    rig.write(FAULT_EVENT + 8, 0xFEE02000)
    rig.load(0x1000, 4)
    assert (rig.sent, rig.read(FAULT_EVENT)) == ([], 0xC0000000)
    rig.write(FAULT_EVENT, 0)
    assert rig.sent == [InterruptMessage(0x55, DeliveryMode.FIXED, 2, logical=False, level_triggered=False)]
    assert rig.read(FAULT_EVENT) == 0


# -- interrupts --------------------------------------------------------------------------------------


def test_a_message_is_what_its_entry_says(rig: Rig) -> None:
    rig.remap(5, 1 | 1 << 2 | 1 << 4 | 1 << 5 | 0x61 << 16 | 3 << 40)
    rig.message(0xFEE00010 | 5 << 5, 0x99)
    assert rig.sent == [
        InterruptMessage(0x61, DeliveryMode.LOWEST_PRIORITY, 3, logical=True, level_triggered=True)
    ]


def test_a_subhandle_is_added(rig: Rig) -> None:
    rig.remap(5, 1 | 0x61 << 16)
    rig.message(0xFEE00018 | 3 << 5, 2)
    assert [message.vector for message in rig.sent] == [0x61]


def test_an_index_has_16_bits(rig: Rig) -> None:
    rig.quads(ENTRIES + 16 * 0x8001, 1 | 0x61 << 16)
    rig.write(INTERRUPTS, ENTRIES | 15, 8)
    rig.write(COMMAND, SET_INTERRUPTS)
    rig.write(COMMAND, REMAP)
    rig.message(0xFEE00014 | 1 << 5)
    rig.pin(1 << 48 | 1 << 49 | 1 << 11 | 0x61)
    assert [message.vector for message in rig.sent] == [0x61, 0x61]


def test_a_pin_that_does_not_say_whose_it_is_may_be_anyones(rig: Rig) -> None:
    rig.remap(5, 1 | 0x61 << 16, 1 << 18 | 0x1234)
    rig.pin(1 << 48 | 5 << 49 | 0x61)
    assert [message.vector for message in rig.sent] == [0x61]


@pytest.mark.parametrize(
    ("validation", "passes"),
    [
        (1 << 18 | REQUESTER, True),
        (1 << 18 | REQUESTER ^ 4, False),
        (1 << 18 | 1 << 16 | REQUESTER ^ 4, True),
        (1 << 18 | 2 << 16 | REQUESTER ^ 6, True),
        (1 << 18 | 3 << 16 | REQUESTER ^ 7, True),
        (1 << 18 | 3 << 16 | REQUESTER ^ 8, False),
        (2 << 18 | 0x0002, True),
        (2 << 18 | 0x0203, False),
    ],
)
def test_an_entry_may_be_one_requesters_or_of_some_buses(rig: Rig, validation: int, passes: bool) -> None:
    rig.remap(5, 1 | 0x61 << 16, validation)
    rig.message(0xFEE00010 | 5 << 5)
    assert (bool(rig.sent), rig.reason) == ((True, None) if passes else (False, 0x26))


@pytest.mark.parametrize(
    ("index", "low", "high", "reason"),
    [
        (256, 0, 0, 0x21),
        (5, 0, 0, 0x22),
        (5, 1 | 1 << 15, 0, 0x24),
        (5, 1 | 1 << 24, 0, 0x24),
        (5, 1 | 3 << 5, 0, 0x24),
        (5, 1, 3 << 18, 0x24),
        (5, 1, 1 << 63, 0x24),
        (5, 2, 0, None),
    ],
)
def test_an_entry_that_can_not_be_is_a_fault(
    rig: Rig, index: int, low: int, high: int, reason: int | None
) -> None:
    rig.remap(index, low, high)
    rig.message(0xFEE00010 | index << 5)
    assert (rig.sent, rig.reason) == ([], reason)
    if reason is not None:
        assert rig.read(RECORD, 8) == index << 48


def test_the_compatibility_format_passes_where_it_is_let(rig: Rig) -> None:
    rig.remap(5, 1 | 0x61 << 16)
    rig.message(0xFEE00000, 0x62)
    rig.pin(0x63)
    assert (rig.sent, rig.reason) == ([], 0x25)
    rig.write(COMMAND, REMAP | COMPATIBILITY)
    rig.message(0xFEE00000, 0x62)
    rig.pin(0x63)
    rig.write(COMMAND, 0)
    rig.message(0xFEE00000, 0x64)
    assert [message.vector for message in rig.sent] == [0x62, 0x63, 0x64]


def test_without_remapping_there_is_no_command_for_it() -> None:
    rig = Rig(intremap="off")
    rig.write(COMMAND, SET_INTERRUPTS | REMAP | COMPATIBILITY)
    assert rig.read(STATUS) == 0


# -- invalidation ------------------------------------------------------------------------------------


def test_an_invalidation_by_register_is_done_at_once(rig: Rig) -> None:
    rig.write(CONTEXT_COMMAND, 1 << 63 | 2 << 61, 8)
    assert rig.read(CONTEXT_COMMAND, 8) == 2 << 61 | 2 << 59
    rig.write(IOTLB, 1 << 63 | 3 << 60, 8)
    assert rig.read(IOTLB, 8) == 3 << 60 | 3 << 57


def test_the_queue_is_done_up_to_its_tail_and_around_its_end(rig: Rig) -> None:
    rig.write(QUEUE_ADDRESS, QUEUE, 8)
    rig.write(COMMAND, QUEUED)
    for index in range(255):
        rig.quads(QUEUE + 16 * index, (0x11, 0x12, 0x03, 0x04)[index % 4])
    rig.quads(QUEUE + 16 * 255, 0x1234 << 32 | 0x25, 0x9000)
    rig.write(TAIL, 16 * 255, 8)
    assert (rig.read(HEAD, 8), rig.ram.read(0x9000, 4)) == (16 * 255, bytes(4))
    rig.write(TAIL, 0, 8)
    assert (rig.read(HEAD, 8), rig.ram.read(0x9000, 4)) == (0, b"\x34\x12\0\0")


def test_a_wait_interrupts_once_until_it_is_taken(rig: Rig) -> None:
    rig.write(COMPLETION_EVENT + 4, 0x56)
    rig.write(COMPLETION_EVENT + 8, 0xFEE00000)
    rig.write(COMPLETION_EVENT, 0)
    rig.write(QUEUE_ADDRESS, QUEUE, 8)
    rig.write(COMMAND, QUEUED)
    for index in range(3):
        rig.quads(QUEUE + 16 * index, 0x15)
        rig.write(TAIL, 16 * (index + 1), 8)
        if index == 1:
            rig.write(COMPLETION, 1)
    assert [message.vector for message in rig.sent] == [0x56, 0x56]


@pytest.mark.parametrize("wrong", ["descriptor", "tail", "address"])
def test_a_queue_that_can_not_be_is_an_error_and_stops(rig: Rig, wrong: str) -> None:
    rig.write(FAULT_EVENT + 4, 0x57)
    rig.write(FAULT_EVENT, 0)
    rig.write(QUEUE_ADDRESS, 1 << 30 if wrong == "address" else QUEUE, 8)
    rig.write(COMMAND, QUEUED)
    rig.quads(QUEUE, 7 if wrong == "descriptor" else 0x11)
    rig.write(TAIL, 0x1000 if wrong == "tail" else 16, 8)
    assert (rig.read(HEAD, 8), rig.read(FAULT_STATUS)) == (0, 0x10)
    assert [message.vector for message in rig.sent] == [0x57]
    rig.quads(QUEUE, 0x11)
    rig.write(QUEUE_ADDRESS, QUEUE, 8)
    rig.write(FAULT_STATUS, 0x10)
    rig.write(TAIL, 16, 8)
    assert rig.read(HEAD, 8) == 16


@pytest.mark.parametrize(
    ("low", "high"),
    [
        *((0x0, 0), (0xE, 0), (0x01, 0), (0x11, 1), (0x02, 0), (1 << 32 | 0x12, 0), (0x12, 1 << 7)),
        *((0x32, 19), (0x13, 0), (0x03, 2), (0x05, 0), (1 << 8 | 0x25, 0x9000), (0x25, 0x9001)),
    ],
)
def test_a_descriptor_that_there_is_not_is_an_error(rig: Rig, low: int, high: int) -> None:
    rig.write(QUEUE_ADDRESS, QUEUE, 8)
    rig.write(COMMAND, QUEUED)
    rig.quads(QUEUE, low, high)
    rig.write(TAIL, 16, 8)
    assert (rig.read(HEAD, 8), rig.read(FAULT_STATUS)) == (0, 0x10)


def test_an_event_that_waits_is_none_without_its_reason(rig: Rig) -> None:
    rig.translate()
    rig.load(0x1000, 4)
    assert rig.read(FAULT_EVENT) == 0xC0000000
    rig.write(RECORD + 8, RECORDED, 8)
    assert rig.read(FAULT_EVENT) == 0x80000000
    rig.write(FAULT_EVENT, 0)
    assert rig.sent == []


def test_a_page_of_messages_is_a_fault(rig: Rig) -> None:
    rig.translate()
    for page in (0xFEE00000, 0xFEEFF000):
        rig.page(page | BOTH)
        assert (rig.load(PAGE, 4), rig.reason) == (None, 14)
        rig.write(RECORD + 8, RECORDED, 8)
    rig.page(0xFEF00000 | BOTH)
    assert (rig.load(PAGE, 4), rig.reason) == (None, None)


def test_the_address_of_an_invalidation_is_not_read_and_may_not_be_too_many(rig: Rig) -> None:
    for mask, done in ((18, 3), (19, 0)):
        rig.write(0xF0, 0x1000 | mask, 8)
        rig.write(0xF8, 0xB << 60, 8)
        assert (rig.read(0xF0, 8), rig.read(0xF8, 8) >> 57) == (0, 3 << 3 | done)


# -- life --------------------------------------------------------------------------------------------


def test_a_reset_lets_memory_be_as_it_is(rig: Rig) -> None:
    rig.translate()
    rig.device.reset()
    assert (rig.load(0x9000, 4), rig.read(STATUS), rig.read(ROOT_TABLE, 8)) == (bytes(4), 0, 0)
    rig.write(COMMAND, TRANSLATE)
    assert (rig.load(PAGE, 4), rig.reason) == (None, 1)


def test_its_state_moves(rig: Rig) -> None:
    rig.translate()
    rig.remap(5, 1 | 0x61 << 16)
    rig.write(COMMAND, TRANSLATE | REMAP)
    other = Rig()
    for start in (ROOT, ENTRIES):
        other.ram.write(start, rig.ram.read(start, 0x10000))
    other.device.load(rig.device.state())
    other.store(PAGE, b"data")
    other.message(0xFEE00010 | 5 << 5)
    assert (other.ram.read(0x8000, 4), [message.vector for message in other.sent]) == (b"data", [0x61])
