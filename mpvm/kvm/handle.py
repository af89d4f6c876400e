"""What the handles of the `unicorn` accelerator have in common: they are closed, and errors are `OSError`."""

import errno
import os
from typing import NoReturn, Self


def fail(number: int, call: str, why: str = "") -> NoReturn:
    """Raise the `OSError` of errno `number`, with the ioctl's name where a file's would be."""
    raise OSError(number, f"{os.strerror(number)}{': ' if why else ''}{why}", f"KVM_{call}")


class Handle:
    """Closed by `close` or at the end of a ``with``; every other call then is EBADF."""

    _closed = False

    def check_open(self, call: str) -> None:
        """EBADF when it is closed."""
        if self._closed:
            fail(errno.EBADF, call)

    def close(self) -> None:
        """A second time is nothing."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
