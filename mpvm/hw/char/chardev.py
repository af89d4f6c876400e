"""Character devices: where a serial line goes. The front end is a UART or debug port, the back end a
terminal, file, socket or buffer; back ends that do I/O live in `mpvm.coordinator.chardev`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from mpvm.qom.properties import Property


def _no_room() -> int:
    return 0


class Chardev(ABC):
    """Base of every back end. One front end connects to it.

    Output is never refused. Input waits in the back end until the front end has room: a back end hands
    bytes over with `deliver`, keeps what was not taken and tries again in `room_available`.
    """

    def __init__(self) -> None:
        self._receive: Callable[[bytes], None] | None = None
        self._room: Callable[[], int] = _no_room
        self._receive_break: Callable[[], None] | None = None
        self._opened: Callable[[bool], None] | None = None
        self.is_open = False

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Take `data` from the front end."""

    def connect(
        self,
        receive: Callable[[bytes], None],
        room: Callable[[], int],
        receive_break: Callable[[], None] | None = None,
        opened: Callable[[bool], None] | None = None,
    ) -> None:
        """Attach the front end: `receive` takes at most `room()` bytes, `receive_break` a line break.

        `opened` hears when somebody is at the other end (True), and when they have gone (False).
        """
        self._receive = receive
        self._room = room
        self._receive_break = receive_break
        self._opened = opened

    def disconnect(self) -> None:
        """Detach the front end; input waits for the next one."""
        self._receive, self._room, self._receive_break = None, _no_room, None
        self._opened = None

    def room_available(self) -> None:  # noqa: B027  (a back end without input has nothing to hand over)
        """The front end says that it can take more input."""

    def _set_open(self, is_open: bool) -> None:
        """Somebody is at the other end now, or nobody is."""
        if is_open != self.is_open:
            self.is_open = is_open
            if self._opened is not None:
                self._opened(is_open)

    def deliver(self, data: bytes) -> int:
        """Hand the front end as much of `data` as it has room for; returns the number of bytes taken."""
        count = min(self._room(), len(data))
        if self._receive is None or count <= 0:
            return 0
        self._receive(data[:count])
        return count

    def deliver_break(self) -> None:
        """Hand the front end a break condition; one that knows no break ignores it, as a wire would."""
        if self._receive_break is not None:
            self._receive_break()


class NullChardev(Chardev):
    """Output vanishes, input never comes."""

    def write(self, data: bytes) -> None:
        """Drop `data`."""


class MemoryChardev(Chardev):
    """Output collects in `output`, input comes from `feed`."""

    def __init__(self) -> None:
        super().__init__()
        self.output = bytearray()
        self._input = bytearray()

    def write(self, data: bytes) -> None:
        """Append `data` to `output`."""
        self.output += data

    def feed(self, data: bytes) -> None:
        """Type `data`; what the front end has no room for waits."""
        self._input += data
        self.room_available()

    @property
    def waiting(self) -> int:
        """Bytes of input that the front end has not taken yet."""
        return len(self._input)

    def room_available(self) -> None:
        """Hand over what waits, as far as there is room."""
        # taken out first: delivering may make room and come back here
        while self._input:
            count = min(self._room(), len(self._input))
            if count <= 0:
                return
            chunk = bytes(self._input[:count])
            del self._input[:count]
            self.deliver(chunk)


CHARDEV_KIND = "chardev"


def chardev_property(description: str) -> Property[Chardev | None]:
    """A property of a front end: the back end that it connects to, None for nobody."""

    def parse(value: Any) -> Chardev | None:
        if value is not None and not isinstance(value, Chardev):
            raise ValueError("is not a chardev")
        return value

    return Property(CHARDEV_KIND, parse, "a chardev such as stdio", None, description)
