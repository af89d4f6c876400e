"""Chardevs: flow control between a back end and its front end."""

import pytest

from mpvm.hw.char.chardev import Chardev, MemoryChardev, NullChardev


class FrontEnd:
    """Takes up to `capacity` bytes until `drain`."""

    def __init__(self, chardev: Chardev, capacity: int) -> None:
        self.capacity = capacity
        self.chunks: list[bytes] = []
        self.breaks = 0
        self.held = 0
        self.chardev = chardev
        chardev.connect(self.receive, self.room, self.receive_break)

    def room(self) -> int:
        return self.capacity - self.held

    def receive(self, data: bytes) -> None:
        self.held += len(data)
        self.chunks.append(data)

    def receive_break(self) -> None:
        self.breaks += 1

    def drain(self) -> None:
        self.held = 0
        self.chardev.room_available()


def test_output_collects_in_a_memory_chardev() -> None:
    chardev = MemoryChardev()
    chardev.write(b"ab")
    chardev.write(b"c")
    assert chardev.output == b"abc"


def test_input_beyond_the_front_ends_room_waits_and_arrives_in_order() -> None:
    chardev = MemoryChardev()
    front = FrontEnd(chardev, capacity=4)
    chardev.feed(b"0123456789")
    assert (front.chunks, chardev.waiting) == ([b"0123"], 6)
    front.drain()
    front.drain()
    assert (front.chunks, chardev.waiting) == ([b"0123", b"4567", b"89"], 0)


def test_input_before_a_front_end_connects_waits_for_it() -> None:
    chardev = MemoryChardev()
    chardev.feed(b"early")
    assert chardev.waiting == 5
    FrontEnd(chardev, capacity=16).drain()
    assert chardev.waiting == 0


def test_a_front_end_that_makes_room_while_receiving_gets_everything_in_order() -> None:
    chardev = MemoryChardev()
    got = bytearray()

    def receive(data: bytes) -> None:
        got.extend(data)
        chardev.room_available()

    chardev.connect(receive, lambda: 1)
    chardev.feed(b"nested")
    assert got == b"nested"


def test_deliver_says_how_much_was_taken() -> None:
    chardev = NullChardev()
    assert chardev.deliver(b"x") == 0
    front = FrontEnd(chardev, capacity=2)
    assert chardev.deliver(b"xyz") == 2
    assert chardev.deliver(b"z") == 0
    assert front.chunks == [b"xy"]


def test_a_break_reaches_a_front_end_that_knows_breaks_only() -> None:
    chardev = MemoryChardev()
    front = FrontEnd(chardev, capacity=1)
    chardev.deliver_break()
    assert front.breaks == 1
    chardev.connect(front.receive, front.room)
    chardev.deliver_break()
    assert front.breaks == 1


def test_the_base_class_cannot_be_a_back_end() -> None:
    with pytest.raises(TypeError, match="write"):
        Chardev()  # type: ignore[abstract]
