"""The consumer's side of the ring of posted writes."""

import pytest

from mpvm.abi import layout
from mpvm.coordinator.posted import PostedRing, Write
from tests.unit.coordinator.fake_ring import FakeRing


@pytest.fixture(params=[0, layout.POSTED_RING_ENTRIES - 2, 3 * layout.POSTED_RING_ENTRIES - 1])
def fake(request: pytest.FixtureRequest) -> FakeRing:
    return FakeRing(request.param)


def consumer(fake: FakeRing) -> tuple[PostedRing, list[Write]]:
    got: list[Write] = []
    return PostedRing(fake.block, got.append), got


def test_an_empty_ring_delivers_nothing(fake: FakeRing) -> None:
    ring, got = consumer(fake)
    assert ring.drain() == 0
    assert got == []


def test_writes_are_delivered_in_the_order_of_tickets(fake: FakeRing) -> None:
    ring, got = consumer(fake)
    first, second = fake.take(), fake.take()
    fake.publish(second, 0x21, 0xBB, vcpu=3)
    fake.publish(first, 0x20, 0xAA, vcpu=63)
    assert ring.drain() == 2
    assert got == [Write(0x20, 0xAA, 0, 1, 63), Write(0x21, 0xBB, 0, 1, 3)]


def test_a_ticket_that_is_not_published_holds_back_the_later_ones(fake: FakeRing) -> None:
    ring, got = consumer(fake)
    gap = fake.take()
    fake.post(0x21)
    assert ring.drain() == 0
    assert not ring.ready()
    fake.publish(gap, 0x20)
    assert ring.drain() == 2
    assert [write.address for write in got] == [0x20, 0x21]


def test_the_head_is_published_so_that_producers_find_room(fake: FakeRing) -> None:
    ring, _ = consumer(fake)
    for _ in range(5):
        fake.post(0x20)
    ring.drain()
    assert fake.page.posted_head == fake.page.posted_tail


def test_a_full_ring_and_then_another_lose_nothing(fake: FakeRing) -> None:
    ring, got = consumer(fake)
    for value in range(layout.POSTED_RING_ENTRIES):
        fake.post(0x20, value)
    ring.drain()
    for value in range(layout.POSTED_RING_ENTRIES):
        fake.post(0x20, value + layout.POSTED_RING_ENTRIES)
    ring.drain()
    assert [write.value for write in got] == list(range(2 * layout.POSTED_RING_ENTRIES))


def test_a_synchronous_exit_waits_until_a_gap_closes(fake: FakeRing, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, got = consumer(fake)
    gap = fake.take()
    fake.post(0x21)
    yields = iter([None, None, gap])

    def other_process_runs() -> None:
        ticket = next(yields)
        if ticket is not None:
            fake.publish(ticket, 0x20)

    monkeypatch.setattr("os.sched_yield", other_process_runs)
    ring.drain_through(lambda: True)
    assert [write.address for write in got] == [0x20, 0x21]


def test_a_synchronous_exit_does_not_wait_for_tickets_taken_later(fake: FakeRing) -> None:
    fake.post(0x20)
    got: list[Write] = []

    def deliver(write: Write) -> None:
        got.append(write)
        fake.take()

    PostedRing(fake.block, deliver).drain_through(lambda: pytest.fail("it waited"))
    assert len(got) == 1


def test_a_gap_of_a_dead_worker_is_not_waited_for(fake: FakeRing) -> None:
    ring, got = consumer(fake)
    fake.take()
    fake.post(0x21)
    ring.drain_through(lambda: False)
    assert got == []


def test_arming_asks_for_the_doorbell_when_the_ring_is_empty(fake: FakeRing) -> None:
    ring, _ = consumer(fake)
    assert ring.arm()
    assert fake.page.posted_armed == 1
    ring.disarm()
    assert fake.page.posted_armed == 0


def test_arming_refuses_to_sleep_on_a_write_that_is_there(fake: FakeRing) -> None:
    ring, _ = consumer(fake)
    fake.post(0x20)
    assert not ring.arm()
    assert fake.page.posted_armed == 0


def test_arming_sleeps_on_a_gap_whose_producer_will_ring(fake: FakeRing) -> None:
    ring, _ = consumer(fake)
    fake.take()
    fake.post(0x21)
    assert ring.arm()


def test_the_ring_is_consistent_while_a_write_is_delivered(fake: FakeRing) -> None:
    fake.post(0x20)
    fake.post(0x21)
    heads: list[int] = []
    start = fake.page.posted_head
    ring = PostedRing(fake.block, lambda write: heads.append(fake.page.posted_head - start))
    ring.drain()
    assert heads == [1, 2]


def strings(fake: FakeRing) -> tuple[PostedRing, list[Write | tuple[int, bytes]]]:
    got: list[Write | tuple[int, bytes]] = []
    return PostedRing(fake.block, got.append, lambda port, data: got.append((port, data))), got


def test_bytes_to_one_port_are_delivered_together_and_in_their_place(fake: FakeRing) -> None:
    ring, got = strings(fake)
    for port, text in ((0x20, b"a"), (0x3F8, b"bcd"), (0x20, b"e"), (0x3F8, b"fg")):
        for value in text:
            fake.post(port, value)
    assert ring.drain() == 7
    alone = [(w.address, bytes([w.value])) if isinstance(w, Write) else w for w in got]
    joined = [(port, data) for port, data in alone]
    assert b"".join(data for _, data in joined) == b"abcdefg"
    assert [port for port, _ in joined if port == 0x20] == [0x20, 0x20]
    assert max(len(data) for _, data in joined) > 1
    assert fake.page.posted_head == fake.page.posted_tail


def test_a_string_ends_before_a_ticket_that_is_not_published(fake: FakeRing) -> None:
    ring, got = strings(fake)
    fake.post(0x3F8, 1)
    gap = fake.take()
    fake.post(0x3F8, 3)
    assert ring.drain() == 1
    fake.publish(gap, 0x3F8, 2)
    assert ring.drain() == 2
    assert sum((1 if isinstance(each, Write) else len(each[1])) for each in got) == 3


def test_wider_writes_and_those_to_memory_are_no_part_of_a_string(fake: FakeRing) -> None:
    ring, got = strings(fake)
    for kind, size in ((layout.PostedKind.PORT, 2), (layout.PostedKind.MMIO, 1)):
        for _ in range(2):
            ticket = fake.take()
            fake.publish(ticket, 0x3F8, 1)
            entry = fake.page.posted[ticket % layout.POSTED_RING_ENTRIES]
            entry.kind, entry.size = kind, size
    assert ring.drain() == 4
    assert all(isinstance(each, Write) for each in got)


def test_a_whole_ring_of_one_ports_bytes_comes_in_order(fake: FakeRing) -> None:
    ring, got = strings(fake)
    for value in range(layout.POSTED_RING_ENTRIES):
        fake.post(0xE9, value & 0xFF)
    ring.drain()
    data = b"".join(bytes([each.value]) if isinstance(each, Write) else each[1] for each in got)
    assert data == bytes(range(256)) * (layout.POSTED_RING_ENTRIES // 256)
    assert len(got) < 20
