"""A virtual machine: the steps of its life, and what may be asked of it while it runs."""

import gc
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from mpvm.abi.errors import CommandError, ExitStatus, GuestCrash, MpvmError, WorkerError
from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import ResumeFlag, RunState
from mpvm.abi.log import LogItem
from mpvm.accel import Accelerator
from mpvm.config import Config, Rtc
from mpvm.coordinator import forkserver, runtime_dir, tsc
from mpvm.coordinator.chardev.backends import Chardevs
from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.dispatch import Exit, deliver_posted, deliver_string, describe, handle_exit
from mpvm.coordinator.exit_notifiers import ExitNotifiers
from mpvm.coordinator.launch import Launcher, endpoint, launch, wait_until_ready
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.monitor import PRIVATE_SOCKET, Monitor
from mpvm.coordinator.observer import Observer
from mpvm.coordinator.placement import place
from mpvm.coordinator.posted import PostedRing
from mpvm.coordinator.run_state import GUEST_PANICKED, GUEST_SHUTDOWN, PRELAUNCH, SUSPENDED, RunStateMachine
from mpvm.coordinator.runtime_dir import RuntimeDir
from mpvm.coordinator.shm import VmMemory
from mpvm.coordinator.signals import Signals
from mpvm.coordinator.vcpu import Vcpu, VcpuState
from mpvm.coordinator.vcpus import TIME_LIMIT_SECONDS, VcpuSet
from mpvm.hw.clock import NS_PER_SECOND
from mpvm.hw.system import WakeupReason
from mpvm.memory.ram import ram_slots
from mpvm.trace.control import trace, trace_enabled
from mpvm.trace.log import log_mask

if TYPE_CHECKING:
    from mpvm.abi.control_block import ControlBlock
    from mpvm.coordinator.exit_callbacks import Attachment, Callback, ExitCallbacks
    from mpvm.coordinator.hotplug import VcpuHotplug
    from mpvm.coordinator.move import Moved
    from mpvm.coordinator.outcome import Outcome
    from mpvm.coordinator.rtc_clock import RtcClock
    from mpvm.hw.char.chardev import Chardev
    from mpvm.machine import Machine
    from mpvm.qom.object import Object

# QAPI's type ShutdownCause (QEMU's qapi/run-state.json): who ended the run, as the event SHUTDOWN says it.
ShutdownCause: TypeAlias = Literal[
    "host-error",
    "host-qmp-quit",
    "host-qmp-system-reset",
    "host-signal",
    "host-ui",
    "guest-shutdown",
    "guest-reset",
    "guest-panic",
]
# The part of a status that a process can hand on (exit(3)).
_STATUS_MASK: Final = 0xFF
# Keys that a monitor takes at once.
_MONITOR_ROOM: Final = 4096
# How many vCPUs a report about all of them shows.
_REPORTED_VCPUS: Final = 8
_START_STATE: Final = ResumeFlag.RESET | ResumeFlag.LOAD_STATE


class End(NamedTuple):
    """Why a run is over, and its exit status."""

    status: int
    cause: str
    reason: ShutdownCause

    @property
    def guest(self) -> bool:
        """Whether it was the guest's doing."""
        return self.reason.startswith("guest-")


class EndedEarly(Exception):  # noqa: N818 - no error: leaves the bring-up
    """The run is to end before the guest has started."""


class VirtualMachine:
    """One run of the machine that `config` describes, in steps that `mpvm.coordinator.main` calls in order.

    The other methods are for whoever acts inside its event loop: devices, the console, the monitor.

    `owns_process`: the process has nothing else to do and ends with the run. It has switched the collector of
    garbage off, and leaves to its end what that does as well.
    """

    loop: EventLoop
    machine: "Machine"
    vcpus: VcpuSet
    state: RunStateMachine
    monitor: Monitor
    _memory: VmMemory
    _ring: PostedRing
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
        # What the main loop is to do between two events: a callback of the loop must not run the loop.
        self._actions: deque[Callable[[], None]] = deque()
        self._end: End | None = None
        self._bringing_up = True
        self._exit_callbacks: ExitCallbacks | None = None
        self._reset_requested = False
        # A signal has come after the end.
        self._hurried = False
        # A vCPU that asks for it is to stop behind its exit.
        self._stop_requested = False
        # What is done at an event: the monitor may change it.
        self.actions = config.action._replace(reboot="shutdown") if config.no_reboot else config.action
        # How the vCPUs go on when they are resumed next.
        self._resume_flags = _START_STATE
        self._began_ns = time.monotonic_ns()
        self.clock = MonotonicClock()
        # The machine's time of day where it is not the host's.
        self._rtc_clock: RtcClock | None = None
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
        slots = ram_slots(memory_bytes) if memory_bytes else []
        self._memory = memory = VmMemory(self._directory.name, smp, memory_bytes, slots, maxcpus)
        undo("removing the shared memory", lambda: memory.close(unmap=not self._owns_process))
        undo("dropping the machine", self._drop)
        self.state = RunStateMachine(self._memory.page)
        self.loop = EventLoop(self.clock)
        undo("closing the event loop", self.loop.close)
        undo("restoring the signals' handlers", self._handle_signals().close)
        self._ring = PostedRing(
            self._memory.vm,
            lambda write: deliver_posted(write, self.machine),
            lambda port, data: deliver_string(port, data, self.machine),
        )
        undo("closing the ring of posted writes", self._ring.close)
        socket = endpoint(self._directory)
        on_exit = self._traced_exit if trace_enabled("vcpu_exit") else self._on_exit
        self.vcpus = VcpuSet(self.loop, self._memory.areas, socket, on_exit, self._on_vcpu, smp=smp)
        undo("closing the vCPUs' socket", self.vcpus.close)
        private = self._directory.path / PRIVATE_SOCKET
        self.monitor = Monitor(private, *([config.qmp] if config.qmp else []))
        undo("closing the monitor's sockets", self.monitor.close)

    def _handle_signals(self) -> Signals:
        def ends(status: ExitStatus, number: signal.Signals) -> Callable[[int], None]:
            def handle(pid: int) -> None:
                if self._end is None:
                    self._observer.signalled(number, pid)
                else:
                    self._hurried = True
                self.end(status, f"ended by {number.name}", "host-signal")

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
        from mpvm.coordinator.main_loop import MainLoop
        from mpvm.machine import Host

        self._notifiers.add("closing the chardevs", self.chardevs.close)
        if self.config.rtc != Rtc():
            from mpvm.coordinator.rtc_clock import RtcClock

            self._rtc_clock = RtcClock(self.config.rtc)
        memory = self._memory
        dma = DmaEngine(memory.vm, memory.ram, memory.areas, self.vcpus.all_alive, TIME_LIMIT_SECONDS)
        self._notifiers.add("closing the devices' way to guest RAM", dma.close)
        host = Host(
            clock=self.clock,
            page=memory.page,
            areas=memory.areas,
            ram_block=memory.ram,
            dma_store=dma.store,
            wall_clock=self._rtc_clock or time.time,
            tsc_khz=tsc.METER.frequency_khz(),
            kick=self.vcpus.kick,
            power_off=self.power_off,
            request_reset=self.request_reset,
            suspend=self.suspend,
            wakeup=self.wakeup,
            debug_exit=self.debug_exit,
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
        main_loop = MainLoop()
        main_loop.loop = self.loop
        self.machine.globals.apply(main_loop)
        main_loop.take_over()
        self.machine.root.container("objects").add_child(MainLoop.type_name, main_loop)
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
        self._bringing_up = False
        # What is there now stays: the collector need not look at it again while the guest runs.
        gc.freeze()
        if self._owns_process:
            gc.enable()
        else:
            self._notifiers.add("thawing the collector", gc.unfreeze)
        self.loop.drain_from(self._ring)
        self._observer.machine_started(time.monotonic_ns() - self._began_ns)
        self.chardevs.start(self.loop)
        if not self.config.paused:
            self.resume()
        self.monitor.serve(self.loop, self)
        self._notifiers.add("disconnecting the monitor's clients", self.monitor.disconnect)

    def main_loop(self) -> None:
        """Serve events until something has called `end`. Between two of them it runs actions."""
        trace("main_step", "main_loop")
        if self.config.timeout is not None:
            timer = self.clock.timer(lambda: self._actions.append(self._time_limit))
            timer.arm(self.clock.now() + int(self.config.timeout * NS_PER_SECOND))
        try:
            while self._end is None:
                self.loop.run(lambda: self._end is not None or bool(self._actions))
                while self._actions and self._end is None:
                    self._actions.popleft()()
        except MpvmError as error:
            self._tell_failure(error)
            self._report("", [vcpu for vcpu in self.vcpus.vcpus if vcpu.gone or vcpu.failure])
            raise
        self.state.set(RunState.SHUTDOWN)
        self.emit("SHUTDOWN", {"guest": self._end.guest, "reason": self._end.reason})

    def outcome(self) -> "Outcome":
        """How the run has ended; the workers are stopped first."""
        trace("main_step", "outcome")
        assert self._end is not None
        self.vcpus.stop()
        if self._end.guest:
            # A reader may take its time for what the guest has said; a signal cuts that short.
            self.loop.run(lambda: self._hurried or not self.chardevs.pending())
        for vcpu in sorted(self.vcpus.vcpus, key=lambda vcpu: int(vcpu.area.first_entry_ns)):
            if entered_ns := int(vcpu.area.first_entry_ns):
                trace("vcpu_first_entry", vcpu.index, at_ns=entered_ns)
        self._relay_stderr()
        # Imported at the end: the bring-up has no use for it.
        from mpvm.coordinator.outcome import Outcome, summarize

        status, cause, reason = self._end
        return Outcome(status, cause, summarize(self.vcpus.present), reason)

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
            "state",
            "loop",
            "clock",
            "chardevs",
            "monitor",
            "_ring",
        ):
            self.__dict__.pop(name, None)
        self._actions.clear()

    # What the machine, the console and signals ask for.

    def end(self, status: int, cause: str, reason: ShutdownCause) -> None:
        """End the run; the first to say so decides how. `cause` is for people, `reason` for the monitor."""
        if self._end is None:
            self._end = End(status, cause, reason)
            if self._bringing_up:
                raise EndedEarly

    def quit(self) -> None:
        """The person at the console has had enough."""
        self.end(ExitStatus.OK, "quit", "host-ui")

    def open_monitor(self, chardev: "Chardev") -> None:
        """Have a person's monitor at `chardev`."""
        # Imported here: few machines have one, and few people go to it.
        from mpvm.coordinator.chardev.mux import MuxFrontEnd
        from mpvm.tools.hmp.monitor import open_session

        session = open_session(self, chardev.write)
        chardev.connect(session.receive, lambda: _MONITOR_ROOM, None, session.opened)
        if isinstance(chardev, MuxFrontEnd):
            chardev.focused = session.focused
            session.has_focus = chardev.has_focus
        if chardev.is_open:
            session.opened(True)

    def power_off(self) -> None:
        """The guest has switched itself off."""
        self.shut_down("powered off by the guest", "guest-shutdown")

    def shut_down(self, cause: str, reason: ShutdownCause) -> None:
        """The machine is off: the run ends, or with `action.shutdown: pause` it stops for the monitor."""
        if self.actions.shutdown == "poweroff":
            self.end(ExitStatus.OK, cause, reason)
            return

        def stop() -> None:
            self.emit("SHUTDOWN", {"guest": reason.startswith("guest-"), "reason": reason})
            self._stop_as(GUEST_SHUTDOWN)

        self._request_stop(stop)

    def _request_stop(self, stop: Callable[[], None]) -> None:
        """Have the vCPU whose exit is served stop behind it, and `stop` called then."""
        if not self._stop_requested:
            self._stop_requested = True
            self.call(stop)

    def _stop_as(self, status: str) -> None:
        self._stop_requested = False
        self.stop()
        self.state.stopped_as(status)

    def suspend(self) -> None:
        """The guest sleeps, its RAM kept, until something calls `wakeup`."""

        def sleep() -> None:
            self._stop_requested = False
            self.pause()
            self.state.stopped_as(SUSPENDED)
            self.emit("SUSPEND")

        self._request_stop(sleep)

    def wakeup(self, reason: WakeupReason) -> None:
        """Something happens that ends a sleep; no change where the guest does not sleep."""
        if self.state.suspended:
            self.call(lambda: self._wake(reason))

    def _wake(self, reason: WakeupReason) -> None:
        if not self.state.suspended:
            return
        self.machine.reset()
        self.machine.wake(reason)
        self._resume_flags = _START_STATE
        self.emit("WAKEUP")
        self.resume()

    def debug_exit(self, status: int) -> None:
        """The guest ends the run with a status of its own."""
        status &= _STATUS_MASK
        self.end(status, f"ended by the guest with status {status}", "guest-shutdown")

    def request_reset(self) -> None:
        """The guest wants a reset; it happens as soon as the vCPU's present exit is served."""
        if self.actions.reboot == "shutdown":
            self.shut_down("reset by the guest, and no_reboot is set", "guest-reset")
        elif not self._reset_requested:
            self._reset_requested = True
            self.call(lambda: self.reset("guest-reset"))

    def call(self, action: Callable[[], None]) -> None:
        """Have the main loop call `action`, outside of any callback: it may pause and reset the VM."""
        self._actions.append(action)

    def pause(self) -> None:
        """Stop every vCPU between two instructions; all registers are in the control blocks then."""
        self.vcpus.pause()
        self._ring.drain_through(self.vcpus.all_alive)
        self.state.set(RunState.PAUSED)
        if self._rtc_clock is not None:
            self._rtc_clock.stop()

    @contextmanager
    def standstill(self) -> Iterator[None]:
        """No vCPU runs as long as it is entered, and the monitor's clients hear nothing of it."""
        was_running = self.state.running
        if was_running:
            self.pause()
        try:
            yield
        finally:
            if was_running and self._end is None:
                self.resume()

    def resume(self) -> None:
        """Let a paused VM go on, or start it."""
        self.state.set(RunState.RUNNING)
        if self._rtc_clock is not None:
            self._rtc_clock.go()
        flags, self._resume_flags = self._resume_flags, ResumeFlag(0)
        if flags & ResumeFlag.RESET and self.machine.leaves_firmware:
            flags |= ResumeFlag.FIRMWARE
        if self._exit_callbacks is not None:
            self._exit_callbacks.write()
            flags |= ResumeFlag.CONTROLS
        self.vcpus.resume(flags)

    def reset(self, reason: ShutdownCause) -> None:
        """Restart the machine from its power-on state, with the boot image loaded anew.

        A VM that is paused stays so.
        """
        was_running = self.state.running
        if was_running:
            self.pause()
        self._reset_requested = False
        if self._end is not None:
            return
        self.reset_machine()
        self._resume_flags = _START_STATE
        self.emit("RESET", {"guest": reason.startswith("guest-"), "reason": reason})
        if was_running:
            self.resume()
        else:
            self.state.stopped_as(PRELAUNCH)

    # What the monitor asks for (`mpvm.tools.vm.Vm`), in actions.

    @property
    def qom_root(self) -> "Object":
        """The root of the composition tree that the machine is in."""
        root: Object = self.machine
        while root.parent is not None:
            root = root.parent
        return root

    @property
    def run_state(self) -> RunStateMachine:
        """The run state."""
        return self.state

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

    def stop(self) -> None:
        """Pause the VM; no change where it is."""
        if self.state.running:
            self.pause()
            self.emit("STOP")

    def cont(self) -> None:
        """Let a stopped VM go on; no change where it runs. Raises `CommandError` for one that is off."""
        if self.state.needs_reset:
            raise CommandError("Resetting the Virtual Machine is required")
        if not self.state.running and not self.state.suspended:
            self.resume()
            self.emit("RESUME")

    def move_vcpu(self, index: int | None, accel: str | None = None) -> "Moved":
        """Have vCPU `index`, or every one, go on in a new worker, under the accelerator `accel` if given.

        Raises `CommandError` for what can't be, and what a new worker fails with: the VM goes on as it was.
        """
        from mpvm.coordinator.move import VcpuMover

        return VcpuMover(self.vcpus, self._launcher, lambda: self._end is not None).move(index, accel)

    def system_reset(self) -> None:
        """Restart the machine."""
        if self.actions.reboot == "shutdown":
            self.shut_down("reset by the monitor, and no_reboot is set", "host-qmp-system-reset")
        else:
            self.reset("host-qmp-system-reset")

    def system_wakeup(self) -> None:
        """Wake a guest that sleeps. Raises `CommandError` where none does."""
        if not self.state.suspended:
            raise CommandError("Unable to wake up: guest is not in suspended state")
        self._wake(WakeupReason.OTHER)

    def system_powerdown(self) -> None:
        """Press the power button."""
        self.machine.press_power_button()
        self.emit("POWERDOWN")

    def system_quit(self) -> None:
        """End the run."""
        self.end(ExitStatus.OK, "quit by the monitor", "host-qmp-quit")

    @cached_property
    def hotplug(self) -> "VcpuHotplug":
        """What adds and removes vCPUs."""
        # Imported here: few runs do.
        from mpvm.coordinator.hotplug import VcpuHotplug

        return VcpuHotplug(self, self.vcpus, self._memory, self._launcher)

    # What the vCPUs say.

    def _on_vcpu(self, vcpu: Vcpu) -> None:
        if not self._bringing_up:
            return
        since = time.monotonic_ns() - self._began_ns
        if vcpu.state is VcpuState.CREATED:
            trace("vcpu_created", vcpu.index, vcpu.engine, vcpu.created_ns)
            self._observer.vcpu_created(vcpu.index, vcpu.pid, since)
        else:
            trace("vcpu_ready", vcpu.index, vcpu.ready_ns)
            self._observer.vcpu_ready(vcpu.index, since)

    def _traced_exit(self, exit_: Exit) -> None:
        trace("vcpu_exit", exit_.vcpu, describe(exit_))
        self._on_exit(exit_)

    def on_exit(
        self, reason: ExitReason, callback: "Callback", only: Collection[int] | None = None
    ) -> "Attachment":
        """Have `callback(exit)` called at every exit for `reason` (`exit_callbacks.VcpuExit`).

        Makes the event exit on all vCPUs. `only`: those ports, MSRs or exception vectors. What is returned is
        for `off_exit`. From before the start on, or from whatever runs in the event loop.
        """
        if self._exit_callbacks is None:
            from mpvm.coordinator.exit_callbacks import ExitCallbacks

            self._exit_callbacks = ExitCallbacks(
                self._controls_changed,
                lambda: [vcpu.area.control for vcpu in self.vcpus.vcpus],
                lambda on: setattr(self._memory.page, "precise_exits", int(on)),
            )
        return self._exit_callbacks.attach(reason, callback, only)

    def off_exit(self, attachment: "Attachment") -> None:
        """Call it no more, and let the event go by if nobody else waits for it."""
        if self._exit_callbacks is not None:
            self._exit_callbacks.detach(attachment)

    def write_controls(self, control: "ControlBlock") -> None:
        """What exits by callbacks, into the control block of a vCPU that is about to come."""
        if self._exit_callbacks is not None:
            self._exit_callbacks.write_controls(control.execution)

    def _controls_changed(self) -> None:
        """Have the vCPUs take the controls over, which `resume` writes; before the start it will."""

        def change() -> None:
            if self.state.running:
                self.pause()
                if self._end is None:
                    self.resume()

        if not self._bringing_up:
            self.call(change)

    def _on_exit(self, exit_: Exit) -> None:
        """Serve an exit: the posted writes that came before it first, then the exit, then its reply."""
        self.vcpus.vcpus[exit_.vcpu].last_exits.append(exit_)
        self._ring.drain_through(self.vcpus.all_alive)
        data = 0
        try:
            data = self._serve_exit(exit_)
        except GuestCrash as error:
            self._on_crash(error, self.vcpus.vcpus[exit_.vcpu])
        if self._end is not None:
            # The vCPU stays in its exit: a guest that has switched itself off runs no further.
            return
        if self._reset_requested or self._stop_requested:
            self.vcpus.ask_pause()
        self.vcpus.reply(exit_.vcpu, data)

    def _serve_exit(self, exit_: Exit) -> int:
        if self._exit_callbacks is None:
            return handle_exit(exit_, self.machine)
        control = self.vcpus.vcpus[exit_.vcpu].area.control
        return self._exit_callbacks.serve(exit_, control, lambda: handle_exit(exit_, self.machine))

    # Abnormal ends.

    def _on_crash(self, error: GuestCrash, vcpu: Vcpu) -> None:
        """A vCPU has triple-faulted. It can't go on by itself: no action at all is the reset of a PC."""
        panic = self.actions.panic
        if self.actions.triple_fault == "reset" or panic == "none":
            log_mask(LogItem.CPU_RESET, "%s", error)
            self.request_reset()
            return
        self._report(str(error), [vcpu])
        self.emit("GUEST_PANICKED", {"action": "pause" if panic == "pause" else "poweroff"})
        if panic == "pause":
            self._request_stop(lambda: self._stop_as(GUEST_PANICKED))
        else:
            self.end(ExitStatus.GUEST_CRASH, f"guest crash: {error}", "guest-panic")

    def _time_limit(self) -> None:
        cause = f"time limit: the guest still ran after {self.config.timeout:g} s"
        try:
            self.pause()
        except WorkerError as error:
            cause += f"; {error}"
        if self._end is None:
            self._report(cause, self.vcpus.present[:_REPORTED_VCPUS])
            self.end(ExitStatus.TIME_LIMIT, cause, "host-error")

    def _relay_stderr(self) -> None:
        """What workers had to say although nothing failed; it would go with the runtime directory."""
        for vcpu in self.vcpus.vcpus:
            for line in vcpu.stderr().splitlines():
                print(f"mpvm: vCPU {vcpu.index}: {line}", file=sys.stderr)

    def _tell_failure(self, error: MpvmError) -> None:
        for vcpu in self.vcpus.vcpus:
            if vcpu.gone or vcpu.failure is not None:
                self._observer.vcpu_failed(vcpu.index, str(error))

    def _report(self, cause: str, vcpus: Sequence[Vcpu]) -> None:
        from mpvm.coordinator import crash_report

        command = ["mpvm", *sys.argv[1:]]
        text = crash_report.report(cause, vcpus, self.machine.ram, self.chardevs.tail(), command)
        print(text, file=sys.stderr, flush=True)
