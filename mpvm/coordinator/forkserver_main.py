"""The fork server's process: it imports what workers need, once, and forks a worker when it is asked to.

The coordinator asks over a SOCK_SEQPACKET socket in packets of msgpack, which are answered in their order:

- ``[module, index, runtime_dir, arguments]`` with the doorbell's descriptor: a worker is forked.
  The answer is ``[process id, ""]`` with its pidfd, or ``[0, problem]``.
- ``[process id]``: the answer is ``[status]`` of a worker that has ended, minus the signal that killed it.

The socket's end is the coordinator's: the workers that are left are killed, and the server ends.
"""

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from mpvm.coordinator import trampoline

# Pure imports: an engine or a ZeroMQ context is never made before a fork.
_PRELOAD: Final = ("msgpack", "workers.vcpu")
_REQUEST_BYTES: Final = 16384


def main_of_a_fresh_interpreter() -> NoReturn:
    """`main` with the socket that the coordinator has put in the place of stdin."""
    main(socket.socket(fileno=os.dup(0)))


def main(connection: socket.socket, *, detached: bool = False) -> NoReturn:
    """Serve until the coordinator is gone; does not return into whatever has forked this process.

    `detached`: stderr is not for it, nor for the workers.
    """
    status = 1
    try:
        trampoline.ignore_the_coordinators_signals()
        _forget(0, 1, 2) if detached else _forget(0, 1)
        _preload()
        _Server(connection).serve()
        status = 0
    except BaseException:  # what forked us must not see it
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _forget(*fds: int) -> None:
    """Workers neither read nor print: who waits for the end of our output does not wait for theirs."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)


def _preload() -> None:
    gc.disable()
    for module in _PRELOAD:
        # The worker meets a failure again, and has somewhere to say so.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    # Workers share these pages for as long as no collection writes to them.
    gc.freeze()


class _Server:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._workers: set[int] = set()

    def serve(self) -> None:
        """Answer until the coordinator has gone."""
        import msgpack

        try:
            # Gone, too, where it no longer hears the answer.
            with contextlib.suppress(ConnectionError):
                while received := self._receive():
                    packet, fds = received
                    request = msgpack.unpackb(packet)
                    if len(request) == 1:
                        self._connection.send(msgpack.packb([self._status_of(*request)]))
                    else:
                        self._start(fds, *request)
        finally:
            self._end_workers()

    def _receive(self) -> tuple[bytes, list[int]] | None:
        packet, fds, _, _ = socket.recv_fds(self._connection, _REQUEST_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        return (packet, fds) if packet else None

    def _start(
        self, fds: list[int], module: str, index: int, runtime_dir: str, arguments: Mapping[str, Any]
    ) -> None:
        import msgpack

        (doorbell,) = fds
        try:
            pid = os.fork()
        except OSError as error:
            os.close(doorbell)
            self._connection.send(msgpack.packb([0, error.strerror]))
            return
        if pid == 0:
            self._connection.close()
            gc.enable()
            trampoline.run_worker(module, index, runtime_dir, {**arguments, "doorbell_fd": doorbell})
        os.close(doorbell)
        self._workers.add(pid)
        # Made here, where the id can't be another's yet: nobody else waits for this process.
        pidfd = os.pidfd_open(pid)
        try:
            socket.send_fds(self._connection, [msgpack.packb([pid, ""])], [pidfd])
        finally:
            os.close(pidfd)

    def _status_of(self, pid: int) -> int:
        _, status = os.waitpid(pid, 0)
        self._workers.discard(pid)
        return os.waitstatus_to_exitcode(status)

    def _end_workers(self) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        for pid in self._workers:
            os.waitpid(pid, 0)
