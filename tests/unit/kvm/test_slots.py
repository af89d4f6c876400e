"""KVM's rules for memory slots, and the page numbers that host memory gets."""

import errno

import pytest

from mpvm.abi import layout
from mpvm.kvm.slots import Backends, Region, changed, offset_of, publish

PAGE = layout.PAGE_SIZE
HOST = 0x7F0000000000


def region(slot: int = 0, gpa: int = 0, pages: int = 4, address: int = HOST, flags: int = 0) -> Region:
    return Region(slot, flags, gpa, pages * PAGE, address)


def test_a_slot_is_added_changed_moved_and_deleted() -> None:
    regions = changed({}, region())
    regions = changed(regions, region(flags=1))
    regions = changed(regions, region(gpa=0x100000, flags=1))
    assert regions == {0: region(gpa=0x100000, flags=1)}
    assert changed(regions, Region(0, 0, 0, 0, 0)) == {}


def test_a_slot_that_only_touches_another_is_taken() -> None:
    regions = changed({0: region()}, region(1, gpa=4 * PAGE))
    assert len(regions) == 2


@pytest.mark.parametrize(
    ("gpa", "pages"), [(0, 1), (3 * PAGE, 2), (PAGE, 2), (0, 8)], ids=["start", "end", "inside", "around"]
)
def test_a_slot_that_overlaps_another_is_not(gpa: int, pages: int) -> None:
    with pytest.raises(OSError, match="another slot") as raised:
        changed({0: region()}, region(1, gpa=gpa, pages=pages))
    assert raised.value.errno == errno.EEXIST


def test_memory_that_two_slots_show_has_one_page_number() -> None:
    regions = {0: region(), 1: region(1, gpa=0x100000, pages=2, address=HOST + PAGE)}
    backends = Backends(1 << 30).take(regions)
    assert len(backends) == 1
    assert offset_of(regions[1], backends) - offset_of(regions[0], backends) == PAGE


def test_memory_in_use_keeps_its_page_numbers_and_what_is_free_is_given_again() -> None:
    backends = Backends(8 * PAGE)
    other = region(1, gpa=0x100000, address=HOST + 0x100000)
    first = backends.take({0: region(), 1: other})
    kept = offset_of(other, first)
    second = backends.take({1: other, 2: region(2, address=HOST + 0x200000)})
    assert offset_of(other, second) == kept
    assert sorted(backend.offset for backend in second) == [0, 4 * PAGE]


def test_more_memory_than_there_are_page_numbers_is_enomem() -> None:
    with pytest.raises(OSError, match="KVM_SET_USER_MEMORY_REGION") as raised:
        Backends(PAGE).take({0: region()})
    assert raised.value.errno == errno.ENOMEM


def test_the_vm_page_says_what_is_where() -> None:
    page = layout.VmPage()
    regions = {3: region(3, gpa=0x100000, flags=layout.SlotFlag.LOG_DIRTY_PAGES)}
    publish(page, regions, Backends(1 << 30).take(regions), by_host=True)
    assert (page.slot_count, page.backend_count, page.dirty_logging, page.memory_generation) == (1, 1, 1, 1)
    assert (page.slot[0].gpa, page.slot[0].size, page.backend[0].host) == (0x100000, 4 * PAGE, HOST)
