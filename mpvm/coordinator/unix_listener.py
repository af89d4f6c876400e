"""Unix sockets to listen at, also where a killed VM has left one."""

import contextlib
import errno
import os
import socket
from pathlib import Path


def listen_unix(path: Path, backlog: int) -> socket.socket:
    """A socket that does not block and listens at `path`; `OSError`, also where another process does."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_left_over(path):
                raise
            path.unlink()
            listener.bind(os.fspath(path))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def _is_left_over(path: Path) -> bool:
    """Whether `path` is a socket that nobody listens at."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return True
    return False
