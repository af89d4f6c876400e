"""A virtual machine: the steps of its life, and what may be asked of it while it runs."""

import gc
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from mpvm.abi.errors import ExitStatus, MpvmError, WorkerError
from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import RunState
from mpvm.accel import Accelerator
from mpvm.config import Config, Rtc
from mpvm.coordinator import forkserver, runtime_dir, tsc
from mpvm.coordinator.chardev.backends import Chardevs
from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.dispatch import deliver_posted, deliver_string
from mpvm.coordinator.ending import Ending
from mpvm.coordinator.exit_notifiers import ExitNotifiers
from mpvm.coordinator.exit_server import ExitServer
from mpvm.coordinator.launch import Launcher, endpoint, launch, wait_until_ready
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.monitor import PRIVATE_SOCKET, Monitor
from mpvm.coordinator.observer import Observer
from mpvm.coordinator.placement import place
from mpvm.coordinator.posted import PostedRing
from mpvm.coordinator.run_control import RunControl
from mpvm.coordinator.run_state import RunStateMachine
from mpvm.coordinator.runtime_dir import RuntimeDir
from mpvm.coordinator.shm import VmMemory
from mpvm.coordinator.signals import Signals
from mpvm.coordinator.vcpu import Vcpu, VcpuState
from mpvm.coordinator.vcpus import TIME_LIMIT_SECONDS, VcpuSet
from mpvm.hw.clock import NS_PER_SECOND
from mpvm.memory.ram import SAME_RAM_LIMIT, ram_slots
from mpvm.trace.control import trace, trace_enabled

if TYPE_CHECKING:
    from mpvm.coordinator.exit_callbacks import Attachment, Callback
    from mpvm.coordinator.hotplug import VcpuHotplug
    from mpvm.coordinator.move import Moved
    from mpvm.coordinator.outcome import Outcome
    from mpvm.hw.char.chardev import Chardev
    from mpvm.machine import Machine
    from mpvm.memory.ram import Slot
    from mpvm.qom.object import Object

# How many vCPUs a report about all of them shows.
_REPORTED_VCPUS: Final = 8


class VirtualMachine:
    """One run of the machine that `config` describes, in steps that `mpvm.coordinator.main` calls in order.

    The other methods are for whoever acts inside its event loop: devices, the console, the monitor. What
    pauses and resets it is its `run_control`.

    `owns_process`: the process has nothing else to do and ends with the run. It has switched the collector of
    garbage off, and leaves to its end what that does as well.
    """

    loop: EventLoop
    machine: "Machine"
    vcpus: VcpuSet
    run_state: RunStateMachine
    ring: PostedRing
    monitor: Monitor
    _memory: VmMemory
    _directory: RuntimeDir
    _accelerator: Accelerator
    _launcher: Launcher

    def __init__(
        self, config: Config, observer: Observer | None = None, *, owns_process: bool = False
    ) -> None:
        self.config = config
        self._owns_process = owns_process
        self._observer = observer or Observer()
        self._notifiers = ExitNotifiers()
        self._notifiers.add("stopping the fork server", forkserver.stop)
        self.ending = Ending()
        # A signal has come after the end.
        self._hurried = False
        actions = config.action._replace(reboot="shutdown") if config.no_reboot else config.action
        self.run_control = RunControl(self, actions)
        self.exits = ExitServer(self)
        self._began_ns = time.monotonic_ns()
        self.clock = MonotonicClock()
        self.chardevs = Chardevs(self.quit, self.open_monitor)

    # What follows is in the order of a run, which is `mpvm.coordinator.main`'s.

    def create(self, accel: Accelerator) -> None:
        """The runtime directory, shared memory, the event loop, and the vCPUs' and the monitor's sockets."""
        trace("main_step", "create")
        config, undo = self.config, self._notifiers.add
        self._accelerator = accel
        if config.pidfile is not None:
            from mpvm.coordinator.pidfile import PidFile

            undo("removing the PID file", PidFile(config.pidfile).remove)
        self._directory = forkserver.take_runtime_dir()
        runtime_dir.sweep(self._directory.path.parent)
        smp, maxcpus, memory_bytes = (
            config.machine.smp.cpus,
            config.machine.smp.maxcpus,
            config.machine.memory,
        )
        slots = self._ram_slots(memory_bytes)
        self._memory = memory = VmMemory(self._directory.name, smp, memory_bytes, slots, maxcpus)
        undo("removing the shared memory", lambda: memory.close(unmap=not self._owns_process))
        undo("dropping the machine", self._drop)
        self.run_state = RunStateMachine(self._memory.page)
        self.loop = EventLoop(self.clock)
        undo("closing the event loop", self.loop.close)
        undo("restoring the signals' handlers", self._handle_signals().close)
        forkserver.end_if_asked()
        self.ring = PostedRing(
            self._memory.vm,
            lambda write: deliver_posted(write, self.machine),
            lambda port, data: deliver_string(port, data, self.machine),
        )
        undo("closing the ring of posted writes", self.ring.close)
        socket = endpoint(self._directory)
        on_exit = self.exits.serve_traced if trace_enabled("vcpu_exit") else self.exits.serve
        self.vcpus = VcpuSet(self.loop, self._memory.areas, socket, on_exit, self._on_vcpu, smp=smp)
        undo("closing the vCPUs' socket", self.vcpus.close)
        private = self._directory.path / PRIVATE_SOCKET
        self.monitor = Monitor(private, *([config.qmp] if config.qmp else []))
        undo("closing the monitor's sockets", self.monitor.close)

    def _ram_slots(self, memory_bytes: int) -> "Sequence[Slot]":
        if memory_bytes <= SAME_RAM_LIMIT:
            return ram_slots(memory_bytes) if memory_bytes else []
        # Imported here: the vCPUs' processes come up while machines are imported, later on.
        from mpvm.machine.base import machine_class

        return machine_class(self.config.machine.type).ram_slots(memory_bytes)

    def _handle_signals(self) -> Signals:
        def ends(status: ExitStatus, number: signal.Signals) -> Callable[[int], None]:
            def handle(pid: int) -> None:
                if self.ending.end is None:
                    self._observer.signalled(number, pid)
                else:
                    self._hurried = True
                self.ending.decide(status, f"ended by {number.name}", "host-signal")

            return handle

        return Signals(
            self.loop,
            {
                signal.SIGINT: ends(ExitStatus.INTERRUPTED, signal.SIGINT),
                signal.SIGTERM: ends(ExitStatus.TERMINATED, signal.SIGTERM),
                signal.SIGHUP: ends(ExitStatus.TERMINATED, signal.SIGHUP),
                signal.SIGCONT: lambda _pid: self.chardevs.continued(),
            },
        )

    def launch(self) -> None:
        """The workers: they come up while the machine is built. Their first look at it is their reset."""
        trace("main_step", "launch")
        self._notifiers.add("stopping the workers", self.vcpus.stop)
        config = self.config
        cpusets = place(self._memory.areas, config.cputune)
        self._launcher = Launcher(
            self._accelerator, self.loop, self._memory, self._directory, cpusets, config
        )
        launch(self.vcpus, self._launcher)
        self.vcpus.serve()

    def create_machine(self, machine_class: "type[Machine]") -> None:
        """A machine of the class `machine_class` with its backends; it has no devices yet."""
        trace("main_step", "create_machine")
        # Imported here: the workers come up meanwhile.
        from mpvm.coordinator.build import machine_spec
        from mpvm.coordinator.dma import DmaEngine
        from mpvm.coordinator.main_loop import add_main_loop
        from mpvm.machine import Host

        self._notifiers.add("closing the chardevs", self.chardevs.close)
        control = self.run_control
        wall_clock: Callable[[], float] = time.time
        if self.config.rtc != Rtc():
            from mpvm.coordinator.rtc_clock import RtcClock

            wall_clock = rtc_clock = RtcClock(self.config.rtc)
            control.on_change(lambda running: rtc_clock.go() if running else rtc_clock.stop())
        memory = self._memory
        dma = DmaEngine(memory.vm, memory.ram, memory.areas, self.vcpus.all_alive, TIME_LIMIT_SECONDS)
        self._notifiers.add("closing the devices' way to guest RAM", dma.close)
        host = Host(
            clock=self.clock,
            page=memory.page,
            areas=memory.areas,
            ram_block=memory.ram,
            dma_store=dma.store,
            wall_clock=wall_clock,
            tsc_khz=tsc.METER.frequency_khz(),
            kick=self.vcpus.kick,
            power_off=control.power_off,
            request_reset=control.request_reset,
            suspend=control.suspend,
            wakeup=control.wakeup,
            debug_exit=control.debug_exit,
            eject_cpu=lambda index: self.hotplug.ejected(index),
            report_ost=lambda ost: self.hotplug.report_ost(ost),
        )
        spec = machine_spec(self.config, self.chardevs, self._accelerator)
        monitors = [
            self.chardevs.make(each, f"compat_monitor{number}", takes_focus=False)
            for number, each in enumerate(self.config.monitor)
        ]
        self._observer.cpu_resolved(spec.cpu)
        if any(not name.startswith("opt/") for name, _content in spec.fw_cfg):
            self._observer.warning('externally provided fw_cfg item names should be prefixed with "opt/"')
        self.machine = machine_class(spec, host)
        add_main_loop(self.machine, self.loop)
        self._notifiers.add("releasing guest RAM", self.machine.release)
        for chardev in monitors:
            self.open_monitor(chardev)

    def run_board_init(self) -> None:
        """All its devices."""
        trace("main_step", "run_board_init")
        self.machine.run_board_init()

    def reset_machine(self) -> None:
        """Its power-on state, with the boot image in RAM."""
        trace("main_step", "reset_machine")
        self.machine.reset()
        self.machine.load_boot_image()

    def start(self) -> None:
        """The workers' readiness, then the console, then the guest."""
        trace("main_step", "start")
        try:
            wait_until_ready(self.vcpus)
        except MpvmError as error:
            self._tell_failure(error)
            raise
        self.chardevs.wait_for_peers(self.loop)
        self.ending.bringing_up = False
        # What is there now stays: the collector need not look at it again while the guest runs.
        gc.freeze()
        if self._owns_process:
            gc.enable()
        else:
            self._notifiers.add("thawing the collector", gc.unfreeze)
        self.loop.drain_from(self.ring)
        self._observer.machine_started(time.monotonic_ns() - self._began_ns)
        self.chardevs.start(self.loop)
        if not self.config.paused:
            self.run_control.resume()
        self.monitor.serve(self.loop, self)
        self._notifiers.add("disconnecting the monitor's clients", self.monitor.disconnect)

    def main_loop(self) -> None:
        """Serve events until something has ended the run. Between two of them it runs actions."""
        trace("main_step", "main_loop")
        ending, actions = self.ending, self.run_control.queue
        if self.config.timeout is not None:
            timer = self.clock.timer(lambda: self.run_control.call(self._time_limit))
            timer.arm(self.clock.now() + int(self.config.timeout * NS_PER_SECOND))
        try:
            while ending.end is None:
                self.loop.run(lambda: ending.end is not None or bool(actions))
                self.run_control.run_actions()
        except MpvmError as error:
            self._tell_failure(error)
            self.report("", [vcpu for vcpu in self.vcpus.vcpus if vcpu.gone or vcpu.failure])
            raise
        self.run_state.set(RunState.SHUTDOWN)
        self.emit("SHUTDOWN", {"guest": ending.end.guest, "reason": ending.end.reason})

    def outcome(self) -> "Outcome":
        """How the run has ended; the workers are stopped first."""
        trace("main_step", "outcome")
        end = self.ending.end
        assert end is not None
        self.vcpus.stop()
        if end.guest:
            # A reader may take its time for what the guest has said; a signal cuts that short.
            self.loop.run(lambda: self._hurried or not self.chardevs.pending())
        for vcpu in sorted(self.vcpus.vcpus, key=lambda vcpu: int(vcpu.area.first_entry_ns)):
            if entered_ns := int(vcpu.area.first_entry_ns):
                trace("vcpu_first_entry", vcpu.index, at_ns=entered_ns)
        # Imported at the end: the bring-up has no use for it.
        from mpvm.coordinator.outcome import Outcome, relay_stderr, summarize

        relay_stderr(self.vcpus.vcpus)
        return Outcome(end.status, end.cause, summarize(self.vcpus.present), end.reason)

    def cleanup(self) -> None:
        """Undo everything, however far the run has come."""
        trace("main_step", "cleanup")
        self._notifiers.run_and_report()
        self._observer.machine_stopped()

    def _drop(self) -> None:
        """Let go of all that refers to the shared memory; timers and chardevs do through the devices."""
        for name in (
            "machine",
            "vcpus",
            "hotplug",
            "_launcher",
            "run_state",
            "loop",
            "clock",
            "chardevs",
            "monitor",
            "ring",
        ):
            self.__dict__.pop(name, None)
        self.run_control.queue.clear()

    # What the console asks for.

    def quit(self) -> None:
        """The person at the console has had enough."""
        self.ending.decide(ExitStatus.OK, "quit", "host-ui")

    def open_monitor(self, chardev: "Chardev") -> None:
        """Have a person's monitor at `chardev`."""
        # Imported here: few machines have one.
        from mpvm.coordinator import human_monitor

        human_monitor.open_monitor(self, chardev)

    # What the monitor asks for (`mpvm.tools.vm.Vm`), in actions.

    @property
    def qom_root(self) -> "Object":
        """The root of the composition tree that the machine is in."""
        root: Object = self.machine
        while root.parent is not None:
            root = root.parent
        return root

    @property
    def accelerator(self) -> Accelerator:
        """The accelerator that runs the guest."""
        return self._launcher.accelerator

    def list_vcpus(self) -> Sequence[Vcpu]:
        """The vCPUs, by index."""
        return self.vcpus.present

    def emit(self, event: str, data: Mapping[str, object] | None = None) -> None:
        """Tell the monitor's clients of `event`."""
        self.monitor.emit(event, data)

    def move_vcpu(self, index: int | None, accel: str | None = None) -> "Moved":
        """Have vCPU `index`, or every one, go on in a new worker, under the accelerator `accel` if given.

        Raises `CommandError` for what can't be, and what a new worker fails with: the VM goes on as it was.
        """
        from mpvm.coordinator.move import VcpuMover

        return VcpuMover(self.vcpus, self._launcher, lambda: self.ending.end is not None).move(index, accel)

    def system_powerdown(self) -> None:
        """Press the power button."""
        self.machine.press_power_button()
        self.emit("POWERDOWN")

    def system_quit(self) -> None:
        """End the run."""
        self.ending.decide(ExitStatus.OK, "quit by the monitor", "host-qmp-quit")

    @cached_property
    def hotplug(self) -> "VcpuHotplug":
        """What adds and removes vCPUs."""
        # Imported here: few runs do.
        from mpvm.coordinator.hotplug import VcpuHotplug

        return VcpuHotplug(self, self.vcpus, self._memory, self._launcher)

    # What the vCPUs say.

    def _on_vcpu(self, vcpu: Vcpu) -> None:
        if not self.ending.bringing_up:
            return
        since = time.monotonic_ns() - self._began_ns
        if vcpu.state is VcpuState.CREATED:
            trace("vcpu_created", vcpu.index, vcpu.engine, vcpu.created_ns)
            self._observer.vcpu_created(vcpu.index, vcpu.pid, since)
        else:
            trace("vcpu_ready", vcpu.index, vcpu.ready_ns)
            self._observer.vcpu_ready(vcpu.index, since)

    def on_exit(
        self, reason: ExitReason, callback: "Callback", only: Collection[int] | None = None
    ) -> "Attachment":
        """Have `callback(exit)` called at every exit for `reason` (`exit_callbacks.VcpuExit`).

        Makes the event exit on all vCPUs. `only`: those ports, MSRs or exception vectors. What is returned is
        for `off_exit`. From before the start on, or from whatever runs in the event loop.
        """
        return self.exits.attach(reason, callback, only)

    def off_exit(self, attachment: "Attachment") -> None:
        """Call it no more, and let the event go by if nobody else waits for it."""
        self.exits.detach(attachment)

    # Abnormal ends.

    def _time_limit(self) -> None:
        cause = f"time limit: the guest still ran after {self.config.timeout:g} s"
        try:
            self.run_control.pause()
        except WorkerError as error:
            cause += f"; {error}"
        if self.ending.end is None:
            self.report(cause, self.vcpus.present[:_REPORTED_VCPUS])
            self.ending.decide(ExitStatus.TIME_LIMIT, cause, "host-error")

    def _tell_failure(self, error: MpvmError) -> None:
        for vcpu in self.vcpus.vcpus:
            if vcpu.gone or vcpu.failure is not None:
                self._observer.vcpu_failed(vcpu.index, str(error))

    def report(self, cause: str, vcpus: Sequence[Vcpu]) -> None:
        """Tell on stderr where `vcpus` are and what came before; no `cause` when an error says it later."""
        from mpvm.coordinator import crash_report

        command = ["mpvm", *sys.argv[1:]]
        text = crash_report.report(cause, vcpus, self.machine.ram, self.chardevs.tail(), command)
        print(text, file=sys.stderr, flush=True)
