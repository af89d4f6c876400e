"""Guest RAM as KVM's memory slots, with the A20 gate, which KVM does not know."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from mpvm.abi.kvm.vm import Vm
from mpvm.abi.layout import PAGE_SIZE, SlotFlag, VmPage

A20_OPEN: Final = 0xFFFFFFFF
_A20_BIT: Final = 1 << 20


class _Slot(NamedTuple):
    """`offset` in guest RAM."""

    gpa: int
    size: int
    offset: int
    flags: int


class Memory:
    """The slots of `vm`: what the VM page says, over the RAM block at `ram_address`, as the gate shows it."""

    def __init__(self, vm: Vm, page: VmPage, ram_address: int) -> None:
        self._vm = vm
        self._page = page
        self._ram_address = ram_address
        self._slots: list[_Slot] = []
        #: What they were made for: generation of the VM page's slots, A20 mask.
        self._state = (-1, -1)

    def update(self, mark: Callable[[int], None]) -> None:
        """Follow the VM page's slots and the A20 gate.

        A log goes with its slot: `mark` is called with what is in it.
        """
        state = (self._page.memory_generation, self._page.a20_mask)
        if state == self._state:
            return
        self.take_dirty_log(mark)
        for number in range(len(self._slots)):
            self._vm.set_user_memory_region(number, 0, 0, 0, 0)
        slots = self._wanted()
        self._slots = list(slots if self._page.a20_mask == A20_OPEN else _aliased(list(slots)))
        for number, slot in enumerate(self._slots):
            self._vm.set_user_memory_region(number, slot.flags, slot.gpa, slot.size, self._host(slot.offset))
        self._state = state

    def take_dirty_log(self, mark: Callable[[int], None]) -> None:
        """Call `mark` with each page of the page map that the guest has written since the last call."""
        if not self._page.dirty_logging:
            return
        for number, slot in enumerate(self._slots):
            if slot.flags & SlotFlag.LOG_DIRTY_PAGES:
                log = self._vm.get_dirty_log(number, slot.size // PAGE_SIZE)
                for page in _bits(log):
                    mark(slot.offset // PAGE_SIZE + page)

    def _wanted(self) -> Iterator[_Slot]:
        for slot in self._page.slot[: self._page.slot_count]:
            yield _Slot(slot.gpa, slot.size, slot.offset, slot.flags)

    def _host(self, offset: int) -> int:
        """Where in this process guest RAM has `offset`."""
        for backend in self._page.backend[: self._page.backend_count]:
            if backend.offset <= offset < backend.offset + backend.size and backend.host:
                return int(backend.host) + offset - int(backend.offset)
        return self._ram_address + offset


def _aliased(slots: Iterable[_Slot]) -> Iterator[_Slot]:
    """Address line 20 is 0: every odd mebibyte is what the even one below it is, holes and all."""
    for slot in slots:
        start = slot.gpa
        while start < slot.gpa + slot.size:
            end = min((start | _A20_BIT - 1) + 1, slot.gpa + slot.size)
            if start & _A20_BIT == 0:
                yield _part(slot, start, end)
                yield _part(slot, start, end)._replace(gpa=start + _A20_BIT)
            start = end


def _part(slot: _Slot, start: int, end: int) -> _Slot:
    return slot._replace(gpa=start, size=end - start, offset=slot.offset + start - slot.gpa)


def _bits(log: bytes) -> Iterator[int]:
    for index, byte in enumerate(log):
        for bit in range(8) if byte else ():
            if byte >> bit & 1:
                yield index * 8 + bit
