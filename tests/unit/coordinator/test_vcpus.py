"""The vCPUs' lives over a real socket, with threads in the place of workers."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mpvm.abi.errors import EngineVersionError, ProtocolError, StartError, WorkerError
from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import Request, ResumeFlag, VcpuArea
from mpvm.abi.messages import Kind, Message, encode
from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.dispatch import Exit
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.vcpu import VcpuState
from mpvm.coordinator.vcpus import VcpuSet
from tests.unit.coordinator.fake_worker import FakeLauncher, FakeWorker


class Bench(FakeLauncher):
    """A `VcpuSet` and as many fake workers as were asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.exits: list[Exit] = []
        self.observed: list[tuple[int, VcpuState]] = []

    def make(self, *scripts: Callable[[FakeWorker], None], limit: float = 10) -> VcpuSet:
        areas = [VcpuArea(index=index) for index in range(len(scripts))]
        self.vcpus = VcpuSet(
            self.loop,
            areas,
            self.endpoint,
            self.on_exit,
            lambda vcpu: self.observed.append((vcpu.index, vcpu.state)),
            limit,
        )
        self.vcpus.serve()
        self.scripts = list(scripts)
        for vcpu in self.vcpus.vcpus:
            self.ask(vcpu)
            self.vcpus.watch(vcpu)
        return self.vcpus

    def on_exit(self, exit_: Exit) -> None:
        self.exits.append(exit_)
        self.vcpus.reply(exit_.vcpu, exit_.data + 1)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


def idle(worker: FakeWorker) -> None:
    """Comes up, runs, and stops when it is told to."""
    while worker.come_up().kind is not Kind.STOP:
        return


def pausable(worker: FakeWorker) -> None:
    """Pauses at the first kick and goes on until it is stopped."""
    worker.come_up()
    worker.kicks.get()
    worker.send(Kind.PAUSED)
    worker.receive()


def test_all_come_up_and_are_observed(bench: Bench) -> None:
    vcpus = bench.make(idle, idle, idle)
    vcpus.wait_for(VcpuState.READY)
    assert {state for _, state in bench.observed} == {VcpuState.CREATED, VcpuState.READY}
    assert sorted(bench.observed) == sorted(
        (index, state) for index in range(3) for state in (VcpuState.CREATED, VcpuState.READY)
    )
    assert [(vcpu.engine, vcpu.created_ns, vcpu.ready_ns) for vcpu in vcpus.vcpus] == [("fake 1.0", 5, 7)] * 3


def test_resume_hands_on_its_flags(bench: Bench) -> None:
    vcpus = bench.make(idle, idle)
    vcpus.wait_for(VcpuState.READY)
    vcpus.resume(ResumeFlag.RESET | ResumeFlag.LOAD_STATE)
    for worker in bench.workers:
        worker.join()
        assert worker.received == [Message(Kind.RESUME, (3,))]


def test_an_exit_is_answered_to_its_vcpu_alone(bench: Bench) -> None:
    answers: dict[int, Message] = {}

    def exits(worker: FakeWorker) -> None:
        worker.come_up()
        answers[worker.index] = worker.exit(ExitReason.IO, 0, 0x60, 1, 10 * worker.index)
        worker.receive()

    vcpus = bench.make(exits, exits)
    vcpus.wait_for(VcpuState.READY)
    vcpus.resume()
    assert bench.loop.run(lambda: len(bench.exits) == 2, bench.loop.clock.now() + 10**10)
    vcpus.stop()
    assert sorted(bench.exits) == [
        Exit(0, ExitReason.IO, 0, 0x60, 1, 0),
        Exit(1, ExitReason.IO, 0, 0x60, 1, 10),
    ]
    assert answers == {0: Message(Kind.REPLY, (1,)), 1: Message(Kind.REPLY, (11,))}


def test_pause_asks_kicks_and_waits_for_all(bench: Bench) -> None:
    vcpus = bench.make(pausable, pausable)
    vcpus.wait_for(VcpuState.READY)
    vcpus.resume()
    vcpus.pause()
    assert [vcpu.state for vcpu in vcpus.vcpus] == [VcpuState.PAUSED] * 2
    assert all(vcpu.area.request & Request.PAUSE for vcpu in vcpus.vcpus)


def test_resuming_takes_the_request_back_first(bench: Bench) -> None:
    vcpus = bench.make(pausable)
    vcpus.wait_for(VcpuState.READY)
    vcpus.resume()
    vcpus.pause()
    vcpus.resume()
    assert vcpus.vcpus[0].area.request == 0
    assert vcpus.vcpus[0].state is VcpuState.RUNNING


def test_an_exit_under_way_is_served_before_the_pause(bench: Bench) -> None:
    def exits_then_pauses(worker: FakeWorker) -> None:
        worker.come_up()
        worker.kicks.get()
        worker.exit(ExitReason.IO, 1, 0x80, 1, 0)
        worker.send(Kind.PAUSED)
        worker.receive()

    vcpus = bench.make(exits_then_pauses)
    vcpus.wait_for(VcpuState.READY)
    vcpus.resume()
    vcpus.pause()
    assert len(bench.exits) == 1


def test_no_kick_reaches_a_worker_that_is_not_ready(bench: Bench) -> None:
    vcpus = bench.make(idle)
    vcpus.kick(0)
    assert bench.workers[0].kicks.empty()
    vcpus.wait_for(VcpuState.READY)
    vcpus.kick(0)
    assert bench.workers[0].kicks.get() == signal.SIGUSR1


def test_a_silent_worker_is_named_with_what_it_has_not_become(bench: Bench) -> None:
    def stuck(worker: FakeWorker) -> None:
        worker.send(Kind.CREATED, 1, "fake", 0)
        worker.kicks.get()

    vcpus = bench.make(idle, stuck, limit=0.05)
    assert bench.loop.run(lambda: vcpus.vcpus[0].state is VcpuState.READY, bench.loop.clock.now() + 10**10)
    with pytest.raises(WorkerError, match=r"vCPU 1: its worker \(process 1001\) did not become ready within"):
        vcpus.wait_for(VcpuState.READY)


def test_a_worker_that_dies_is_named(bench: Bench) -> None:
    def dies(worker: FakeWorker) -> None:
        worker.send(Kind.CREATED, 1, "fake", 0)

    vcpus = bench.make(idle, dies)
    with pytest.raises(WorkerError, match=r"vCPU 1: its worker ended \(process 1001\)"):
        vcpus.wait_for(VcpuState.READY)
    assert not vcpus.all_alive()


def test_a_dead_workers_last_words_are_its_stderr(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "vcpu0.stderr").write_text("Traceback\nOSError: no more\n")
    vcpus = bench.make(lambda worker: None)
    vcpus.vcpus[0]._stderr = tmp_path / "vcpu0.stderr"
    with pytest.raises(WorkerError, match="it said last: OSError: no more"):
        vcpus.wait_for(VcpuState.CREATED)


def fails(name: str) -> Callable[[FakeWorker], None]:
    return lambda worker: worker.send(Kind.FAILED, "unicorn 9.9 is unknown", name)


def test_a_failure_of_a_known_class_keeps_its_class(bench: Bench) -> None:
    vcpus = bench.make(fails("EngineVersionError"))
    with pytest.raises(EngineVersionError, match=r"^vCPU 0: unicorn 9.9 is unknown$"):
        vcpus.wait_for(VcpuState.READY)


@pytest.mark.parametrize("name", ["ZeroDivisionError", "ExitStatus", "annotations"])
def test_a_failure_of_another_class_is_the_workers(bench: Bench, name: str) -> None:
    vcpus = bench.make(fails(name))
    with pytest.raises(WorkerError, match=f"vCPU 0: {name}: unicorn"):
        vcpus.wait_for(VcpuState.READY)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xc1", "message is not msgpack"),
        (encode(Kind.RESUME, 0), "is the coordinator's to send"),
        (encode(Kind.READY, 0), "READY while it is starting"),
        (encode(Kind.EXIT, 2, 0, 0x60, 1, 0), "EXIT while it is starting"),
        (encode(Kind.PAUSED), "PAUSED while it is starting"),
    ],
    ids=["garbage", "not a worker's", "ready before created", "exit before ready", "paused before running"],
)
def test_a_message_out_of_place_is_a_protocol_error_of_that_vcpu(
    bench: Bench, data: bytes, said: str
) -> None:
    def speaks(worker: FakeWorker) -> None:
        worker.send_raw(data)
        worker.kicks.get()

    vcpus = bench.make(speaks)
    with pytest.raises(ProtocolError, match=rf"vCPU 0: .*{said}"):
        vcpus.wait_for(VcpuState.READY)


def test_a_stranger_on_the_socket_is_a_protocol_error(bench: Bench) -> None:
    vcpus = bench.make(idle)
    stranger = FakeWorker(bench.endpoint, 7, lambda worker: worker.send(Kind.PAUSED))
    with pytest.raises(ProtocolError, match="no vCPU of this VM"):
        vcpus.wait_for(VcpuState.STOPPED)
    stranger.join()


def test_stopping_reaches_a_vcpu_that_waits_in_an_exit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(worker: FakeWorker) -> None:
        worker.come_up()
        assert worker.exit(ExitReason.IO, 0, 0x60, 1, 0).kind is Kind.STOP

    monkeypatch.setattr(bench, "on_exit", bench.exits.append)
    vcpus = bench.make(waits)
    vcpus.wait_for(VcpuState.READY)
    vcpus.resume()
    assert bench.loop.run(lambda: bool(bench.exits), bench.loop.clock.now() + 10**10)
    vcpus.stop()
    assert vcpus.vcpus[0].gone
    assert vcpus.vcpus[0].area.request & Request.STOP


def test_a_worker_that_does_not_stop_is_killed(bench: Bench) -> None:
    def stubborn(worker: FakeWorker) -> None:
        worker.come_up()
        while worker.kicks.get() != signal.SIGKILL:
            pass

    vcpus = bench.make(stubborn)
    vcpus.wait_for(VcpuState.READY)
    vcpus.resume()
    vcpus.stop(grace_seconds=0.01)
    assert vcpus.vcpus[0].gone


def test_stopping_twice_is_harmless(bench: Bench) -> None:
    vcpus = bench.make(idle)
    vcpus.wait_for(VcpuState.READY)
    vcpus.stop()
    vcpus.stop()
    assert not vcpus.all_alive()


def test_a_socket_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    loop = EventLoop(MonotonicClock())
    endpoint: Any = f"ipc://{tmp_path}/absent/vcpu.sock"
    with pytest.raises(StartError, match="can't make the socket"):
        VcpuSet(loop, [], endpoint, lambda exit_: None)
    loop.close()


def test_a_death_is_seen_in_a_wait_that_does_not_run_the_loop(bench: Bench) -> None:
    vcpus = bench.make(lambda worker: None)
    bench.workers[0].join()
    assert not vcpus.all_alive()
