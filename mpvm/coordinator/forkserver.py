"""The fork server that workers come from, as the coordinator sees it.

`mpvm run` forks it first of all, while it is still small and has one thread, so that its imports run
beside ours. A program that has imported `mpvm` may have threads and much else: it gets a fresh interpreter.
What the server does, and what is said over its socket, is in `forkserver_main`.
"""

import atexit
import contextlib
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

from mpvm.abi.errors import ExitStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mpvm.coordinator.runtime_dir import RuntimeDir

# What takes longest to import of what coordinator and workers have in common.
_SHARED: Final = ("mpvm.abi.layout", "mpvm.abi.messages")
_REPLY_BYTES: Final = 4096
# Its imports come before its first answer; more than that and it hangs.
_LIMIT_SECONDS: Final = 30.0
_SPAWNED: Final = (
    "import sys; sys.path[:] = sys.argv[1:]; from mpvm.coordinator import forkserver_main; "
    "forkserver_main.main_of_a_fresh_interpreter()"
)

# Until a running VM puts its own handlers in the place of these. None is for the fork server.
_STATUS: Final = {
    signal.SIGINT: ExitStatus.INTERRUPTED,
    signal.SIGTERM: ExitStatus.TERMINATED,
    signal.SIGHUP: ExitStatus.TERMINATED,
}


class ForkServer:
    """The server's process and our end of its socket. Its silence or end is an `OSError` or `EOFError`."""

    def __init__(self, *, fork: bool, detached: bool = False) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The server unblocks the signals when it ignores them: until then, none finds Python's handlers.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STATUS)
        try:
            self.pid = _fork(ours, theirs, detached) if fork else _spawn(theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()
        ours.settimeout(_LIMIT_SECONDS)
        self._socket = ours
        # Workers asked for whose answer has not been read.
        self._pending = 0

    def ask(
        self, module: str, index: int, runtime_dir: str, arguments: Mapping[str, Any], doorbell: int
    ) -> None:
        """Have a worker forked that calls ``module.main``, and do not wait for it."""
        import msgpack

        packet = msgpack.packb([module, index, runtime_dir, arguments])
        socket.send_fds(self._socket, [packet], [doorbell])
        self._pending += 1

    def started(self) -> tuple[int, int]:
        """Process id and pidfd of the worker that was asked for, the first one first."""
        self._pending -= 1
        (pid, problem), fds = self._receive()
        if not fds:
            raise OSError(problem)
        return pid, fds[0]

    def exit_code(self, pid: int) -> int:
        """How worker `pid`, which has ended, did so: its status, or minus the signal that killed it."""
        import msgpack

        while self._pending:
            # Of a start that has failed: the server ends these, too.
            with contextlib.suppress(OSError):
                os.close(self.started()[1])
        self._socket.send(msgpack.packb([pid]))
        (code,), _ = self._receive()
        return int(code)

    def _receive(self) -> tuple[list[Any], list[int]]:
        import msgpack

        packet, fds, _, _ = socket.recv_fds(self._socket, _REPLY_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        if not packet:
            raise EOFError
        return msgpack.unpackb(packet), fds

    def stop(self) -> None:
        """End it, and with it every worker that is left."""
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _fork(ours: socket.socket, theirs: socket.socket, detached: bool) -> int:
    pid = os.fork()
    if pid == 0:
        ours.close()
        from mpvm.coordinator import forkserver_main

        forkserver_main.main(theirs, detached=detached)
    return pid


def _spawn(theirs: socket.socket) -> int:
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", _SPAWNED, *sys.path],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
    )


_server: ForkServer | None = None
_runtime_dir: "RuntimeDir | None" = None


_asked_to_end: ExitStatus | None = None


def _end(number: int, _frame: object) -> None:
    global _asked_to_end
    _asked_to_end = _STATUS[signal.Signals(number)]
    # SystemExit, so that atexit's handlers run, and without a traceback.
    sys.exit(_asked_to_end)


def _on_unraisable(what: "sys.UnraisableHookArgs") -> None:
    # In the middle of a weak reference's callback, of which imports have many, Python drops what a handler
    # raises and says so. It is not lost: see `end_if_asked`.
    if what.exc_type is not SystemExit or _asked_to_end is None:
        sys.__unraisablehook__(what)


def end_if_asked() -> None:
    """Raise SystemExit when a signal has asked for it before somebody else took the signals over."""
    if _asked_to_end is not None:
        sys.exit(_asked_to_end)


def start_early(*, detached: bool = False) -> None:
    """Fork the server and do not wait for it: for a process of our own that has nothing imported yet but what
    its workers need as well, which is imported here, once for all.

    Calling again, or not at all, is harmless. `detached`: nobody reads what workers say on stderr.
    """
    for module in _SHARED:
        importlib.import_module(module)
    alone = len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - of what pathlib is made of
    _start(detached=detached, fork=alone)


def _start(*, fork: bool, detached: bool = False) -> None:
    global _server, _runtime_dir
    if _server is not None:
        return
    # Before all that a copy of this process should not hold: the runtime directory's lock, and its janitor.
    _server = ForkServer(fork=fork, detached=detached)
    atexit.register(stop)
    if threading.current_thread() is threading.main_thread():
        sys.unraisablehook = _on_unraisable
        for number in _STATUS:
            signal.signal(number, _end)
    from mpvm.coordinator.runtime_dir import RuntimeDir

    _runtime_dir = RuntimeDir()


def take_runtime_dir() -> "RuntimeDir":
    """The VM's runtime directory; whoever takes it removes it by `stop`."""
    _start(fork=False)
    assert _runtime_dir is not None
    return _runtime_dir


def server() -> ForkServer:
    """The server that runs from `take_runtime_dir` to `stop`."""
    assert _server is not None
    return _server


def stop() -> None:
    """End the fork server and remove the runtime directory, when there are any."""
    global _server, _runtime_dir, _asked_to_end
    atexit.unregister(stop)
    if sys.unraisablehook is _on_unraisable:
        sys.unraisablehook = sys.__unraisablehook__
    _asked_to_end = None
    if _server is not None:
        _server.stop()
        _server = None
    if _runtime_dir is not None:
        _runtime_dir.remove()
        _runtime_dir = None
