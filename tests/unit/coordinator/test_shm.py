"""The shared-memory blocks: how large, where what is, and that they go."""

import ctypes
import errno
import os
import stat
from pathlib import Path

import pytest

from mpvm.abi import layout
from mpvm.abi.errors import StartError
from mpvm.coordinator.shm import VmMemory, check_room, required_bytes
from mpvm.memory.ram import ram_slots

MIB = 1 << 20


@pytest.fixture
def instance() -> str:
    return f"mpvm-{os.getpid()}-00000000"


def free(monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    class Status:
        f_bavail, f_frsize = pages, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Status)


def test_room_is_checked_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 16)
    check_room(65536)
    with pytest.raises(StartError):
        check_room(65537)


def test_too_little_room_names_what_is_needed_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 25600)
    with pytest.raises(StartError, match="needs 512 MiB of shared memory, /dev/shm has 100 MiB free"):
        check_room(512 * MIB)


def test_a_system_without_shared_memory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="absent: No such file or directory; shared memory needs a tmpfs"):
        check_room(1, tmp_path / "absent")


def test_the_vm_block_counts_as_well_as_ram() -> None:
    needed = required_bytes(4, 16 * MIB)
    assert needed == 16 * MIB + layout.vm_block_size(4, 16 * MIB)
    assert needed > 16 * MIB + layout.VCPU_OFFSET + 4 * ctypes.sizeof(layout.VcpuArea)


def test_nothing_is_made_when_there_is_no_room(monkeypatch: pytest.MonkeyPatch, instance: str) -> None:
    free(monkeypatch, 1)
    with pytest.raises(StartError):
        VmMemory(instance, 1, 16 * MIB, ram_slots(16 * MIB))
    assert not list(Path("/dev/shm").glob(f"{instance}-*"))


def test_the_vm_page_says_where_everything_is(instance: str) -> None:
    memory = VmMemory(instance, 3, 16 * MIB, ram_slots(16 * MIB))
    page = memory.page
    assert (page.magic, page.version, page.smp) == (layout.ABI_MAGIC, layout.ABI_VERSION, 3)
    assert page.vm_block_size == len(memory.vm) == layout.vm_block_size(3, 16 * MIB)
    assert page.ram_block_size == len(memory.ram) == 16 * MIB
    assert page.page_count == 16 * MIB // 4096
    assert page.a20_mask == 0xFFFFFFFF
    slots = [(slot.gpa, slot.size, slot.offset) for slot in page.slot[: page.slot_count]]
    assert slots == [(0, 0xA0000, 0), (0xC0000, 16 * MIB - 0xC0000, 0xC0000)]
    del page, slots
    memory.close()


def test_every_vcpu_has_its_own_area_and_the_first_is_the_bsp(instance: str) -> None:
    memory = VmMemory(instance, 3, 16 * MIB, ram_slots(16 * MIB))
    assert [(area.index, area.is_bsp) for area in memory.areas] == [(0, 1), (1, 0), (2, 0)]
    memory.areas[1].request = 7
    offset = layout.VCPU_OFFSET + layout.VCPU_STRIDE + layout.VcpuArea.request.offset
    assert memory.vm[offset] == 7
    memory.close()


def test_there_are_areas_for_vcpus_that_are_added_later(instance: str) -> None:
    memory = VmMemory(instance, 2, 16 * MIB, ram_slots(16 * MIB), maxcpus=3)
    assert (memory.page.smp, len(memory.areas)) == (2, 3)
    assert len(memory.vm) == layout.vm_block_size(3, 16 * MIB)
    assert memory.page.holders_offset == layout.holders_offset(3)
    memory.close()


def test_those_of_the_start_are_present_and_others_come_and_go(instance: str) -> None:
    memory = VmMemory(instance, 2, 16 * MIB, ram_slots(16 * MIB), maxcpus=4)
    assert memory.page.present == 0b0011
    memory.set_present(3, True)
    assert memory.page.present == 0b1011
    memory.set_present(1, False)
    assert memory.page.present == 0b1001
    memory.close()


def test_a_renewed_area_has_nothing_of_who_was_there_but_what_it_is(instance: str) -> None:
    memory = VmMemory(instance, 1, 16 * MIB, ram_slots(16 * MIB), maxcpus=2)
    area = memory.areas[1]
    area.request, area.mode, area.counters.kicks, area.inbox.startup = 3, 5, 7, 0x200
    area.control.guest.rip = area.lapic.regs[8] = 1
    area.apic_id = area.cpuid_count = area.rivals = area.mailbox.head = 9
    memory.renew_area(1)
    assert (area.request, area.mode, area.counters.kicks, area.inbox.startup) == (0, 0, 0, 0)
    assert (area.control.guest.rip, area.lapic.regs[8]) == (0, 0)
    assert (area.index, area.apic_id, area.cpuid_count, area.rivals, area.mailbox.head) == (1, 9, 9, 9, 9)
    memory.close()


def test_closing_unlinks_both_segments_even_while_a_view_is_alive(instance: str) -> None:
    memory = VmMemory(instance, 1, 16 * MIB, ram_slots(16 * MIB))
    assert len(list(Path("/dev/shm").glob(f"{instance}-*"))) == 2
    view = memory.ram[:16]
    memory.close()
    assert not list(Path("/dev/shm").glob(f"{instance}-*"))
    view[0] = 1
    view.release()


def test_a_segment_that_exists_already_is_one_line_and_leaves_nothing(instance: str) -> None:
    memory = VmMemory(instance, 1, 16 * MIB, ram_slots(16 * MIB))
    with pytest.raises(StartError, match=r"can't make .* File exists"):
        VmMemory(instance, 1, 16 * MIB, ram_slots(16 * MIB))
    memory.close()
    assert not list(Path("/dev/shm").glob(f"{instance}-*"))


def test_a_segment_is_its_owners_alone(instance: str) -> None:
    memory = VmMemory(instance, 1, 16 * MIB, ram_slots(16 * MIB))
    segments = list(Path("/dev/shm").glob(f"{instance}-*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in segments} == {0o600}
    memory.close()


def test_a_segment_that_can_not_be_as_large_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, instance: str
) -> None:
    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(StartError, match=r"can't make .* File too large"):
        VmMemory(instance, 1, 16 * MIB, ram_slots(16 * MIB))
    assert not list(Path("/dev/shm").glob(f"{instance}-*"))
