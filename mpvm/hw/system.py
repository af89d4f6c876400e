"""What a device may ask of the system that it is part of (QEMU's include/sysemu/runstate.h and timer.h)."""

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from mpvm.hw.clock import Clock


class WakeupReason(IntEnum):
    """What ends a sleep (QEMU's enum of that name)."""

    OTHER = 1
    RTC = 2


class System(Protocol):
    """Time, and the ends of a run. A bus has it for its devices; the machine gets it from whoever runs it."""

    @property
    def clock(self) -> Clock:
        """Time in ns, and timers."""
        ...

    @property
    def wall_clock(self) -> Callable[[], float]:
        """Unix time in seconds."""
        ...

    @property
    def power_off(self) -> Callable[[], None]:
        """The guest switches itself off (qemu_system_shutdown_request)."""
        ...

    @property
    def request_reset(self) -> Callable[[], None]:
        """The guest wants a reset (qemu_system_reset_request)."""
        ...

    @property
    def suspend(self) -> Callable[[], None]:
        """The guest goes to sleep with its RAM kept, ACPI's S3 (qemu_system_suspend_request)."""
        ...

    @property
    def wakeup(self) -> Callable[[WakeupReason], None]:
        """Something happens that ends a sleep; no change where nobody sleeps (qemu_system_wakeup_request)."""
        ...

    @property
    def debug_exit(self) -> Callable[[int], None]:
        """The guest ends the run with this status."""
        ...
