"""Memory slots of KVM from the VM page, with the A20 gate."""

from typing import Any, cast

from mpvm.abi.kvm.vm import Vm
from mpvm.abi.layout import MemoryBackend, MemorySlot, SlotFlag, VmPage
from workers.kvm.memory import A20_OPEN, Memory

_MIB = 1 << 20
_RAM = 0x7000_0000_0000


class _Slots:
    """KVM's side: the slots as they were set."""

    def __init__(self) -> None:
        self.slots: dict[int, tuple[int, int, int, int]] = {}
        self.log = b""

    def set_user_memory_region(self, slot: int, flags: int, gpa: int, size: int, address: int) -> None:
        if size:
            self.slots[slot] = (flags, gpa, size, address)
        else:
            del self.slots[slot]

    def get_dirty_log(self, _slot: int, pages: int) -> bytes:
        assert pages <= 8 * len(self.log)
        return self.log


def _nobody(page: int) -> None:
    raise AssertionError(f"page {page} was not written")


def _memory(*slots: MemorySlot, a20_mask: int = A20_OPEN) -> tuple[_Slots, VmPage, Memory]:
    kvm, page = _Slots(), VmPage(a20_mask=a20_mask, slot_count=len(slots))
    for place, slot in enumerate(slots):
        page.slot[place] = slot
    return kvm, page, Memory(cast(Vm, cast(Any, kvm)), page, _RAM)


def test_slots_lie_in_the_ram_block_or_where_their_backend_says() -> None:
    kvm, page, memory = _memory(
        MemorySlot(0, _MIB, 0, 0), MemorySlot(4 * _MIB, _MIB, 2 * _MIB, SlotFlag.READONLY)
    )
    page.backend_count = 1
    page.backend[0] = MemoryBackend(2 * _MIB, _MIB, 0x1234000)
    memory.update(_nobody)
    assert kvm.slots == {0: (0, 0, _MIB, _RAM), 1: (SlotFlag.READONLY, 4 * _MIB, _MIB, 0x1234000)}


def test_a_change_of_the_vm_pages_slots_is_followed_once_its_generation_changes() -> None:
    kvm, page, memory = _memory(MemorySlot(0, _MIB, 0, 0), MemorySlot(_MIB, _MIB, _MIB, 0))
    memory.update(_nobody)
    page.slot_count = 1
    memory.update(_nobody)
    assert len(kvm.slots) == 2
    page.memory_generation += 1
    memory.update(_nobody)
    assert kvm.slots == {0: (0, 0, _MIB, _RAM)}


def test_with_address_line_20_masked_odd_mebibytes_are_the_even_ones_below() -> None:
    hole, end = 0xA0000, 0xC0000
    kvm, page, memory = _memory(
        MemorySlot(0, hole, 0, 0),
        MemorySlot(end, 4 * _MIB - end, end, 0),
        a20_mask=A20_OPEN & ~_MIB,
    )
    memory.update(_nobody)
    assert [(gpa, size, address - _RAM) for _, gpa, size, address in kvm.slots.values()] == [
        (0, hole, 0),
        (_MIB, hole, 0),
        (end, _MIB - end, end),
        (_MIB + end, _MIB - end, end),
        (2 * _MIB, _MIB, 2 * _MIB),
        (3 * _MIB, _MIB, 2 * _MIB),
    ]
    page.a20_mask = A20_OPEN
    memory.update(_nobody)
    assert len(kvm.slots) == 2


def test_the_dirty_log_names_pages_of_the_page_map() -> None:
    kvm, page, memory = _memory(MemorySlot(8 * _MIB, _MIB, 2 * _MIB, SlotFlag.LOG_DIRTY_PAGES))
    memory.update(_nobody)
    kvm.log = (1 | 1 << 9).to_bytes(32, "little")
    pages: list[int] = []
    memory.take_dirty_log(pages.append)
    assert pages == []
    page.dirty_logging = 1
    memory.take_dirty_log(pages.append)
    assert pages == [512, 521]


def test_what_is_in_the_dirty_log_outlives_a_switch_of_the_a20_gate() -> None:
    kvm, page, memory = _memory(MemorySlot(0, _MIB, 0, SlotFlag.LOG_DIRTY_PAGES))
    page.dirty_logging = 1
    memory.update(_nobody)
    kvm.log = (1 << 9).to_bytes(32, "little")
    page.a20_mask = A20_OPEN & ~_MIB
    pages: list[int] = []
    memory.update(pages.append)
    assert pages == [9]
