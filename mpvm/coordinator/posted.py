"""The ring of posted writes: writes to ports and registers that no vCPU waits for.

Producers (workers, in C) take a ticket by a fetch-and-add of `posted_tail`, fill entry ``ticket % N``
and store ``ticket + 1`` into its `seq`, last. x86 keeps stores in order and loads in order
(SDM vol. 3, 8.2.3), so that a consumer that sees `seq` sees the entry.

The doorbell: the consumer sets `posted_armed`, has a full barrier, looks once more and sleeps; a
producer publishes, has a full barrier, and rings the eventfd when it finds `posted_armed` set.
"""

import os
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from mpvm.abi import layout
from mpvm.abi.barrier import full_barrier

_PAGE = layout.VmPage
_ENTRY: Final = struct.Struct("<QQBBH")  # address value kind size vcpu, after seq
_ENTRY_WORDS: Final = 4
_RING: Final = layout.POSTED_RING_ENTRIES
_MASK: Final = _RING - 1
_SPINS_BETWEEN_CHECKS: Final = 256
# kind and size of a byte to a port, in the entry's last word
_PORT_BYTE: Final = layout.PostedKind.PORT | 1 << 8
# So many entries at most are looked at together.
_STRING: Final = 256

assert _ENTRY_WORDS * 8 == 32
assert not _RING & _MASK


class Write(NamedTuple):
    """One posted write. `kind` is a `layout.PostedKind`; `address` is the vector for EOI."""

    address: int
    value: int
    kind: int
    size: int
    vcpu: int


class PostedRing:
    """The consumer's side of the ring in `vm`, the VM block (at least its `VmPage`).

    Writes go to `deliver` one by one; with `deliver_string`, bytes that follow one another to one port, as a
    console's do, go there together, for what takes them is not quicker than the guest otherwise.
    """

    def __init__(
        self,
        vm: memoryview,
        deliver: Callable[[Write], None],
        deliver_string: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self._deliver = deliver
        self._deliver_string = deliver_string
        self._words = vm[: _PAGE.posted.offset + _RING * _ENTRY_WORDS * 8].cast("Q")
        self._bytes = self._words.cast("B")
        self._armed = self._bytes[_PAGE.posted_armed.offset :][:4].cast("I")
        self._head = self._words[_PAGE.posted_head.offset // 8]
        self.drained = 0

    def ready(self) -> bool:
        """Whether the next entry in ticket order is complete."""
        head = self._head
        return bool(self._words[_PAGE.posted.offset // 8 + (head & _MASK) * _ENTRY_WORDS] == head + 1)

    def drain(self) -> int:
        """Deliver what is complete, in ticket order, up to the first entry that is not; returns how many."""
        words, base, head = self._words, _PAGE.posted.offset // 8, self._head
        start = head
        while words[base + (head & _MASK) * _ENTRY_WORDS] == head + 1:
            entry = _ENTRY.unpack_from(
                self._bytes, _PAGE.posted.offset + (head & _MASK) * 8 * _ENTRY_WORDS + 8
            )
            address, _, kind, size, _ = entry
            if self._deliver_string is not None and kind | size << 8 == _PORT_BYTE:
                string = self._string(head, address)
                if len(string) > 1:
                    head += len(string)
                    self._head = words[_PAGE.posted_head.offset // 8] = head
                    self._deliver_string(address, string)
                    continue
            head += 1
            # Before the delivery: the entry is copied, and a producer may wait for the room.
            self._head = words[_PAGE.posted_head.offset // 8] = head
            self._deliver(Write._make(entry))
        self.drained += head - start
        return head - start

    def _string(self, head: int, address: int) -> bytes:
        """The bytes for the port `address` in the entries from `head` on that are complete and for it."""
        words, first = self._words, head & _MASK
        base = _PAGE.posted.offset // 8
        count = min(words[_PAGE.posted_tail.offset // 8] - head, _RING - first, _STRING)
        if count < 2:
            return b""
        start = base + first * _ENTRY_WORDS
        entries = words[start : start + count * _ENTRY_WORDS].tolist()
        same = zip(entries[::_ENTRY_WORDS], entries[1::_ENTRY_WORDS], entries[3::_ENTRY_WORDS], strict=True)
        for position, (seq, port, what) in enumerate(same):
            if seq != head + position + 1 or port != address or what & 0xFFFF != _PORT_BYTE:
                count = position
                break
        return bytes([value & 0xFF for value in entries[2 : count * _ENTRY_WORDS : _ENTRY_WORDS]])

    def drain_through(self, alive: Callable[[], bool]) -> None:
        """Deliver every write whose ticket has been taken by now.

        What a vCPU wrote before its exit is among them. A ticket that is taken and not yet complete is
        waited for, unless `alive` says that a worker is gone, which may have been its holder.
        """
        tail = self._words[_PAGE.posted_tail.offset // 8]
        spins = 0
        while self._head < tail:
            if self.drain():
                continue
            spins += 1
            if spins % _SPINS_BETWEEN_CHECKS == 0 and not alive():
                return
            os.sched_yield()

    def arm(self) -> bool:
        """Ask for the doorbell. False: an entry is ready already, drain instead of sleeping."""
        self._armed[0] = 1
        full_barrier()
        if self.ready():
            self._armed[0] = 0
            return False
        return True

    def disarm(self) -> None:
        """No doorbell is needed: the consumer is awake."""
        self._armed[0] = 0

    def clear(self) -> None:
        """Throw away what is in the ring (at a reset, with every vCPU paused)."""
        self._head = self._words[_PAGE.posted_tail.offset // 8]
        self._words[_PAGE.posted_head.offset // 8] = self._head

    def close(self) -> None:
        """Release the views of the VM block."""
        self._armed.release()
        self._bytes.release()
        self._words.release()
