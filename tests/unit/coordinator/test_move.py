"""Moving a vCPU over a real socket, with threads in the place of workers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpvm.abi.errors import CommandError, StartError
from mpvm.abi.layout import Request, ResumeFlag, VcpuArea
from mpvm.abi.messages import Kind, Message
from mpvm.accel import Accelerator, accelerator
from mpvm.coordinator import move
from mpvm.coordinator.move import VcpuMover
from mpvm.coordinator.vcpu import Vcpu, VcpuState
from mpvm.coordinator.vcpus import VcpuSet
from mpvm.cpu.features import FEATURES
from tests.unit.coordinator.fake_worker import FakeLauncher, FakeWorker

GO_ON = Message(Kind.RESUME, (ResumeFlag.LOAD_STATE | ResumeFlag.CONTROLS,))
STOP = Message(Kind.STOP, ())
Script = Callable[[FakeWorker], None]


def movable(worker: FakeWorker) -> None:
    """Pauses when it is kicked, and ends when it is told to."""
    if worker.come_up().kind is Kind.STOP:
        worker.send(Kind.STOPPED)
        return
    worker.kicks.get()
    worker.send(Kind.PAUSED)
    worker.receive()
    worker.send(Kind.STOPPED)


def stays(worker: FakeWorker) -> None:
    """Runs until it is stopped."""
    worker.come_up()
    worker.receive()


def comes_up(worker: FakeWorker) -> None:
    """And is gone: what it is told, it does not hear."""
    worker.send(Kind.CREATED, 1, "fake 1.0", 5)
    worker.send(Kind.READY, 7)


def can_not_start(worker: FakeWorker) -> None:
    worker.send(Kind.FAILED, "no engine", "StartError")


class Bench(FakeLauncher):
    """Vcpus that a `VcpuMover` moves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        monkeypatch.setattr(move, "wait_for_process", lambda vcpu: None)
        self.asked: list[tuple[int, int, str]] = []
        self.asked_for: list[Vcpu] = []
        self.accelerator = accelerator("unicorn")
        self.ended = False

    def ask(self, vcpu: Vcpu, target: Accelerator | None = None) -> None:
        self.asked_for.append(vcpu)
        super().ask(vcpu)
        self.asked.append((vcpu.index, vcpu.generation, (target or self.accelerator).name))

    def start(self, *scripts: Script) -> VcpuMover:
        areas = [VcpuArea(index=index) for index in range(len(scripts))]
        self.vcpus = VcpuSet(self.loop, areas, self.endpoint, lambda exit_: None, limit_seconds=10)
        self.vcpus.serve()
        self.scripts = list(scripts)
        for vcpu in self.vcpus.vcpus:
            self.ask(vcpu)
            self.vcpus.watch(vcpu)
        self.vcpus.wait_for(VcpuState.READY)
        self.vcpus.resume()
        self.asked.clear()
        return VcpuMover(self.vcpus, self, lambda: self.ended)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


def test_a_new_worker_loads_what_the_old_one_has_saved_and_stopped_with(bench: Bench) -> None:
    mover = bench.start(stays, movable)
    bench.scripts = [stays]
    moved = mover.move(1)
    bench.workers[1].join()
    assert bench.workers[1].received[-1] == STOP
    assert bench.asked == [(1, 1, "unicorn")]
    assert [vcpu.generation for vcpu in bench.vcpus.vcpus] == [0, 1]
    assert bench.vcpus.vcpus[1].state is VcpuState.RUNNING
    assert not bench.vcpus.vcpus[1].area.request & Request.PAUSE
    bench.vcpus.stop()
    bench.workers[2].join()
    assert bench.workers[2].received == [GO_ON, STOP]
    assert 0 < moved.gap_ns <= moved.total_ns


def test_the_other_vcpus_are_left_alone(bench: Bench) -> None:
    mover = bench.start(stays, movable)
    bench.scripts = [stays]
    mover.move(1)
    assert bench.kicks.workers[bench.vcpus.vcpus[0].pidfd].kicks.empty()
    assert bench.vcpus.vcpus[0].state is VcpuState.RUNNING


def test_a_vcpu_of_a_stopped_vm_goes_on_elsewhere_when_the_vm_does(bench: Bench) -> None:
    mover = bench.start(movable)
    bench.vcpus.pause()
    bench.scripts = [stays]
    mover.move(0)
    assert bench.vcpus.vcpus[0].state is VcpuState.PAUSED
    bench.vcpus.resume()
    bench.vcpus.stop()
    bench.workers[1].join()
    assert bench.workers[1].received == [GO_ON, STOP]


def test_controls_that_change_meanwhile_do_not_keep_it_from_loading_its_state(bench: Bench) -> None:
    mover = bench.start(movable)
    bench.vcpus.pause()
    bench.scripts = [stays]
    mover.move(0)
    bench.vcpus.resume(ResumeFlag.CONTROLS)
    bench.vcpus.stop()
    bench.workers[1].join()
    assert bench.workers[1].received == [GO_ON, STOP]


def test_a_worker_that_can_not_start_leaves_the_vcpu_where_it_is(bench: Bench) -> None:
    mover = bench.start(stays)
    bench.scripts = [can_not_start]
    with pytest.raises(StartError, match="vCPU 0: no engine"):
        mover.move(0)
    assert bench.vcpus.vcpus[0].generation == 0
    assert bench.vcpus.vcpus[0].state is VcpuState.RUNNING
    assert bench.workers[0].kicks.empty()


def test_the_last_words_of_a_new_worker_count_although_its_death_is_known_first(bench: Bench) -> None:
    mover = bench.start(stays)

    def dies_first(worker: FakeWorker) -> None:
        worker.die()
        while not any(vcpu.gone for vcpu in bench.asked_for):
            os.sched_yield()
        can_not_start(worker)

    bench.scripts = [dies_first]
    with pytest.raises(StartError, match="vCPU 0: no engine"):
        mover.move(0)


def test_a_move_is_given_up_when_the_run_ends_meanwhile(bench: Bench) -> None:
    """Its vCPU is in the exit that has ended the run, and never pauses."""
    mover = bench.start(stays)
    bench.scripts = [comes_up]
    bench.ended = True
    mover.move(0)
    assert bench.vcpus.vcpus[0].generation == 0


def test_one_vcpu_of_many_can_not_go_to_another_accelerator(bench: Bench) -> None:
    mover = bench.start(stays, stays)
    with pytest.raises(CommandError, match="vCPU 1 can't run under kvm beside vCPUs under unicorn"):
        mover.move(1, "kvm")


def test_a_vcpu_that_is_not_there_can_not_be_moved(bench: Bench) -> None:
    mover = bench.start(stays)
    with pytest.raises(CommandError, match="there is no vCPU 1, one of 0 is right"):
        mover.move(1)


def test_a_guest_whose_cpu_the_accelerator_can_not_be_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = accelerator("unicorn")
    monkeypatch.setattr(type(poor), "check", lambda self: None)
    monkeypatch.setattr(type(poor), "supported_features", lambda self: frozenset({"sse"}))
    monkeypatch.setattr(move, "accelerator", lambda name: poor)
    mover = bench.start(stays)
    place = FEATURES["sse2"]
    bench.vcpus.vcpus[0].area.features[place.word] = 1 << place.bit
    with pytest.raises(CommandError, match="kvm has no sse2 of the guest's CPU"):
        mover.move(0, "kvm")
