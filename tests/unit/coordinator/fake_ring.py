"""A VM page in a bytearray, and the producer's side of its ring of posted writes."""

import ctypes

from mpvm.abi import layout
from mpvm.abi.layout import PostedKind, VmPage


class FakeRing:
    """`take` is the fetch-and-add of a ticket, `publish` completes its entry; `post` is both."""

    def __init__(self, start: int = 0) -> None:
        self.block = memoryview(bytearray(ctypes.sizeof(VmPage)))
        self.page = VmPage.from_buffer(self.block)
        self.page.posted_head = self.page.posted_tail = start

    def take(self) -> int:
        ticket = int(self.page.posted_tail)
        self.page.posted_tail += 1
        return ticket

    def publish(self, ticket: int, address: int, value: int = 0, vcpu: int = 0) -> None:
        entry = self.page.posted[ticket % layout.POSTED_RING_ENTRIES]
        entry.address, entry.value, entry.vcpu = address, value, vcpu
        entry.kind, entry.size = PostedKind.PORT, 1
        entry.seq = ticket + 1

    def post(self, address: int, value: int = 0) -> None:
        self.publish(self.take(), address, value)
