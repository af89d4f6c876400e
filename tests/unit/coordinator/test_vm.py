"""A whole run with real shared memory, sockets, devices and loop; the workers are threads without a guest."""

import fcntl
import gc
import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpvm.abi.errors import (
    BootImageError,
    CommandError,
    ConfigError,
    EngineVersionError,
    ExitStatus,
    ProtocolError,
    StartError,
    WorkerError,
)
from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.abi.layout import ResumeFlag, RunState
from mpvm.abi.messages import Kind, Message
from mpvm.accel.kvm import KvmAccelerator
from mpvm.config import Action, Boot, ChardevSpec, Config, Machine
from mpvm.coordinator import forkserver, vm
from mpvm.coordinator import main as vl
from mpvm.coordinator.chardev.output import BufferedOutput
from mpvm.coordinator.launch import endpoint
from mpvm.coordinator.observer import Observer
from mpvm.coordinator.outcome import Outcome
from mpvm.coordinator.runtime_dir import RuntimeDir
from mpvm.coordinator.shm import VmMemory
from mpvm.coordinator.vcpu import VcpuState
from mpvm.coordinator.vcpus import VcpuSet
from mpvm.coordinator.vm import VirtualMachine
from mpvm.cpu.topology import single_socket
from tests.unit.coordinator.fake_worker import FakeWorker, Kicks

Script = Callable[[FakeWorker], None]
START = int(ResumeFlag.RESET | ResumeFlag.LOAD_STATE | ResumeFlag.FIRMWARE)
FDS = Path("/proc/self/fd")
OUT, IN = int(IoDirection.OUT), int(IoDirection.IN)


def out(port: int, value: int, size: int = 1) -> tuple[int, ...]:
    return ExitReason.IO, OUT, port, size, value


POWER_OFF = out(0x604, 0x2000, 2)
RESET = out(0xCF9, 0x06)
DEBUG_EXIT = out(0xF4, 0x10, 4)


class Recorder(Observer):
    def __init__(self) -> None:
        self.events: list[str] = []

    def vcpu_created(self, index: int, pid: int, ns: int) -> None:
        self.events.append(f"created {index}")

    def vcpu_ready(self, index: int, ns: int) -> None:
        self.events.append(f"ready {index}")

    def machine_started(self, ns: int) -> None:
        self.events.append("started")

    def vcpu_failed(self, index: int, text: str) -> None:
        self.events.append(f"failed {index}")

    def signalled(self, number: int, pid: int) -> None:
        self.events.append(f"signal {number} from {pid}")

    def machine_stopped(self) -> None:
        self.events.append("stopped")


class Bench:
    """Runs a VM whose workers run `scripts`, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kernel: Path, console: Path) -> None:
        self.kernel, self.console = kernel, console
        self.observer = Recorder()
        self.workers: list[FakeWorker] = []
        self.scripts: tuple[Script, ...] = ()
        self.vm: VirtualMachine
        self.kicks = Kicks()
        directory = RuntimeDir()
        monkeypatch.setattr(forkserver, "take_runtime_dir", lambda: directory)
        monkeypatch.setattr(forkserver, "stop", directory.remove)
        monkeypatch.setattr(signal, "pidfd_send_signal", self.kicks)
        monkeypatch.setattr(vm, "launch", self.launch)
        self.endpoint = endpoint(directory)
        monkeypatch.setattr(vm, "wait_until_ready", lambda vcpus: vcpus.wait_for(VcpuState.READY))

    def launch(self, vcpus: VcpuSet, _launcher: Any) -> None:
        for each, script in zip(vcpus.vcpus, self.scripts, strict=True):
            worker = FakeWorker(self.endpoint, each.index, script)
            self.workers.append(worker)
            self.kicks.workers[worker.pidfd] = worker
            each.pid, each.pidfd = 1000 + each.index, worker.pidfd
            vcpus.watch(each)

    @property
    def memory(self) -> VmMemory:
        return self.vm._memory

    def run(self, *scripts: Script, **config: Any) -> Outcome:
        self.scripts = scripts
        machine = Machine(smp=single_socket(len(scripts)), memory=16 << 20)
        boot = Boot(kernel=self.kernel, protocol="flat")
        chardev = config.pop("console", ChardevSpec("file", self.console))
        config.setdefault("isa_debug_exit", True)
        self.vm = VirtualMachine(
            Config(machine=machine, boot=boot, serial=(chardev,), **config), self.observer
        )
        try:
            return vl.run(self.vm)
        finally:
            for worker in self.workers:
                worker.join()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    kernel = tmp_path / "boot.img"
    kernel.write_bytes(b"\xf4".ljust(510, b"\0") + b"\x55\xaa")
    return Bench(monkeypatch, kernel, tmp_path / "console")


def does(*exits: tuple[int, ...]) -> Script:
    """A guest that makes `exits` one after the other; the last is not answered but by STOP."""

    def script(worker: FakeWorker) -> None:
        worker.come_up()
        for fields in exits[:-1]:
            assert worker.exit(*fields).kind is Kind.REPLY
        assert worker.exit(*exits[-1]).kind is Kind.STOP

    return script


def halts(worker: FakeWorker) -> None:
    """An AP that waits for its SIPI until it is stopped."""
    worker.come_up()
    assert worker.receive().kind is Kind.STOP


def ends_at_once(worker: FakeWorker) -> None:
    """What a worker does that is stopped before it is ready."""


def pauses(worker: FakeWorker) -> None:
    """A guest that runs on and on; it pauses when it is kicked."""
    message = worker.come_up()
    while message.kind is not Kind.STOP:
        worker.kicks.get()
        worker.send(Kind.PAUSED)
        message = worker.receive()


def test_a_guest_that_powers_off_ends_the_run_with_status_0(bench: Bench) -> None:
    outcome = bench.run(does(POWER_OFF), halts)
    assert (outcome.status, outcome.cause) == (0, "powered off by the guest")
    assert [summary.pid for summary in outcome.summary] == [1000, 1001]


def test_every_worker_starts_from_the_reset_state(bench: Bench) -> None:
    bench.run(does(POWER_OFF), halts, halts)
    for worker in bench.workers:
        assert worker.received[0] == Message(Kind.RESUME, (START,))


def test_the_observer_hears_of_everything_in_order(bench: Bench) -> None:
    bench.run(does(POWER_OFF), halts)
    events = bench.observer.events
    assert sorted(events[:4]) == ["created 0", "created 1", "ready 0", "ready 1"]
    assert events[4:] == ["started", "stopped"]


def test_a_guests_own_status_is_handed_on(bench: Bench) -> None:
    outcome = bench.run(does(DEBUG_EXIT))
    assert (outcome.status, outcome.cause) == (0x21, "ended by the guest with status 33")


def test_a_status_is_cut_to_what_a_process_can_hand_on(bench: Bench) -> None:
    assert bench.run(does(out(0xF4, 0x12345680, 4))).status == 1


def test_the_console_has_all_that_was_written(bench: Bench) -> None:
    bench.run(does(*(out(0x3F8, byte) for byte in b"hello\n"), POWER_OFF))
    assert bench.console.read_bytes() == b"hello\n"


@pytest.mark.parametrize("signalled", [False, True])
def test_a_reader_may_take_its_time_for_a_guests_last_words_until_a_signal_comes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signalled: bool
) -> None:
    patience = 0.01
    monkeypatch.setitem(BufferedOutput.__init__.__kwdefaults__ or {}, "patience", patience)
    for name in ("line.in", "line.out"):
        os.mkfifo(tmp_path / name)
    fifo = os.open(tmp_path / "line.out", os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(fifo, fcntl.F_SETPIPE_SZ, 4096)
    words, got = os.urandom(20_000), bytearray()

    def reads(worker: FakeWorker) -> None:
        worker.come_up()
        bench.vm.run_control.call(lambda: bench.vm.chardevs.backends[0].write(words))
        # Actions run between two events of the loop: after this exit at the latest.
        worker.exit(*out(0x80, 0))
        worker.exit(*POWER_OFF)
        if signalled:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            return
        time.sleep(10 * patience)
        while len(got) < len(words):
            select.select([fifo], [], [])
            got.extend(os.read(fifo, 1 << 16))

    outcome = bench.run(reads, console=ChardevSpec("pipe", tmp_path / "line"))
    assert outcome.status == 0
    assert got == (b"" if signalled else words)
    os.close(fifo)


def test_posted_writes_come_before_the_exit_that_follows_them(bench: Bench) -> None:
    def posts_then_exits(worker: FakeWorker) -> None:
        worker.come_up()
        page = bench.memory.page
        for byte in b"posted":
            ticket = page.posted_tail
            page.posted_tail = ticket + 1
            entry = page.posted[ticket % len(page.posted)]
            entry.address, entry.value, entry.size = 0x3F8, byte, 1
            entry.seq = ticket + 1
        worker.exit(*out(0x3F8, ord("!")))
        worker.exit(*POWER_OFF)

    bench.run(posts_then_exits)
    assert bench.console.read_bytes() == b"posted!"


def test_a_reset_pauses_all_and_starts_all_from_the_reset_state(bench: Bench) -> None:
    entries: list[tuple[int, int, bytes]] = []

    def resets(worker: FakeWorker) -> None:
        worker.come_up()
        guest = bench.memory.areas[0].control.guest
        guest.rip = 0x1234
        bench.memory.ram[0x7C00] = 0x90
        assert worker.exit(*RESET).kind is Kind.REPLY
        worker.send(Kind.PAUSED)
        worker.receive()
        entries.append((guest.rip, bench.memory.page.run_state, bytes(bench.memory.ram[0x7C00:0x7C01])))
        worker.exit(*POWER_OFF)

    outcome = bench.run(resets, pauses)
    assert outcome.status == 0
    assert entries == [(0x7C00, RunState.RUNNING, b"\xf4")]
    assert bench.workers[1].received[:2] == [Message(Kind.RESUME, (START,))] * 2


def test_a_vcpu_is_asked_to_pause_before_its_reset_is_answered(bench: Bench) -> None:
    requests: list[int] = []

    def resets(worker: FakeWorker) -> None:
        worker.come_up()
        worker.exit(*RESET)
        requests.append(bench.memory.areas[0].request)
        worker.send(Kind.PAUSED)
        worker.receive()
        worker.exit(*POWER_OFF)

    bench.run(resets)
    assert requests == [1]


def test_a_reset_ends_the_run_where_there_is_to_be_no_reboot(bench: Bench) -> None:
    outcome = bench.run(does(RESET), no_reboot=True)
    assert (outcome.status, outcome.cause) == (0, "reset by the guest, and no_reboot is set")


def test_a_triple_fault_is_reported_with_what_led_to_it(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = bench.run(
        halts, does(out(0x3F8, ord("X")), (ExitReason.IO, IN, 0x3FD, 1, 0), (ExitReason.SHUTDOWN, 0, 0, 0, 0))
    )
    assert (outcome.status, outcome.cause) == (ExitStatus.GUEST_CRASH, "guest crash: vCPU 1: triple fault")
    said = capfd.readouterr().err
    assert "vCPU 1 (process 1001)" in said
    assert "vCPU 0" not in said
    assert "CR0 60000010" in said
    assert "KVM_EXIT_IO out 0x3f8 size 1 data 0x58\n    KVM_EXIT_IO in 0x3fd size 1\n" in said
    assert "end of the console:\n  X\n" in said
    assert "again with: mpvm" in said


TRIPLE_FAULT = (int(ExitReason.SHUTDOWN), 0, 0, 0, 0)


def resets_once(reset: tuple[int, ...]) -> Script:
    """A guest that asks for a reset, and powers off after it."""

    def script(worker: FakeWorker) -> None:
        worker.come_up()
        assert worker.exit(*reset).kind is Kind.REPLY
        worker.send(Kind.PAUSED)
        assert worker.receive() == Message(Kind.RESUME, (START,))
        worker.exit(*POWER_OFF)

    return script


@pytest.mark.parametrize("action", [Action(triple_fault="reset"), Action(panic="none")])
def test_a_triple_fault_is_a_reset_where_that_is_wanted(
    bench: Bench, capfd: pytest.CaptureFixture[str], action: Action
) -> None:
    outcome = bench.run(resets_once(TRIPLE_FAULT), action=action)
    assert (outcome.status, outcome.reason) == (0, "guest-shutdown")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("reset", [RESET, TRIPLE_FAULT])
@pytest.mark.parametrize(
    "config",
    [
        {"no_reboot": True, "action": Action(triple_fault="reset")},
        {"action": Action(reboot="shutdown", triple_fault="reset")},
    ],
)
def test_no_reset_whatever_its_cause_happens_where_the_run_ends_with_it(
    bench: Bench, reset: tuple[int, ...], config: dict[str, Any]
) -> None:
    outcome = bench.run(does(reset), **config)
    assert (outcome.status, outcome.reason) == (0, "guest-reset")


def test_a_machine_that_is_to_pause_when_it_is_off_goes_on_only_from_a_reset(bench: Bench) -> None:
    seen: list[str] = []

    def looks() -> None:
        seen.append(bench.vm.run_state.status)
        with pytest.raises(CommandError, match="Resetting the Virtual Machine is required"):
            bench.vm.run_control.cont()
        bench.vm.run_control.system_reset()
        seen.append(bench.vm.run_state.status)
        bench.vm.run_control.actions = bench.vm.run_control.actions._replace(shutdown="poweroff")
        bench.vm.run_control.cont()
        seen.append(bench.vm.run_state.status)

    def script(worker: FakeWorker) -> None:
        worker.come_up()
        assert worker.exit(*POWER_OFF).kind is Kind.REPLY
        bench.vm.run_control.call(looks)
        worker.send(Kind.PAUSED)
        assert worker.receive() == Message(Kind.RESUME, (START,))
        worker.exit(*POWER_OFF)

    outcome = bench.run(script, action=Action(shutdown="pause"))
    assert outcome.status == 0
    assert seen == ["shutdown", "prelaunch", "running"]


def test_a_guest_that_panics_waits_for_the_monitor_where_that_is_wanted(bench: Bench) -> None:
    seen: list[str] = []

    def looks() -> None:
        seen.append(bench.vm.run_state.status)
        bench.vm.system_quit()

    def script(worker: FakeWorker) -> None:
        worker.come_up()
        worker.exit(*TRIPLE_FAULT)
        bench.vm.run_control.call(looks)
        worker.send(Kind.PAUSED)
        assert worker.receive().kind is Kind.STOP

    outcome = bench.run(script, action=Action(panic="pause"))
    assert (outcome.status, outcome.reason, seen) == (0, "host-qmp-quit", ["guest-panicked"])


@pytest.mark.parametrize(("panic", "status"), [("shutdown", 0), ("exit-failure", 1)])
def test_a_panics_status_is_qemus_in_its_form(bench: Bench, panic: str, status: int) -> None:
    outcome = bench.run(does(TRIPLE_FAULT), action=Action(panic=panic))
    assert (outcome.status, outcome.reason) == (ExitStatus.GUEST_CRASH, "guest-panic")
    assert outcome.qemu_status(panic) == status


def test_a_machine_that_starts_paused_runs_when_it_is_let_go(bench: Bench) -> None:
    seen: list[str] = []

    def lets_go() -> None:
        seen.append(bench.vm.run_state.status)
        bench.vm.run_control.stop()
        bench.vm.run_control.system_reset()
        seen.append(bench.vm.run_state.status)
        bench.vm.run_control.cont()

    monkeypatch_started = bench.observer.machine_started

    def started(ns: int) -> None:
        monkeypatch_started(ns)
        bench.vm.run_control.call(lets_go)

    bench.observer.machine_started = started  # type: ignore[method-assign]
    outcome = bench.run(does(POWER_OFF), paused=True)
    assert (outcome.status, seen) == (0, ["prelaunch", "prelaunch"])
    assert bench.workers[0].received[0] == Message(Kind.RESUME, (START,))


def test_the_report_shows_the_code_where_the_vcpu_is(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.run(does((ExitReason.SHUTDOWN, 0, 0, 0, 0)))
    assert "code at RIP: f4 00 00" in capfd.readouterr().err


def test_the_time_limit_pauses_reports_and_ends(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = bench.run(pauses, timeout=0.05)
    assert outcome.status == ExitStatus.TIME_LIMIT
    assert outcome.cause == "time limit: the guest still ran after 0.05 s"
    assert "vCPU 0 (process 1000)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_signal_ends_the_run_in_order(bench: Bench, number: signal.Signals, status: int) -> None:
    def is_interrupted(worker: FakeWorker) -> None:
        worker.come_up()
        # To the main thread: a thread of the test's own framework knows no senders.
        signal.pthread_kill(threading.main_thread().ident or 0, number)
        assert worker.receive().kind is Kind.STOP

    outcome = bench.run(is_interrupted)
    assert (outcome.status, outcome.cause) == (status, f"ended by {number.name}")
    assert outcome.qemu_status() == 0
    assert f"signal {number} from {os.getpid()}" in bench.observer.events


def test_a_signal_during_the_bring_up_ends_it(bench: Bench) -> None:
    def is_interrupted(worker: FakeWorker) -> None:
        worker.send(Kind.CREATED, 1, "fake", 0)
        os.kill(os.getpid(), signal.SIGTERM)
        worker.kicks.get()

    assert bench.run(is_interrupted).status == 143
    assert "started" not in bench.observer.events


def test_a_worker_that_dies_fails_the_run_and_the_others_stop(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    def dies(worker: FakeWorker) -> None:
        worker.come_up()

    with pytest.raises(WorkerError, match="vCPU 1: its worker ended"):
        bench.run(halts, dies)
    assert bench.observer.events[-2:] == ["failed 1", "stopped"]
    assert "vCPU 1 (process 1001)" in capfd.readouterr().err


def test_a_worker_that_fails_to_start_fails_the_start_with_its_own_words(bench: Bench) -> None:
    with pytest.raises(EngineVersionError, match=r"vCPU 0: unicorn 9\.9") as caught:
        bench.run(lambda worker: worker.send(Kind.FAILED, "unicorn 9.9", "EngineVersionError"))
    assert caught.value.exit_status == ExitStatus.START_FAILURE
    assert bench.observer.events == ["failed 0", "stopped"]


def test_an_impossible_access_fails_the_run(bench: Bench) -> None:
    with pytest.raises(ProtocolError, match="vCPU 0: KVM_EXIT_IO in 0x60 size 3"):
        bench.run(does((ExitReason.IO, IN, 0x60, 3, 0)))


def test_an_image_that_does_not_fit_ends_a_run_whose_workers_come_up(bench: Bench) -> None:
    bench.kernel.write_bytes(bytes(17 << 20))
    with pytest.raises(BootImageError):
        bench.run(ends_at_once)
    assert len(bench.workers) == 1
    assert bench.observer.events == ["stopped"]


def test_an_unknown_machine_or_model_is_the_configurations_fault(bench: Bench) -> None:
    bench.scripts = (ends_at_once,)
    config = Config(machine=Machine(type="pdp11", memory=16 << 20), boot=Boot(kernel=bench.kernel))
    with pytest.raises(ConfigError, match="machine type 'pdp11' is unknown, microvm or none or pc or"):
        vl.main(config)


def test_an_accelerator_that_is_not_there_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_accelerator: KvmAccelerator) -> None:
        raise StartError("kvm is not there")

    monkeypatch.setattr(KvmAccelerator, "check", refuse)
    config = Config(machine=Machine(accel="kvm", memory=16 << 20), boot=Boot(kernel=bench.kernel))
    with pytest.raises(StartError, match="kvm is not there"):
        vl.main(config)


def test_actions_from_the_loop_may_pause_and_resume(bench: Bench) -> None:
    states: list[RunState] = []
    went_on = threading.Event()

    def acts(worker: FakeWorker) -> None:
        worker.come_up()
        bench.vm.run_control.call(look)
        worker.exit(ExitReason.IO, IN, 0x3FD, 1, 0)
        worker.send(Kind.PAUSED)
        assert worker.receive() == Message(Kind.RESUME, (0,))
        went_on.set()
        worker.exit(*POWER_OFF)

    def look() -> None:
        bench.vm.run_control.pause()
        states.append(bench.vm.run_state.state)
        bench.vm.run_control.resume()
        states.append(bench.vm.run_state.state)

    bench.run(acts)
    assert states == [RunState.PAUSED, RunState.RUNNING]
    assert went_on.is_set()


def test_a_stopped_vm_that_is_reset_stays_stopped_until_it_goes_on(bench: Bench) -> None:
    states: list[str] = []

    def acts(worker: FakeWorker) -> None:
        worker.come_up()
        bench.vm.run_control.call(look)
        worker.send(Kind.PAUSED)
        assert worker.receive() == Message(Kind.RESUME, (START,))
        worker.exit(*POWER_OFF)

    def look() -> None:
        bench.vm.run_control.stop()
        bench.vm.run_control.stop()
        bench.vm.run_control.system_reset()
        states.append(bench.vm.run_state.status)
        bench.vm.run_control.cont()
        bench.vm.run_control.cont()
        states.append(bench.vm.run_state.status)

    bench.run(acts)
    assert states == ["prelaunch", "running"]


def test_a_query_of_the_monitor_pauses_no_vcpu(bench: Bench) -> None:
    requests: list[int] = []

    def acts(worker: FakeWorker) -> None:
        worker.come_up()
        bench.vm.run_control.call(lambda: requests.append(len(bench.vm.list_vcpus())))
        # Actions run between two events of the loop: after the first of these exits at the latest.
        worker.exit(*out(0x80, 0))
        worker.exit(*out(0x80, 0))
        requests.append(bench.memory.areas[0].request)
        worker.exit(*POWER_OFF)

    bench.run(acts)
    assert requests == [1, 0]


def test_a_reset_by_the_monitor_ends_the_run_where_there_is_to_be_no_reboot(bench: Bench) -> None:
    def acts(worker: FakeWorker) -> None:
        worker.come_up()
        bench.vm.run_control.call(bench.vm.run_control.system_reset)
        worker.exit(*out(0x80, 0))

    outcome = bench.run(acts, no_reboot=True)
    assert (outcome.status, outcome.cause) == (0, "reset by the monitor, and no_reboot is set")


def test_the_power_button_is_pressed_by_the_monitor(bench: Bench) -> None:
    status: list[int] = []

    def acts(worker: FakeWorker) -> None:
        worker.come_up()
        bench.vm.run_control.call(bench.vm.system_powerdown)
        worker.exit(*out(0x80, 0))
        status.append(worker.exit(ExitReason.IO, IN, 0x600, 2, 0).fields[0])
        worker.exit(*POWER_OFF)

    bench.run(acts)
    # PM1_STS: PWRBTN_STS (ACPI 6.5, table 4.13)
    assert status[0] & 1 << 8


def test_the_main_function_can_be_followed_step_by_step_and_vcpu_by_vcpu(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.run(does(POWER_OFF), halts, trace=("main_step", "vcpu_created", "vcpu_ready"))
    events = re.findall(r"^mpvm: trace: \d+\.\d{6} (.*)$", capfd.readouterr().err, re.MULTILINE)
    steps = [event.partition("=")[2] for event in events if event.startswith("main_step")]
    assert steps == [
        "process_log_options",
        "module_call_init(TRACE)",
        "module_call_init(BLOCK)",
        "module_call_init(OPTS)",
        "module_call_init(QOM)",
        "configure_accelerators",
        "create",
        "launch",
        "select_machine",
        "create_machine",
        "run_board_init",
        "reset_machine",
        "start",
        "main_loop",
        "outcome",
        "cleanup",
    ]
    # Each said so in its thread, before it ran: created 5 ns, ready 7 ns after its start.
    told = sorted(event for event in events if event.startswith("vcpu_"))
    assert told == [
        "vcpu_created vcpu=0 engine='fake 1.0' took_ns=5",
        "vcpu_created vcpu=1 engine='fake 1.0' took_ns=5",
        "vcpu_ready vcpu=0 took_ns=7",
        "vcpu_ready vcpu=1 took_ns=7",
    ]


def test_exit_notifiers_are_called_last_made_first(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.run(does(POWER_OFF), trace=("exit_notifier",))
    names = re.findall(r"exit_notifier name=(.*)$", capfd.readouterr().err, re.MULTILINE)
    assert names[0] == '"disconnecting the monitor\'s clients"'
    assert names[-2:] == ["'removing the shared memory'", "'stopping the fork server'"]
    assert names.index("'stopping the workers'") < names.index('"closing the vCPUs\' socket"')


def test_exits_are_traced_on_request(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.run(does(out(0x3F8, 0x58), POWER_OFF), trace=("exit",))
    lines = re.findall(r"vcpu_exit (.*)$", capfd.readouterr().err, re.MULTILINE)
    assert lines[0] == "vcpu=0 exit='KVM_EXIT_IO out 0x3f8 size 1 data 0x58'"
    assert len(lines) == 2


def test_nothing_of_the_vm_is_left(bench: Bench, runtime_dir: Path) -> None:
    gc.collect()
    before = len(list(FDS.iterdir()))
    bench.run(does(POWER_OFF))
    assert not list(runtime_dir.iterdir())
    assert not list(Path("/dev/shm").glob(f"mpvm-{os.getpid()}-*"))
    # The runtime directory's own two, its lock and its janitor's pipe, were there before and go with it.
    assert len(list(FDS.iterdir())) == before - 2
