"""The VM's private runtime directory: its sockets, and what its workers say on stderr.

``<parent>/mpvm-<pid>-<random>``, mode 0700. A janitor, a shell that waits for the end of this process,
removes it, and the VM's shared-memory segments (`segment_name`), even after a SIGKILL. Should that be
killed, too: a lock on the directory is held while its VM lives, so that a later run can tell what a killed
VM has left from a directory in use, and sweep it away together with its segments.
"""

import contextlib
import fcntl
import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mpvm.abi.errors import StartError

SHM_DIRECTORY: Final = Path("/dev/shm")  # noqa: S108 - where shm_open(3) puts its segments
#: The name by which a janitor is found among the processes.
JANITOR: Final = "mpvm-janitor"

# sun_path of a Unix socket takes 107 bytes (unix(7))
_LONGEST_SOCKET_NAME: Final = len("vcpu.sock")
_SUN_PATH_MAX: Final = 107

_NAME = re.compile(r"mpvm-(\d+)-[0-9a-f]{8}")


def parent_directory() -> Path:
    """Where runtime directories are made: $MPVM_RUNTIME_DIR, $XDG_RUNTIME_DIR, $TMPDIR or /tmp."""
    if wanted := os.environ.get("MPVM_RUNTIME_DIR"):
        return Path(wanted)
    xdg = os.environ.get("XDG_RUNTIME_DIR")
    if xdg and os.access(xdg, os.W_OK | os.X_OK):
        return Path(xdg)
    # `tempfile`, which would look at more places, takes longer to import than this directory to make.
    return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - the name is secret, the mode private


def segment_name(instance: str, part: str) -> str:
    """Name of the shared-memory segment `part` (vm or ram) of the VM called `instance`."""
    return f"{instance}-{part}"


def _remove_tree(path: Path) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(path):  # noqa: PTH208 - as names, they are a few files
            os.unlink(path / name)  # noqa: PTH108
        path.rmdir()
        return
    # Imported here: hardly ever is there a folder in it.
    import shutil

    shutil.rmtree(path, ignore_errors=True)


class RuntimeDir:
    """One process's directory. The names of its VMs' segments begin with `name` (``mpvm-<pid>-<random>``)."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent_directory() if parent is None else parent
        self.name = f"mpvm-{os.getpid()}-{os.urandom(4).hex()}"
        self.path = parent.absolute() / self.name
        longest = len(os.fsencode(self.path)) + 1 + _LONGEST_SOCKET_NAME
        if longest > _SUN_PATH_MAX:
            raise StartError(
                f"runtime directory {self.path} is too long for a socket's name by {longest - _SUN_PATH_MAX} "
                "bytes; set MPVM_RUNTIME_DIR to a shorter directory"
            )
        self._lock = -1
        # Before the directory: there is no instant at which nobody would remove it.
        self._segments = segment_name(self.name, "")
        self._janitor = _Janitor(self.path, SHM_DIRECTORY / self._segments)
        try:
            self.path.mkdir(mode=0o700)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._janitor.dismiss()
            raise StartError(
                f"can't make the runtime directory {self.path}: {error.strerror}; "
                "MPVM_RUNTIME_DIR may name a directory that can be written to"
            ) from error
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Delete the directory and what is in it; no error when it has gone already."""
        _remove_tree(self.path)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            self._janitor.dismiss(has_work=self._left())

    def _left(self) -> bool:
        names = os.listdir(SHM_DIRECTORY)  # noqa: PTH208
        return self.path.exists() or any(name.startswith(self._segments) for name in names)


class _Janitor:
    """A process that removes `directory`, and all files whose paths begin with `segments`, when this one has
    gone, or `dismiss`ed it.

    In a session of its own, so that a signal to our process group does not end it with us.
    """

    _SCRIPT = 'read -r _; rm -rf -- "$1" "$2"* 2>&- || { sleep 1; rm -rf -- "$1" "$2"*; }'

    def __init__(self, directory: Path, segments: Path) -> None:
        read, self._write = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", self._SCRIPT, JANITOR, str(directory), str(segments)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
            )
        finally:
            os.close(read)

    def dismiss(self, *, has_work: bool = True) -> None:
        """Have it do its work now, if it has any, and wait for its end."""
        if not has_work:
            # It would start a program to find that out.
            os.kill(self._pid, signal.SIGKILL)
        os.close(self._write)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def running(parent: Path | None = None) -> list[tuple[int, Path]]:
    """The process ids and runtime directories of the VMs in `parent` whose coordinators are there."""
    parent = parent_directory() if parent is None else parent
    return [(pid, path) for pid, path in _instances(parent) if _process_exists(pid)]


def _instances(parent: Path) -> Iterator[tuple[int, Path]]:
    # As names: the folder may be /tmp, and to sort hundreds of paths takes as long as to build the machine.
    try:
        names = os.listdir(parent)  # noqa: PTH208
    except OSError:
        return
    for match in filter(None, map(_NAME.fullmatch, sorted(names))):
        yield int(match[1]), parent / match[0]


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_stale(path: Path) -> bool:
    """Whether no process has `path` locked. Its maker holds the lock from the start to the end."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.fstat(fd).st_uid != os.geteuid() or not stat.S_ISDIR(os.fstat(fd).st_mode):
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def sweep(parent: Path | None = None, shm: Path = SHM_DIRECTORY) -> list[str]:
    """Remove what killed VMs have left in `parent` and their segments in `shm`; returns the VMs' names.

    Both the process id in the name and the lock must say that the VM is dead: the first alone is wrong
    across PID namespaces, the second alone in the instant between making and locking.
    """
    swept = []
    for pid, path in _instances(parent_directory() if parent is None else parent):
        if _process_exists(pid) or not _is_stale(path):
            continue
        for segment in shm.glob(segment_name(path.name, "*")):
            with contextlib.suppress(OSError):
                segment.unlink()
        _remove_tree(path)
        swept.append(path.name)
    return swept
