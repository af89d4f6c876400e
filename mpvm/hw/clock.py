"""The time that devices see. Tests drive a `ManualClock`; the coordinator's clock is CLOCK_MONOTONIC."""

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

NS_PER_SECOND = 1_000_000_000


class Timer:
    """A one-shot timer of a clock: at most one deadline, in ns of that clock."""

    def __init__(self, queue: "TimerQueue", callback: Callable[[], None]) -> None:
        self._queue = queue
        self.callback = callback
        self.deadline: int | None = None

    def arm(self, deadline: int) -> None:
        """Call back once at `deadline` (ns); an earlier arming is forgotten."""
        self.deadline = deadline
        self._queue.push(deadline, self)

    def cancel(self) -> None:
        """Forget the deadline, if any."""
        self.deadline = None


class TimerQueue:
    """Deadlines in order. A timer armed again leaves a stale entry, which is skipped."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()

    def push(self, deadline: int, timer: Timer) -> None:
        """Enter `timer` at `deadline` (ns)."""
        heapq.heappush(self._heap, (deadline, next(self._order), timer))

    def next_deadline(self) -> int | None:
        """The earliest deadline in ns, or None when no timer is armed."""
        while self._heap and self._heap[0][2].deadline != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run_due(self, now: int) -> None:
        """Call back every timer whose deadline is not after `now`, in the order of deadlines."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            timer = heapq.heappop(self._heap)[2]
            timer.deadline = None
            timer.callback()


class Clock(Protocol):
    """What a device needs of time."""

    def now(self) -> int:
        """Nanoseconds since some fixed point; never goes back."""
        ...

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A new timer, not armed, that calls `callback`."""
        ...


class ManualClock:
    """A clock that stands still until `advance` moves it; for tests."""

    def __init__(self, start: int = 0) -> None:
        self._now = start
        self.queue = TimerQueue()

    def now(self) -> int:
        """Nanoseconds since the start that was given, as far as `advance` has moved on."""
        return self._now

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A new timer of this clock."""
        return Timer(self.queue, callback)

    def advance(self, ns: int) -> None:
        """Move on by `ns`, running each timer at its own deadline."""
        target = self._now + ns
        while (deadline := self.queue.next_deadline()) is not None and deadline <= target:
            self._now = max(self._now, deadline)
            self.queue.run_due(self._now)
        self._now = target
