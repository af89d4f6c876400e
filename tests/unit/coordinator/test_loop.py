"""The event loop: descriptors, timers, the doorbell, and when it looks at its goal."""

import os
from collections.abc import Callable, Iterator

import pytest

from mpvm.coordinator.clock import MonotonicClock, TimerFd
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.posted import PostedRing, Write
from tests.unit.coordinator.fake_ring import FakeRing


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop(MonotonicClock())
    yield loop
    loop.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe2(os.O_NONBLOCK)
    yield read, write
    os.close(read)
    os.close(write)


def later(loop: EventLoop, ns: int = 10**10) -> int:
    return loop.clock.now() + ns


def test_a_readable_descriptor_calls_its_reader(loop: EventLoop, pipe: tuple[int, int]) -> None:
    read, write = pipe
    got: list[bytes] = []
    loop.add_reader(read, lambda: got.append(os.read(read, 10)))
    os.write(write, b"x")
    assert loop.run(lambda: bool(got), later(loop))
    assert got == [b"x"]


def test_a_removed_reader_is_not_called(loop: EventLoop, pipe: tuple[int, int]) -> None:
    read, write = pipe
    loop.add_reader(read, lambda: pytest.fail("called"))
    loop.remove_reader(read)
    loop.remove_reader(read)
    os.write(write, b"x")
    loop.iterate(block=False)


def test_a_reader_and_a_writer_of_one_descriptor_are_apart(loop: EventLoop, pipe: tuple[int, int]) -> None:
    _, write = pipe
    called: list[str] = []
    loop.add_writer(write, lambda: called.append("writer"))
    loop.add_reader(write, lambda: called.append("reader"))
    loop.iterate(block=False)
    assert called == ["writer"]
    loop.remove_writer(write)
    loop.iterate(block=False)
    assert called == ["writer"]


def test_a_callback_may_remove_another_that_is_due(loop: EventLoop) -> None:
    pipes = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def only_one(mine: int, other: int) -> None:
        called.append(mine)
        loop.remove_reader(other)

    (a, aw), (b, bw) = pipes
    loop.add_reader(a, lambda: only_one(a, b))
    loop.add_reader(b, lambda: only_one(b, a))
    os.write(aw, b"x")
    os.write(bw, b"x")
    loop.iterate(block=False)
    assert len(called) == 1
    for fd in (a, aw, b, bw):
        os.close(fd)


def test_timers_run_in_the_order_of_their_deadlines(loop: EventLoop) -> None:
    ran: list[str] = []
    now = loop.clock.now()
    loop.clock.timer(lambda: ran.append("second")).arm(now + 2_000_000)
    loop.clock.timer(lambda: ran.append("first")).arm(now + 1_000_000)
    assert loop.run(lambda: len(ran) == 2, later(loop))
    assert ran == ["first", "second"]


def test_a_timer_that_is_due_already_is_the_goal_without_sleeping(loop: EventLoop) -> None:
    ran: list[bool] = []
    loop.clock.timer(lambda: ran.append(True)).arm(loop.clock.now())
    # Without a deadline: were the loop to sleep after the timer, it would sleep for ever.
    assert loop.run(lambda: bool(ran))


def test_a_deadline_in_the_past_ends_a_run_that_has_not_reached_its_goal(loop: EventLoop) -> None:
    assert not loop.run(lambda: False, loop.clock.now())


def test_a_goal_that_holds_already_needs_no_event(loop: EventLoop) -> None:
    assert loop.run(lambda: True)


def test_what_is_deferred_runs_before_the_loop_sleeps_and_once(loop: EventLoop) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        loop.defer(lambda: ran.append("second"))

    loop.defer(first)
    assert loop.run(lambda: len(ran) == 2)
    loop.iterate(block=False)
    assert ran == ["first", "second"]


def test_the_doorbell_wakes_the_loop_and_the_write_is_delivered(loop: EventLoop) -> None:
    fake, got = FakeRing(), list[Write]()
    ring = PostedRing(fake.block, got.append)
    loop.drain_from(ring)
    ticket = fake.take()

    def produce() -> None:
        # What a worker's core does: publish, look at `posted_armed`, ring.
        fake.publish(ticket, 0x3F8, 0x41)
        os.eventfd_write(loop.doorbell, 1)

    loop.clock.timer(produce).arm(loop.clock.now())
    assert loop.run(lambda: bool(got), later(loop))
    assert got[0].address == 0x3F8


def test_the_loop_asks_for_the_doorbell_only_while_it_sleeps(loop: EventLoop, pipe: tuple[int, int]) -> None:
    fake = FakeRing()
    armed: list[int] = []
    loop.drain_from(PostedRing(fake.block, lambda write: None))
    loop.add_reader(pipe[0], lambda: armed.append(fake.page.posted_armed))
    os.write(pipe[1], b"x")
    loop.iterate()
    assert armed == [0]


def test_exits_are_served_one_by_one_until_there_is_none(loop: EventLoop, pipe: tuple[int, int]) -> None:
    waiting, served = [1, 2, 3], list[int]()
    read, write = pipe

    def take() -> bool:
        if waiting:
            served.append(waiting.pop(0))
            return True
        return False

    loop.serve(read, take)
    assert loop.run(lambda: len(served) == 3, later(loop))

    # It sleeps then, until it is told that there is news.
    def news() -> None:
        waiting.append(4)
        os.write(write, b"x")

    loop.clock.timer(news).arm(loop.clock.now())
    assert loop.run(lambda: served == [1, 2, 3, 4], later(loop))


def test_exits_without_end_leave_the_other_events_their_turn(loop: EventLoop, pipe: tuple[int, int]) -> None:
    read, write = pipe
    called: list[bool] = []
    loop.serve(loop.doorbell, lambda: True)
    loop.add_reader(read, lambda: called.append(True))
    os.write(write, b"x")
    assert loop.run(lambda: bool(called), later(loop))


@pytest.mark.parametrize("event", ["exit", "posted write", "timer"])
def test_a_loop_that_looks_before_it_sleeps_finds_what_would_have_woken_it(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    fake, got = FakeRing(), list[str]()
    loop.drain_from(PostedRing(fake.block, lambda write: got.append("posted write")))
    exits: list[str] = []

    def take() -> bool:
        got.extend(exits)
        return bool(exits)

    timer = loop.clock.timer(lambda: got.append("timer"))

    def happen() -> None:
        # Nobody rings the doorbell for one who is awake.
        assert not fake.page.posted_armed
        if event == "exit":
            exits.append("exit")
        elif event == "posted write":
            fake.publish(fake.take(), 0x3F8, 0x41)
        else:
            timer.arm(loop.clock.now())

    class Looking:
        def wait(self, look: Callable[[], bool]) -> bool:
            assert not look()
            happen()
            return look()

    monkeypatch.setattr(loop, "polling", Looking())
    loop.serve(loop.doorbell, take)
    loop.iterate()
    assert got == [event]


def test_the_timer_descriptor_is_set_once_for_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = TimerFd()
    calls: list[int] = []

    class Libc:
        @staticmethod
        def timerfd_settime(*arguments: int) -> int:
            calls.append(1)
            return 0

    monkeypatch.setattr(timer, "_libc", Libc)
    for deadline in (5, 5, None, None, 7):
        timer.set(deadline)
    assert len(calls) == 3
    timer.close()
