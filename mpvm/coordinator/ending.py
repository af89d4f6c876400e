"""How a run comes to its end: the first to say so decides why, and with which status."""

from typing import Literal, NamedTuple, TypeAlias

# QAPI's type ShutdownCause (QEMU's qapi/run-state.json): who ended the run, as the event SHUTDOWN says it.
ShutdownCause: TypeAlias = Literal[
    "host-error",
    "host-qmp-quit",
    "host-qmp-system-reset",
    "host-signal",
    "host-ui",
    "guest-shutdown",
    "guest-reset",
    "guest-panic",
]


def is_guests(reason: ShutdownCause) -> bool:
    """Whether `reason` is the guest's doing."""
    return reason.startswith("guest-")


class End(NamedTuple):
    """Why a run is over, and its exit status."""

    status: int
    cause: str
    reason: ShutdownCause

    @property
    def guest(self) -> bool:
        """Whether it was the guest's doing."""
        return is_guests(self.reason)


class EndedEarly(Exception):  # noqa: N818 - no error: leaves the bring-up
    """The run is to end before the guest has started."""


class Ending:
    """Whether the run is over: `end` says why, None as long as it is not.

    While `bringing_up`, the guest has not started, and the end leaves the bring-up by `EndedEarly`.
    """

    def __init__(self) -> None:
        self.end: End | None = None
        self.bringing_up = True

    def decide(self, status: int, cause: str, reason: ShutdownCause) -> None:
        """End the run; the first to say so decides how. `cause` is for people, `reason` for the monitor."""
        if self.end is None:
            self.end = End(status, cause, reason)
            if self.bringing_up:
                raise EndedEarly
