"""A file with the process id, locked as long as the VM lives (QEMU's qemu_write_pidfile)."""

import contextlib
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from mpvm.abi.errors import StartError

# struct flock: all of the file, for writing (fcntl(2))
_WHOLE_FILE: Final = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class PidFile:
    """Is there from now on; `StartError` where it can't be made, or another VM has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._fd = _open_locked(path)
            os.ftruncate(self._fd, 0)
            os.write(self._fd, b"%d\n" % os.getpid())
        except BlockingIOError as error:
            raise StartError(
                f"cannot create PID file: {path}: another VM has it, a file of its own is right"
            ) from error
        except OSError as error:
            raise StartError(f"cannot create PID file: {path}: {error.strerror}") from error

    def remove(self) -> None:
        """Take it away, unless it is another by now."""
        with contextlib.suppress(OSError):
            if _same_file(self._fd, self._path):
                self._path.unlink()
        os.close(self._fd)


def _open_locked(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE_FILE)
            # Its last owner may have taken it away meanwhile.
            if _same_file(fd, path):
                return fd
        except OSError:
            os.close(fd)
            raise
        os.close(fd)


def _same_file(fd: int, path: Path) -> bool:
    ours = os.fstat(fd)
    try:
        theirs = path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
