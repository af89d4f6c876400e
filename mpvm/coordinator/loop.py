"""The event loop: exits first, then the doorbell, timers, signals, dead workers and chardevs.

One epoll descriptor holds all of them, so that the price of an exit's round trip does not grow with the
number of vCPUs. It is asked only when no exit is there.
"""

import os
import select
from collections.abc import Callable
from typing import Final

from mpvm.abi.polling import Polling
from mpvm.coordinator.clock import MonotonicClock, TimerFd
from mpvm.coordinator.posted import PostedRing

# So many exits in a row, and the other events have their turn.
_EXITS_IN_A_ROW: Final = 16


class EventLoop:
    """One thread's loop. Callbacks run in it, one at a time."""

    def __init__(self, clock: MonotonicClock) -> None:
        self.clock = clock
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._timer_fd = TimerFd()
        self._epoll = select.epoll()
        self._callbacks: dict[int, tuple[Callable[[], object] | None, Callable[[], object] | None]] = {}
        self._take: Callable[[], bool] = lambda: False
        self._taken = 0
        self.polling = Polling()
        self._ring: PostedRing | None = None
        self._deferred: list[Callable[[], None]] = []
        self.add_reader(self.doorbell, self._acknowledge_doorbell)
        self.add_reader(self._timer_fd.fd, self._timer_fd.acknowledge)

    def serve(self, fd: int, take: Callable[[], bool]) -> None:
        """Call ``take()``, which serves one exit, until it returns False, and again when `fd` is readable."""
        self._take = take
        self.add_reader(fd, take)

    def drain_from(self, ring: PostedRing | None) -> None:
        """Deliver the posted writes of `ring` from now on."""
        self._ring = ring

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Call `callback` whenever `fd` is readable or hung up."""
        self._watch(fd, callback, self._callbacks.get(fd, (None, None))[1])

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `fd` takes data."""
        self._watch(fd, self._callbacks.get(fd, (None, None))[0], callback)

    def remove_reader(self, fd: int) -> None:
        """Undo `add_reader`; harmless when there was none."""
        self._watch(fd, None, self._callbacks.get(fd, (None, None))[1])

    def remove_writer(self, fd: int) -> None:
        """Undo `add_writer`; harmless when there was none."""
        self._watch(fd, self._callbacks.get(fd, (None, None))[0], None)

    def _watch(
        self, fd: int, reader: Callable[[], object] | None, writer: Callable[[], object] | None
    ) -> None:
        events = (select.EPOLLIN if reader else 0) | (select.EPOLLOUT if writer else 0)
        known = fd in self._callbacks
        if not events:
            if known:
                del self._callbacks[fd]
                self._epoll.unregister(fd)
            return
        if known:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = (reader, writer)

    def defer(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, before the loop sleeps next."""
        self._deferred.append(callback)

    def run(self, until: Callable[[], bool], deadline: int | None = None) -> bool:
        """Run until `until()` holds (True) or `deadline` (ns of the clock) has passed (False)."""
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True

        timer = self.clock.timer(expire)
        if deadline is not None:
            timer.arm(deadline)
        try:
            while not until():
                if expired:
                    return False
                self.iterate()
            return True
        finally:
            timer.cancel()

    def iterate(self, block: bool = True) -> None:
        """Wait for one event, unless `block` is false or something is due, and serve all that are there.

        Everything that an event leads to is done when this returns, so that `run` can look at its goal.
        """
        if self._take() or (block and self._poll()):
            self._taken += 1
            if self._taken == _EXITS_IN_A_ROW:
                self._taken = 0
                self._call(self._epoll.poll(0))
        else:
            self._taken = 0
            self._wait(block)
        if self._ring is not None:
            self._ring.drain()
        queue = self.clock.queue
        deadline = queue.next_deadline()
        if deadline is not None and deadline <= (now := self.clock.now()):
            queue.run_due(now)
        if self._deferred:
            deferred, self._deferred = self._deferred, []
            for callback in deferred:
                callback()

    def _poll(self) -> bool:
        # Before the guest runs, waits are long.
        return self._ring is not None and not self._deferred and self.polling.wait(self._look)

    def _look(self) -> bool:
        assert self._ring is not None
        if self._take() or self._ring.ready():
            return True
        deadline = self.clock.queue.next_deadline()
        return deadline is not None and deadline <= self.clock.now()

    def _wait(self, block: bool) -> None:
        ring = self._ring
        if block:
            deadline = self.clock.queue.next_deadline()
            self._timer_fd.set(deadline)
            # A write that is there already is no event to wait for; arming looks for one.
            block = not self._deferred and (ring is None or ring.arm())
        ready = self._epoll.poll(-1 if block else 0)
        if block:
            self.polling.slept()
        if ring is not None:
            ring.disarm()
        self._call(ready)

    def _call(self, ready: list[tuple[int, int]]) -> None:
        for fd, events in ready:
            # A callback may have removed a later one.
            reader, writer = self._callbacks.get(fd, (None, None))
            if reader is not None and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                reader()
            if writer is not None and events & (select.EPOLLOUT | select.EPOLLERR):
                writer()

    def _acknowledge_doorbell(self) -> None:
        try:
            os.eventfd_read(self.doorbell)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the loop's own descriptors."""
        self._epoll.close()
        self._timer_fd.close()
        os.close(self.doorbell)
