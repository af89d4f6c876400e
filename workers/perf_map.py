"""The file in which perf(1) looks up the names of a process's translated code.

Its place and its lines are perf's (Linux, tools/perf/Documentation/jit-interface.txt). It stays when the
process has ended: `perf report` reads it then.
"""

import contextlib
import os

from mpvm.abi.errors import StartError


def create(pid: int) -> int:
    """Make the map of process `pid` anew, and open it to append; its descriptor. Raises `StartError`."""
    path = f"/tmp/perf-{pid}.map"  # noqa: S108 - where perf looks
    try:
        # Of an earlier process of this id. EXCL follows no link that another user has put there.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - of what pathlib is made of
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}, a path that mpvm can write is right") from error
