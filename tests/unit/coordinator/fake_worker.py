"""Workers that are threads: they speak the protocol over ipc, and run no guest."""

import os
import queue
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from mpvm.abi.messages import Kind, Message, decode, encode, identity
from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.vcpu import Vcpu
from mpvm.coordinator.vcpus import VcpuSet


class _Killed(Exception):  # noqa: N818 - no error: ends the thread
    """SIGKILL has come."""


class FakeWorker:
    """A worker's socket in a thread; `script(worker)` is what it does.

    Its process is a stand-in: `pidfd` is a pipe's read end, readable when `die` is called.
    """

    def __init__(
        self, endpoint: str, index: int, script: "Callable[[FakeWorker], None]", generation: int = 0
    ) -> None:
        self.index = index
        self.pidfd, self._alive = os.pipe()
        self.received: list[Message] = []
        self.kicks: queue.Queue[int] = queue.Queue()
        self._killed = os.eventfd(0)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 1000
        self._socket.identity = identity(index, generation)
        self._socket.connect(endpoint)
        self._dead = False
        self._thread = threading.Thread(target=self._run, args=(script,))
        self._thread.start()

    def _run(self, script: "Callable[[FakeWorker], None]") -> None:
        try:
            script(self)
        except _Killed:
            return
        finally:
            self._socket.close()
            self._context.term()
            self.die()

    def send(self, kind: Kind, *fields: int | str) -> None:
        self._socket.send(encode(kind, *fields))

    def send_raw(self, data: bytes) -> None:
        self._socket.send(data)

    def receive(self) -> Message:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._killed, zmq.POLLIN)
        ready = dict(poller.poll(10_000))
        assert ready, f"worker {self.index} got no message"
        if self._socket not in ready:
            # What SIGKILL does to a process; one that its coordinator has not heard of gets no STOP.
            raise _Killed
        message = decode(self._socket.recv())
        self.received.append(message)
        return message

    def come_up(self) -> Message:
        """CREATED, READY, and the wait for RESUME."""
        self.send(Kind.CREATED, 1000 + self.index, "fake 1.0", 5)
        self.send(Kind.READY, 7)
        return self.receive()

    def exit(self, *fields: int) -> Message:
        """An EXIT and its answer."""
        self.send(Kind.EXIT, *fields)
        return self.receive()

    def die(self) -> None:
        if not self._dead:
            self._dead = True
            os.close(self._alive)

    def signal(self, number: int) -> None:
        self.kicks.put(number)
        if number == signal.SIGKILL and self._killed >= 0:
            os.eventfd_write(self._killed, 1)

    def join(self) -> None:
        self._thread.join()
        if self._killed >= 0:
            os.close(self._killed)
            self._killed = -1


class Kicks:
    """Takes the place of `signal.pidfd_send_signal`: a kick goes to the fake worker, SIGKILL ends it."""

    def __init__(self) -> None:
        self.workers: dict[int, FakeWorker] = {}

    def __call__(self, pidfd: int, number: int, *_: Any) -> None:
        self.workers[pidfd].signal(number)


class FakeLauncher:
    """Starts fake workers for the vCPUs of `vcpus`; `scripts` has what the next ones do."""

    vcpus: VcpuSet

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.endpoint = f"ipc://{folder}/vcpu.sock"
        self.kicks = Kicks()
        monkeypatch.setattr(signal, "pidfd_send_signal", self.kicks)
        self.loop = EventLoop(MonotonicClock())
        self.workers: list[FakeWorker] = []
        self.scripts: list[Callable[[FakeWorker], None]] = []

    def ask(self, vcpu: Vcpu) -> None:
        worker = FakeWorker(self.endpoint, vcpu.index, self.scripts.pop(0), vcpu.generation)
        self.workers.append(worker)
        self.kicks.workers[worker.pidfd] = worker
        vcpu.pid, vcpu.pidfd = 1000 * (vcpu.generation + 1) + vcpu.index, worker.pidfd

    def close(self) -> None:
        self.vcpus.stop()
        for worker in self.workers:
            worker.join()
        self.vcpus.close()
        self.loop.close()
