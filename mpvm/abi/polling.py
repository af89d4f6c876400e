"""Looking for a message instead of sleeping, as KVM's halt_poll_ns and QEMU's AioContext do.

Waking a core that sleeps takes longer than all the rest of an exit. So a wait begins with looking, when the
last wait was short. Between two looks the core is everybody's; when somebody takes it for long, the core is
not free, and a sleeper is woken sooner than one who has yielded has his turn.
"""

import os
import time
from collections.abc import Callable
from typing import Final

# KVM's default on x86.
POLL_NS: Final = 200_000
# Longer than a thread on the way of an exit runs, and shorter than a time slice.
_CROWDED_NS: Final = 500_000
_CROWDED_FOR_NS: Final = 1_000_000_000


class Polling:
    """One waiter's, which looks if `enabled`, for `limit_ns` at most. `now` is a clock in ns."""

    def __init__(
        self,
        now: Callable[[], int] = time.monotonic_ns,
        give_way: Callable[[], None] = os.sched_yield,
        *,
        enabled: bool = True,
    ) -> None:
        self._enabled = enabled
        self.limit_ns = POLL_NS
        self._now = now
        self._give_way = give_way
        self._began = 0
        self._worthwhile = False
        self._crowded_until = 0

    def wait(self, look: Callable[[], bool]) -> bool:
        """Whether `look` has found something. If not, sleep, and call `slept` then."""
        if not self._enabled:
            return False
        now = self._began = self._now()
        if not self._worthwhile or now < self._crowded_until:
            return False
        while now - self._began < self.limit_ns:
            if look():
                return True
            self._give_way()
            last, now = now, self._now()
            if now - last > _CROWDED_NS:
                self._crowded_until = now + _CROWDED_FOR_NS
                break
        return False

    def slept(self) -> None:
        """There is something now."""
        self._worthwhile = self._now() - self._began < self.limit_ns
