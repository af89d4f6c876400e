"""Queued invalidation (Intel's VT-d specification, order D51397, 6.5.2): done at once, nothing is cached."""

from typing import Final, NamedTuple

from mpvm.memory.dma import BusMemory

_SIZE_MASK: Final = 7
_SMALLEST: Final = 0x1000
_ADDRESS_MASK: Final = ~0xFFF
_BYTES: Final = 16

# Types of descriptors: context cache, IOTLB, device TLB, interrupt entry cache; wait.
_INVALIDATIONS: Final = frozenset({1, 2, 3, 4})
_WAIT: Final = 5
_TYPE_MASK: Final = 0xF
_INTERRUPT: Final = 1 << 4
_STORE: Final = 1 << 5
_DATA_SHIFT: Final = 32
_STORE_ADDRESS: Final = ~3


class Done(NamedTuple):
    """How far the queue is done, whether a wait asked for an interrupt, whether the next can't be done."""

    head: int
    interrupts: bool = False
    error: bool = False


def run_queue(memory: BusMemory, queue: int, head: int, tail: int) -> Done:
    """Do what is between `head` and `tail`, byte offsets; `queue` is what the address register reads."""
    base, size = queue & _ADDRESS_MASK, _SMALLEST << (queue & _SIZE_MASK)
    interrupts = False
    if tail >= size:
        return Done(head, error=True)
    while head != tail:
        descriptor = memory.read(base + head, _BYTES)
        if descriptor is None:
            return Done(head, interrupts, error=True)
        low, high = int.from_bytes(descriptor[:8], "little"), int.from_bytes(descriptor[8:], "little")
        kind = low & _TYPE_MASK
        if kind == _WAIT:
            if low & _STORE:
                memory.write(high & _STORE_ADDRESS, (low >> _DATA_SHIFT).to_bytes(4, "little"))
            interrupts = interrupts or bool(low & _INTERRUPT)
        elif kind not in _INVALIDATIONS:
            return Done(head, interrupts, error=True)
        head = (head + _BYTES) % size
    return Done(head, interrupts)
