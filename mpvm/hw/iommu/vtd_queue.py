"""Queued invalidation (Intel's VT-d specification, order D51397, 6.5.2): done at once, nothing is cached."""

from typing import Final, NamedTuple

from mpvm.memory.dma import BusMemory

_SIZE_MASK: Final = 7
_SMALLEST: Final = 0x1000
_ADDRESS_MASK: Final = ~0xFFF
_BYTES: Final = 16

# Types of descriptors: context cache, IOTLB, device TLB, interrupt entry cache; wait.
_CONTEXTS, _PAGES, _DEVICE, _ENTRIES, _WAIT = range(1, 6)
_TYPE_MASK: Final = 0xF
_GRANULARITY: Final = 3 << 4
_BY_ADDRESS: Final = 3 << 4
_ADDRESS_BITS: Final = 0x3F
# So many pages at once, 2 to this power, are told by the capabilities.
MOST_PAGES: Final = 18


class Rule(NamedTuple):
    """The bits of both halves that must be 0, and those of the lower one of which one must be set, if any."""

    low: int
    high: int
    wanted: int = 0


RULES: Final = {
    _CONTEXTS: Rule(0xFFFC00000000FFC0, (1 << 64) - 1, wanted=_GRANULARITY),
    _PAGES: Rule(0xFFFFFFFF0000FF00, 0xF80, wanted=_GRANULARITY),
    _DEVICE: Rule(0xFFFF0000FFE0FFF8, 0xFFE),
    _ENTRIES: Rule(0, 0),
    _WAIT: Rule(0xFFFFFF80, 3, wanted=3 << 4),
}
_INTERRUPT: Final = 1 << 4
_STORE: Final = 1 << 5
_DATA_SHIFT: Final = 32


class Done(NamedTuple):
    """How far the queue is done, whether a wait asked for an interrupt, whether the next can't be done."""

    head: int
    interrupts: bool = False
    error: bool = False


def _is_right(low: int, high: int) -> bool:
    """Whether there is such a descriptor (6.5.2.10)."""
    kind = low & _TYPE_MASK
    rule = RULES.get(kind)
    if rule is None or low & rule.low or high & rule.high or (rule.wanted and not low & rule.wanted):
        return False
    by_address = kind == _PAGES and low & _GRANULARITY == _BY_ADDRESS
    return not by_address or high & _ADDRESS_BITS <= MOST_PAGES


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
        if not _is_right(low, high):
            return Done(head, interrupts, error=True)
        if low & _TYPE_MASK == _WAIT:
            if low & _STORE:
                memory.write(high, (low >> _DATA_SHIFT).to_bytes(4, "little"))
            interrupts = interrupts or bool(low & _INTERRUPT)
        head = (head + _BYTES) % size
    return Done(head, interrupts)
