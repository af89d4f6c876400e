"""A copy of all output in a file (`logfile` of any chardev)."""

from collections.abc import Callable

from mpvm.coordinator.chardev.file import FileChardev
from mpvm.hw.char.chardev import Chardev


class LoggedChardev(Chardev):
    """What is written to it goes to `log`, too; all else is that of `inner`."""

    def __init__(self, inner: Chardev, log: FileChardev) -> None:
        super().__init__()
        self._inner = inner
        self._log = log

    def write(self, data: bytes) -> None:
        """To both."""
        self._log.write(data)
        self._inner.write(data)

    def connect(
        self,
        receive: Callable[[bytes], None],
        room: Callable[[], int],
        receive_break: Callable[[], None] | None = None,
        opened: Callable[[bool], None] | None = None,
    ) -> None:
        """Attach the front end to `inner`."""
        self._inner.connect(receive, room, receive_break, opened)

    def disconnect(self) -> None:
        """Detach it."""
        self._inner.disconnect()

    def room_available(self) -> None:
        """The front end can take more."""
        self._inner.room_available()
