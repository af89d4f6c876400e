"""What the machine takes for the time of day (QEMU's softmmu/rtc.c, -rtc base=,clock=).

Imported where a configuration says something about it: the host's time of day needs no clock of its own.
"""

import time
from collections.abc import Callable

from mpvm.config import Rtc
from mpvm.config.dates import unix_seconds
from mpvm.hw.clock import NS_PER_SECOND


class RtcClock:
    """Unix time by `rtc`, in seconds. `now` tells ns that go by, `host` the host's time of day."""

    def __init__(
        self,
        rtc: Rtc,
        now: Callable[[], int] = time.monotonic_ns,
        host: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._host = host
        self._follows_host = rtc.clock == "host"
        self._stands_with_vm = rtc.clock == "vm"
        self._is_local = rtc.base == "localtime"
        self._began = now()
        self._began_at = host()
        self._stopped_ns = 0
        # The machine does not run yet.
        self._stopped_since: int | None = self._began
        dated = rtc.base not in ("utc", "localtime")
        self._offset = unix_seconds(rtc.base) - self._began_at if dated else 0.0

    def __call__(self) -> float:
        """The time of day now."""
        since = self._elapsed() / NS_PER_SECOND
        seconds = self._host() if self._follows_host else self._began_at + since
        if self._is_local:
            return seconds + time.localtime(seconds).tm_gmtoff
        return seconds + self._offset

    def _elapsed(self) -> int:
        now = self._now()
        if not self._stands_with_vm:
            return now - self._began
        stopped = self._stopped_ns + (0 if self._stopped_since is None else now - self._stopped_since)
        return now - self._began - stopped

    def stop(self) -> None:
        """The VM has stopped."""
        if self._stopped_since is None:
            self._stopped_since = self._now()

    def go(self) -> None:
        """The VM runs."""
        if self._stopped_since is not None:
            self._stopped_ns += self._now() - self._stopped_since
            self._stopped_since = None
