"""What every chardev with I/O of its own has: a life in the event loop, and an end that comes and goes."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from mpvm.hw.char.chardev import Chardev

if TYPE_CHECKING:
    from mpvm.coordinator.chardev.output import BufferedOutput


class Loop(Protocol):
    """What a backend needs of the event loop (`mpvm.coordinator.loop.EventLoop`)."""

    clock: Any

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None: ...  # noqa: D102
    def remove_reader(self, fd: int) -> None: ...  # noqa: D102
    def add_writer(self, fd: int, callback: Callable[[], None]) -> None: ...  # noqa: D102
    def remove_writer(self, fd: int) -> None: ...  # noqa: D102
    def defer(self, callback: Callable[[], None]) -> None: ...  # noqa: D102


class Backend(Chardev):
    """Base of them. `start` begins the I/O, `close` ends it."""

    _output: "BufferedOutput | None" = None

    @abstractmethod
    def start(self, loop: Loop) -> None:
        """Do I/O in `loop` from now on."""

    @abstractmethod
    def close(self) -> None:
        """Write the rest, and let go of everything."""

    @property
    def filename(self) -> str:
        """What it is connected to, as the monitor tells it."""
        raise NotImplementedError

    @property
    def pending(self) -> bool:
        """Whether there is output that its reader has not taken yet, and that is to be waited for."""
        return self._output is not None and self._output.pending

    def tail(self) -> str:
        """The end of what the guest has written, where it is remembered."""
        return ""

    def continued(self) -> None:
        """This process has been stopped, and goes on."""
