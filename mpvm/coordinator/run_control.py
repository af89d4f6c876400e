"""What stops a VM, resets it and lets it go on, whoever asks: QEMU's softmmu/runstate.c.

A guest asks within an exit, which a callback of the event loop serves, and the loop must not run in one. So
what pauses the VM is an *action*, which the main loop calls between two events, and the vCPU that has asked
is to pause behind its exit.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mpvm.abi.errors import CommandError, ExitStatus
from mpvm.abi.layout import ResumeFlag, RunState
from mpvm.config import Action
from mpvm.coordinator.ending import ShutdownCause, is_guests
from mpvm.coordinator.run_state import GUEST_PANICKED, GUEST_SHUTDOWN, PRELAUNCH, SUSPENDED
from mpvm.hw.system import WakeupReason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from mpvm.coordinator.ending import Ending
    from mpvm.coordinator.posted import PostedRing
    from mpvm.coordinator.run_state import RunStateMachine
    from mpvm.coordinator.vcpus import VcpuSet
    from mpvm.machine import Machine

    class _Vm(Protocol):
        """What of the VM (`mpvm.coordinator.vm.VirtualMachine`) is needed here."""

        machine: Machine
        vcpus: VcpuSet
        run_state: RunStateMachine
        ring: PostedRing
        ending: Ending

        def reset_machine(self) -> None: ...
        def emit(self, event: str, data: Mapping[str, object] | None = None) -> None: ...


# The part of a status that a process can hand on (exit(3)).
_STATUS_MASK: Final = 0xFF
_START_STATE: Final = ResumeFlag.RESET | ResumeFlag.LOAD_STATE


class RunControl:
    """Pauses, resumes and resets the VM, and does what `actions` says at an event: the monitor may change it.

    `queue` has what the main loop is to call between two events. `resume_flags` are how the vCPUs go on when
    they are resumed next.
    """

    def __init__(self, vm: "_Vm", actions: Action) -> None:
        self._vm = vm
        self.actions = actions
        self.queue: deque[Callable[[], None]] = deque()
        self.resume_flags = _START_STATE
        self._change_handlers: list[Callable[[bool], None]] = []
        self._reset_requested = False
        # A vCPU that asks for it is to stop behind its exit.
        self._stop_requested = False

    def call(self, action: Callable[[], None]) -> None:
        """Have the main loop call `action`, outside of any callback: it may pause and reset the VM."""
        self.queue.append(action)

    def run_actions(self) -> None:
        """Call them all, unless one ends the run."""
        while self.queue and self._vm.ending.end is None:
            self.queue.popleft()()

    def on_change(self, handler: Callable[[bool], None]) -> None:
        """Have ``handler(True)`` called before vCPUs are resumed, ``handler(False)`` once they have paused.

        QEMU's qemu_add_vm_change_state_handler.
        """
        self._change_handlers.append(handler)

    @property
    def wants_pause(self) -> bool:
        """Whether a vCPU whose exit has been served is to pause before it goes on."""
        return self._reset_requested or self._stop_requested

    # In actions.

    def pause(self) -> None:
        """Stop every vCPU between two instructions; all registers are in the control blocks then."""
        vm = self._vm
        vm.vcpus.pause()
        vm.ring.drain_through(vm.vcpus.all_alive)
        vm.run_state.set(RunState.PAUSED)
        for handler in self._change_handlers:
            handler(False)

    def resume(self) -> None:
        """Let a paused VM go on, or start it."""
        self._vm.run_state.set(RunState.RUNNING)
        for handler in self._change_handlers:
            handler(True)
        flags, self.resume_flags = self.resume_flags, ResumeFlag(0)
        if flags & ResumeFlag.RESET and self._vm.machine.leaves_firmware:
            flags |= ResumeFlag.FIRMWARE
        self._vm.vcpus.resume(flags)

    @contextmanager
    def standstill(self) -> Iterator[None]:
        """No vCPU runs as long as it is entered, and the monitor's clients hear nothing of it."""
        was_running = self._vm.run_state.running
        if was_running:
            self.pause()
        try:
            yield
        finally:
            if was_running and self._vm.ending.end is None:
                self.resume()

    def reset(self, reason: ShutdownCause) -> None:
        """Restart the machine from its power-on state, with the boot image loaded anew.

        A VM that is paused stays so.
        """
        vm = self._vm
        was_running = vm.run_state.running
        if was_running:
            self.pause()
        self._reset_requested = False
        if vm.ending.end is not None:
            return
        vm.reset_machine()
        self.resume_flags = _START_STATE
        vm.emit("RESET", {"guest": is_guests(reason), "reason": reason})
        if was_running:
            self.resume()
        else:
            vm.run_state.stopped_as(PRELAUNCH)

    # What the guest asks for.

    def power_off(self) -> None:
        """The guest has switched itself off."""
        self.shut_down("powered off by the guest", "guest-shutdown")

    def debug_exit(self, status: int) -> None:
        """The guest ends the run with a status of its own."""
        status &= _STATUS_MASK
        self._vm.ending.decide(status, f"ended by the guest with status {status}", "guest-shutdown")

    def shut_down(self, cause: str, reason: ShutdownCause) -> None:
        """The machine is off: the run ends, or with `action.shutdown: pause` it stops for the monitor."""
        if self.actions.shutdown == "poweroff":
            self._vm.ending.decide(ExitStatus.OK, cause, reason)
            return

        def stop() -> None:
            self._vm.emit("SHUTDOWN", {"guest": is_guests(reason), "reason": reason})
            self._stop_as(GUEST_SHUTDOWN)

        self._request_stop(stop)

    def panicked(self) -> None:
        """The guest has crashed, and is to stop for the monitor."""
        self._request_stop(lambda: self._stop_as(GUEST_PANICKED))

    def _request_stop(self, stop: Callable[[], None]) -> None:
        """Have the vCPU whose exit is served stop behind it, and `stop` called then."""
        if not self._stop_requested:
            self._stop_requested = True
            self.call(stop)

    def _stop_as(self, status: str) -> None:
        self._stop_requested = False
        self.stop()
        self._vm.run_state.stopped_as(status)

    def suspend(self) -> None:
        """The guest sleeps, its RAM kept, until something calls `wakeup`."""

        def sleep() -> None:
            self._stop_requested = False
            self.pause()
            self._vm.run_state.stopped_as(SUSPENDED)
            self._vm.emit("SUSPEND")

        self._request_stop(sleep)

    def wakeup(self, reason: WakeupReason) -> None:
        """Something happens that ends a sleep; no change where the guest does not sleep."""
        if self._vm.run_state.suspended:
            self.call(lambda: self._wake(reason))

    def _wake(self, reason: WakeupReason) -> None:
        vm = self._vm
        if not vm.run_state.suspended:
            return
        vm.machine.reset()
        vm.machine.wake(reason)
        self.resume_flags = _START_STATE
        vm.emit("WAKEUP")
        self.resume()

    def request_reset(self) -> None:
        """The guest wants a reset; it happens as soon as the vCPU's present exit is served."""
        if self.actions.reboot == "shutdown":
            self.shut_down("reset by the guest, and no_reboot is set", "guest-reset")
        elif not self._reset_requested:
            self._reset_requested = True
            self.call(lambda: self.reset("guest-reset"))

    # What the monitor asks for (`mpvm.tools.vm.RunControl`), in actions.

    def stop(self) -> None:
        """Pause the VM; no change where it is."""
        if self._vm.run_state.running:
            self.pause()
            self._vm.emit("STOP")

    def cont(self) -> None:
        """Let a stopped VM go on; no change where it runs. Raises `CommandError` for one that is off."""
        state = self._vm.run_state
        if state.needs_reset:
            raise CommandError("Resetting the Virtual Machine is required")
        if not state.running and not state.suspended:
            self.resume()
            self._vm.emit("RESUME")

    def system_reset(self) -> None:
        """Restart the machine."""
        if self.actions.reboot == "shutdown":
            self.shut_down("reset by the monitor, and no_reboot is set", "host-qmp-system-reset")
        else:
            self.reset("host-qmp-system-reset")

    def system_wakeup(self) -> None:
        """Wake a guest that sleeps. Raises `CommandError` where none does."""
        if not self._vm.run_state.suspended:
            raise CommandError("Unable to wake up: guest is not in suspended state")
        self._wake(WakeupReason.OTHER)
