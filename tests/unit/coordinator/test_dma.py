"""The machine's part in the coherence protocol (docs/coherence.md), the test being the vCPUs."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mpvm.abi.errors import WorkerError
from mpvm.abi.layout import MAILBOX_ENTRIES, PAGE_SIZE, VCPU_STRIDE, MailKind, VcpuArea, VcpuMode
from mpvm.coordinator.dma import DmaEngine
from mpvm.coordinator.shm import VmMemory
from mpvm.memory.ram import ram_slots

SMP, MEMORY = 3, 1 << 20
PAGE = 16
AT = PAGE * PAGE_SIZE + 0x10
FREE, HELD, LENT = 0, 1, 3
FUTEX_WAKE, SYS_FUTEX = 1, 202


class Vm:
    """The shared blocks of a VM whose vCPUs are the test."""

    def __init__(self) -> None:
        self.memory = VmMemory(f"mpvm-{os.getpid()}-dmatests", SMP, MEMORY, ram_slots(MEMORY))
        self.page, self.areas, self.ram = self.memory.page, self.memory.areas, self.memory.ram
        words = ctypes.c_uint64 * (MEMORY // PAGE_SIZE)
        self.holders = words.from_buffer(self.memory.vm, self.page.holders_offset)
        self.alive = True
        self.dma = DmaEngine(self.memory.vm, self.ram, self.areas, lambda: self.alive, limit_seconds=0.2)

    def enter_guest(self, index: int) -> VcpuArea:
        """vCPU `index` runs."""
        area = self.areas[index]
        area.attention_at = VCPU_STRIDE - PAGE_SIZE
        area.mode = VcpuMode.IN_GUEST
        return area

    def kicked(self, index: int) -> bool:
        """Whether vCPU `index`, which runs, has been told to look at its mail."""
        area = self.areas[index]
        return bool(ctypes.c_uint32.from_address(ctypes.addressof(area) + area.attention_at).value)

    def mail(self, index: int) -> list[tuple[int, int]]:
        box = self.areas[index].mailbox
        entries = [box.mail[i % MAILBOX_ENTRIES] for i in range(box.head, box.tail)]
        return [(entry.kind, entry.page) for entry in entries]

    def wake(self, word: int) -> None:
        """Wake who waits for a futex word, as another worker does."""
        ctypes.CDLL(None).syscall(
            SYS_FUTEX, ctypes.c_void_p(word), FUTEX_WAKE, ctypes.c_int(SMP), None, None, 0
        )

    def leave_lock(self, value: int) -> None:
        self.page.coherence_lock = value
        self.wake(ctypes.addressof(self.page) + type(self.page).coherence_lock.offset)

    def answer(self, area: VcpuArea) -> None:
        """Say that the mail is read, and wake who sleeps until it is."""
        area.mailbox.head = area.mailbox.tail
        area.mailbox.answered += 1
        self.wake(ctypes.addressof(area.mailbox) + type(area.mailbox).answered.offset)

    def beside(self, until: Callable[[], bool], then: Callable[[], Any]) -> threading.Thread:
        """Call `then` in another thread as soon as `until` says so."""

        def run() -> None:
            while not until():
                time.sleep(0)
            then()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def close(self) -> None:
        self.dma.close()
        del self.page, self.areas, self.ram, self.holders
        self.memory.close()


@pytest.fixture
def vm() -> Iterator[Vm]:
    vm = Vm()
    yield vm
    vm.close()


def test_a_store_to_what_nobody_holds_mails_nobody(vm: Vm) -> None:
    vm.dma.store(AT, b"data")
    assert bytes(vm.ram[AT - 1 : AT + 5]) == b"\0data\0"
    assert [vm.mail(index) for index in range(SMP)] == [[], [], []]
    assert (vm.page.coherence_lock, vm.page.dma_page) == (FREE, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 9, 4095, 4096, 4097, 12288])
@pytest.mark.parametrize("shift", [0, 1])
def test_every_size_is_stored_as_it_is(vm: Vm, size: int, shift: int) -> None:
    data = bytes(i * 7 % 251 + 1 for i in range(size))
    vm.dma.store(AT + shift, data)
    assert bytes(vm.ram[AT + shift - 1 : AT + shift + size + 1]) == b"\0" + data + b"\0"


@pytest.mark.parametrize("mode", [mode for mode in VcpuMode if mode is not VcpuMode.IN_GUEST])
def test_a_holder_outside_the_guest_is_mailed_and_not_waited_for(vm: Vm, mode: VcpuMode) -> None:
    vm.areas[1].mode = mode
    vm.holders[PAGE] = 1 << 1
    vm.dma.store(AT, b"data")
    assert vm.mail(1) == [(MailKind.DROP_CODE, PAGE)]
    assert (vm.holders[PAGE], vm.mail(0), vm.mail(2)) == (0, [], [])


def test_a_vcpu_that_runs_and_holds_nothing_of_the_page_is_left_alone(vm: Vm) -> None:
    vm.enter_guest(1)
    vm.holders[PAGE - 1] = vm.holders[PAGE + 1] = 1 << 1
    vm.dma.store(AT, b"data")
    assert (vm.mail(1), vm.kicked(1)) == ([], False)


def test_a_holder_that_runs_is_kicked_and_has_answered_before_anything_is_stored(vm: Vm) -> None:
    area = vm.enter_guest(1)
    vm.holders[PAGE] = 1 << 1
    seen: list[Any] = []

    def answer() -> None:
        seen.append((bytes(vm.ram[AT : AT + 4]), vm.page.dma_page, vm.page.coherence_lock))
        vm.answer(area)

    thread = vm.beside(lambda: bool(area.mailbox.awaited), answer)
    vm.dma.store(AT, b"data")
    thread.join()
    assert seen == [(bytes(4), PAGE + 1, HELD)], "the page is announced, the lock is held, nothing is stored"
    assert vm.kicked(1)
    assert bytes(vm.ram[AT : AT + 4]) == b"data"
    assert (vm.holders[PAGE], vm.page.coherence_lock, vm.page.dma_page) == (0, FREE, 0)


def test_a_holder_that_leaves_the_guest_has_answered(vm: Vm) -> None:
    area = vm.enter_guest(1)
    vm.holders[PAGE] = 1 << 1

    def leave() -> None:
        area.mode = VcpuMode.OUTSIDE
        area.mailbox.answered += 1
        vm.wake(ctypes.addressof(area.mailbox) + type(area.mailbox).answered.offset)

    thread = vm.beside(lambda: bool(area.mailbox.awaited), leave)
    vm.dma.store(AT, b"data")
    thread.join()
    assert bytes(vm.ram[AT : AT + 4]) == b"data"
    assert vm.mail(1) == [(MailKind.DROP_CODE, PAGE)], "it reads its mail before it enters"


def test_a_bit_that_is_set_while_the_page_is_announced_stays(vm: Vm) -> None:
    # Its owner waits for the lock, and translates when the store is done.
    area = vm.enter_guest(1)
    vm.holders[PAGE] = 1 << 1

    def claim_and_answer() -> None:
        vm.holders[PAGE] |= 1 << 2
        vm.answer(area)

    thread = vm.beside(lambda: bool(area.mailbox.awaited), claim_and_answer)
    vm.dma.store(AT, b"data")
    thread.join()
    assert vm.holders[PAGE] == 1 << 2


def test_holders_of_every_page_that_is_stored_to_are_mailed(vm: Vm) -> None:
    vm.holders[PAGE] = 1
    vm.holders[PAGE + 1] = 1 << 2
    vm.holders[PAGE + 2] = 1
    vm.dma.store(AT, bytes(2 * PAGE_SIZE - 0x20))
    assert vm.mail(0) == [(MailKind.DROP_CODE, PAGE)]
    assert vm.mail(2) == [(MailKind.DROP_CODE, PAGE + 1)]


def test_a_full_mailbox_overflows(vm: Vm) -> None:
    box = vm.areas[0].mailbox
    box.tail = MAILBOX_ENTRIES
    vm.holders[PAGE] = 1
    vm.dma.store(AT, b"data")
    assert (box.overflow, box.tail, vm.holders[PAGE]) == (1, MAILBOX_ENTRIES, 0)


def test_the_lock_of_a_vcpu_is_waited_for(vm: Vm) -> None:
    vm.page.coherence_lock = HELD
    seen: list[bytes] = []

    def release() -> None:
        seen.append(bytes(vm.ram[AT : AT + 4]))
        vm.leave_lock(FREE)

    thread = vm.beside(lambda: vm.page.coherence_lock != HELD, release)
    vm.dma.store(AT, b"data")
    thread.join()
    assert seen == [bytes(4)]
    assert (bytes(vm.ram[AT : AT + 4]), vm.page.coherence_lock) == (b"data", FREE)


def test_the_lock_of_one_that_waits_for_us_in_an_exit_is_lent_and_goes_back(vm: Vm) -> None:
    vm.page.coherence_lock, vm.page.exclusive = LENT, 2
    vm.dma.store(AT, b"data")
    assert (bytes(vm.ram[AT : AT + 4]), vm.page.coherence_lock) == (b"data", LENT)


def test_the_lock_of_one_that_lends_it_while_we_wait_is_taken(vm: Vm) -> None:
    vm.page.coherence_lock = HELD
    thread = vm.beside(lambda: vm.page.coherence_lock != HELD, lambda: vm.leave_lock(LENT))
    vm.dma.store(AT, b"data")
    thread.join()
    assert (bytes(vm.ram[AT : AT + 4]), vm.page.coherence_lock) == (b"data", LENT)


def test_a_worker_that_has_died_is_not_waited_for(vm: Vm) -> None:
    vm.enter_guest(1)
    vm.holders[PAGE] = 1 << 1
    vm.alive = False
    vm.dma.store(AT, b"data")
    assert bytes(vm.ram[AT : AT + 4]) == b"data"


def test_a_vcpu_that_does_not_answer_is_named_and_nothing_is_stored(vm: Vm) -> None:
    vm.enter_guest(2)
    vm.holders[PAGE] = 1 << 2
    with pytest.raises(WorkerError, match=r"a device's store .* these do: 2$"):
        vm.dma.store(AT, b"data")
    assert bytes(vm.ram[AT : AT + 4]) == bytes(4)
    assert (vm.page.coherence_lock, vm.page.dma_page) == (FREE, 0)
