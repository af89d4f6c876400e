"""Adding and removing vCPUs over a real socket, with threads in the place of workers."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mpvm.abi.control_block import ControlBlock
from mpvm.abi.errors import CommandError, DeviceNotFoundError, StartError, WorkerError
from mpvm.abi.layout import ResumeFlag, VcpuArea
from mpvm.abi.messages import Kind, Message
from mpvm.coordinator import hotplug
from mpvm.coordinator.hotplug import VcpuHotplug
from mpvm.coordinator.vcpu import VcpuState
from mpvm.coordinator.vcpus import VcpuSet
from mpvm.hw.acpi.cpu_hotplug import Ost
from tests.unit.coordinator.fake_worker import FakeLauncher, FakeWorker

RESET = Message(Kind.RESUME, (ResumeFlag.RESET | ResumeFlag.CONTROLS,))
STOP = Message(Kind.STOP, ())
Script = Callable[[FakeWorker], None]


def stays(worker: FakeWorker) -> None:
    """Runs; pauses when it is kicked; ends when it is told to."""
    if worker.come_up() == STOP:
        return
    worker.kicks.get()
    worker.send(Kind.PAUSED)
    if worker.receive() == STOP:
        worker.send(Kind.STOPPED)
        return
    worker.receive()


def can_not_start(worker: FakeWorker) -> None:
    worker.send(Kind.FAILED, "no engine", "StartError")


def dies(worker: FakeWorker) -> None:
    """At once, and without a word."""


class Bench(FakeLauncher):
    """A VM of up to three vCPUs of which one runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        for name in ("cpu_reset", "cpu_plug", "cpu_unplug", "cpu_unplug_request"):
            monkeypatch.setattr(hotplug, name, self._note(name))
        monkeypatch.setattr(hotplug, "wait_for_process", lambda vcpu: None)
        monkeypatch.setattr(VcpuHotplug, "_machine", lambda _self: self.machine)
        self.machine: Any = SimpleNamespace(
            cpus={
                index: SimpleNamespace(canonical_path=lambda: "/machine/peripheral/x") for index in range(3)
            }
        )
        self.done: list[Any] = []
        self.actions: list[Callable[[], None]] = []
        self.events: list[tuple[str, Mapping[str, object] | None]] = []
        self.present = {0}
        self.run_state = SimpleNamespace(running=True)
        areas = [VcpuArea(index=index) for index in range(3)]
        self.vcpus = VcpuSet(self.loop, areas, self.endpoint, lambda exit_: None, limit_seconds=10, smp=1)
        self.vcpus.serve()
        self.scripts = [stays]
        self.ask(self.vcpus.vcpus[0])
        self.vcpus.watch(self.vcpus.vcpus[0])
        self.vcpus.wait_for(VcpuState.READY)
        self.vcpus.resume()
        self.run_control = self.exits = self
        self.hotplug = VcpuHotplug(self, self.vcpus, self, self)  # type: ignore[arg-type]

    def _note(self, name: str) -> Callable[..., None]:
        return lambda _machine, *arguments: self.done.append((name, *arguments))

    # The VM's memory.

    def renew_area(self, index: int) -> None:
        self.done.append(("renew_area", index))

    def set_present(self, index: int, present: bool) -> None:
        self.present ^= {index}
        assert (index in self.present) is present

    # The VM.

    def write_controls(self, control: ControlBlock) -> None:
        place = ctypes.addressof(control)
        mine = [v.index for v in self.vcpus.vcpus if ctypes.addressof(v.area.control) == place]
        self.done.append(("write_controls", *mine))

    def call(self, action: Callable[[], None]) -> None:
        self.actions.append(action)

    def pause(self) -> None:
        self.vcpus.pause()
        self.run_state.running = False

    def resume(self) -> None:
        self.run_state.running = True
        self.vcpus.resume()

    def emit(self, event: str, data: Mapping[str, object] | None = None) -> None:
        self.events.append((event, data))

    def states(self) -> list[VcpuState]:
        return [vcpu.state for vcpu in self.vcpus.vcpus]


RUNNING, READY, ABSENT = VcpuState.RUNNING, VcpuState.READY, VcpuState.ABSENT


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


def test_an_added_vcpu_starts_from_its_reset_before_the_guest_hears_of_it(bench: Bench) -> None:
    bench.scripts = [stays]
    bench.hotplug.add(2, "x")
    assert bench.states() == [RUNNING, ABSENT, RUNNING]
    assert bench.present == {0, 2}
    assert bench.done == [("renew_area", 2), ("cpu_reset", 2), ("write_controls", 2), ("cpu_plug", 2, "x")]
    bench.vcpus.stop()
    bench.workers[1].join()
    assert bench.workers[1].received[0] == RESET


def test_one_added_to_a_paused_vm_starts_when_the_vm_goes_on(bench: Bench) -> None:
    bench.pause()
    bench.scripts = [stays]
    bench.hotplug.add(1, "x")
    assert bench.states()[1] is READY
    bench.resume()
    assert bench.states()[1] is RUNNING
    bench.vcpus.stop()
    bench.workers[1].join()
    assert bench.workers[1].received[0] == RESET


def test_an_ejected_vcpu_ends_with_everybody_paused_and_its_place_is_free(bench: Bench) -> None:
    bench.scripts = [stays, stays]
    bench.hotplug.add(1, "x")
    bench.done.clear()
    bench.hotplug.ejected(1)
    assert bench.done == [], "the exit that ejects it is served first"
    bench.actions.pop()()
    assert bench.states() == [RUNNING, ABSENT, ABSENT]
    assert (bench.present, bench.done) == ({0}, [("cpu_unplug", 1)])
    assert bench.events == [("DEVICE_DELETED", {"path": "/machine/peripheral/x", "device": "x"})]
    assert bench.vcpus.all_alive()
    bench.hotplug.add(1, "x")
    assert bench.states() == [RUNNING, RUNNING, ABSENT]


def test_an_ejected_vcpu_of_a_paused_vm_leaves_the_vm_paused(bench: Bench) -> None:
    bench.scripts = [stays]
    bench.hotplug.add(1)
    bench.hotplug.ejected(1)
    bench.pause()
    bench.actions.pop()()
    assert bench.states() == [VcpuState.PAUSED, ABSENT, ABSENT]


@pytest.mark.parametrize(
    ("script", "said"), [(can_not_start, "vCPU 1: no engine"), (dies, r"vCPU 1: its worker ended \(process")]
)
def test_a_worker_that_does_not_come_up_is_one_error_and_the_vm_runs_on(
    bench: Bench, script: Script, said: str
) -> None:
    bench.scripts = [script, stays]
    with pytest.raises((StartError, WorkerError), match=said):
        bench.hotplug.add(1, "x")
    assert bench.states() == [RUNNING, ABSENT, ABSENT]
    assert (bench.present, bench.done) == ({0}, [("renew_area", 1), ("cpu_reset", 1), ("write_controls", 1)])
    bench.hotplug.add(2, "x")
    assert bench.states() == [RUNNING, ABSENT, RUNNING]


def test_what_can_not_be_added_or_removed_is_refused(bench: Bench) -> None:
    bench.scripts = [stays]
    bench.hotplug.add(1, "x")
    bench.done.clear()
    with pytest.raises(CommandError, match="vCPU 1 is there already, 2 is right"):
        bench.hotplug.add(1, "y")
    with pytest.raises(CommandError, match="Duplicate device ID 'x', one that no device has is right"):
        bench.hotplug.add(2, "x")
    with pytest.raises(CommandError, match="there is no vCPU 3, one from 0 to 2 is right"):
        bench.hotplug.add(3, "y")
    with pytest.raises(CommandError, match="vCPU 0 can't be removed, another than the boot processor"):
        bench.hotplug.request_remove(0)
    with pytest.raises(DeviceNotFoundError, match="vCPU 2 is not there, 1 is right"):
        bench.hotplug.request_remove(2)
    with pytest.raises(DeviceNotFoundError, match="Device 'y' not found"):
        bench.hotplug.index_of("y")
    assert bench.done == []


def test_a_request_to_remove_goes_to_the_guest(bench: Bench) -> None:
    bench.scripts = [stays]
    bench.hotplug.add(1, "x")
    bench.done.clear()
    bench.hotplug.request_remove(bench.hotplug.index_of("x"))
    assert bench.done == [("cpu_unplug_request", 1)]
    assert bench.states()[1] is RUNNING


def test_what_the_guest_says_of_an_event_names_the_cpu_while_it_has_a_name(bench: Bench) -> None:
    bench.scripts = [stays]
    bench.hotplug.add(1, "x")
    bench.hotplug.report_ost(Ost(1, 3, 0x84))
    bench.hotplug.report_ost(Ost(2, 1, 0))
    assert bench.events == [
        (
            "ACPI_DEVICE_OST",
            {"info": {"slot-type": "CPU", "slot": "1", "source": 3, "status": 0x84, "device": "x"}},
        ),
        ("ACPI_DEVICE_OST", {"info": {"slot-type": "CPU", "slot": "2", "source": 1, "status": 0}}),
    ]
