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
