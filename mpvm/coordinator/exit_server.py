"""Serving the vCPUs' exits: what was posted before one, its callbacks, the machine, the reply.

What the machine does at an exit is `mpvm.coordinator.dispatch`.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from mpvm.abi.errors import ExitStatus, GuestCrash
from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import ResumeFlag
from mpvm.abi.log import LogItem
from mpvm.coordinator.dispatch import Exit, describe, handle_exit
from mpvm.coordinator.vcpu import Vcpu
from mpvm.trace.control import trace
from mpvm.trace.log import log_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from mpvm.abi.control_block import ControlBlock
    from mpvm.coordinator.ending import Ending
    from mpvm.coordinator.exit_callbacks import Attachment, Callback, ExitCallbacks
    from mpvm.coordinator.posted import PostedRing
    from mpvm.coordinator.run_control import RunControl
    from mpvm.coordinator.run_state import RunStateMachine
    from mpvm.coordinator.vcpus import VcpuSet
    from mpvm.machine import Machine

    class _Vm(Protocol):
        """What of the VM (`mpvm.coordinator.vm.VirtualMachine`) is needed here."""

        machine: Machine
        vcpus: VcpuSet
        ring: PostedRing
        run_state: RunStateMachine
        run_control: RunControl
        ending: Ending

        def emit(self, event: str, data: Mapping[str, object] | None = None) -> None: ...
        def report(self, cause: str, vcpus: Sequence[Vcpu]) -> None: ...


class ExitServer:
    """Serves the exits of `vm`'s vCPUs, and lets functions be called at them."""

    def __init__(self, vm: "_Vm") -> None:
        self._vm = vm
        self._callbacks: ExitCallbacks | None = None

    def serve(self, exit_: Exit) -> None:
        """Serve an exit: the posted writes that came before it first, then the exit, then its reply."""
        vm = self._vm
        vcpus = vm.vcpus
        vcpus.vcpus[exit_.vcpu].last_exits.append(exit_)
        vm.ring.drain_through(vcpus.all_alive)
        data = 0
        try:
            data = self._serve(exit_)
        except GuestCrash as error:
            self._on_crash(error, vcpus.vcpus[exit_.vcpu])
        if vm.ending.end is not None:
            # The vCPU stays in its exit: a guest that has switched itself off runs no further.
            return
        if vm.run_control.wants_pause:
            vcpus.ask_pause()
        vcpus.reply(exit_.vcpu, data)

    def serve_traced(self, exit_: Exit) -> None:
        """The same, with the trace event vcpu_exit."""
        trace("vcpu_exit", exit_.vcpu, describe(exit_))
        self.serve(exit_)

    def _serve(self, exit_: Exit) -> int:
        machine = self._vm.machine
        if self._callbacks is None:
            return handle_exit(exit_, machine)
        control = self._vm.vcpus.vcpus[exit_.vcpu].area.control
        return self._callbacks.serve(exit_, control, lambda: handle_exit(exit_, machine))

    def _on_crash(self, error: GuestCrash, vcpu: Vcpu) -> None:
        """A vCPU has triple-faulted. It can't go on by itself: no action at all is the reset of a PC."""
        vm, control = self._vm, self._vm.run_control
        panic = control.actions.panic
        if control.actions.triple_fault == "reset" or panic == "none":
            log_mask(LogItem.CPU_RESET, "%s", error)
            control.request_reset()
            return
        vm.report(str(error), [vcpu])
        vm.emit("GUEST_PANICKED", {"action": "pause" if panic == "pause" else "poweroff"})
        if panic == "pause":
            control.panicked()
        else:
            vm.ending.decide(ExitStatus.GUEST_CRASH, f"guest crash: {error}", "guest-panic")

    # Callbacks: `VirtualMachine.on_exit` and `off_exit`.

    def attach(self, reason: ExitReason, callback: "Callback", only: Collection[int] | None) -> "Attachment":
        """Have `callback` called at every exit for `reason`, which all vCPUs make from then on."""
        if self._callbacks is None:
            # Imported here: few runs have any.
            from mpvm.coordinator.exit_callbacks import ExitCallbacks

            self._callbacks = ExitCallbacks(
                self._controls_changed,
                lambda: [vcpu.area.control for vcpu in self._vm.vcpus.vcpus],
                lambda on: setattr(self._vm.machine.host.page, "precise_exits", int(on)),
            )
            self._vm.run_control.on_change(self._hand_controls_over)
        return self._callbacks.attach(reason, callback, only)

    def detach(self, attachment: "Attachment") -> None:
        """Call it no more."""
        if self._callbacks is not None:
            self._callbacks.detach(attachment)

    def write_controls(self, control: "ControlBlock") -> None:
        """What exits by callbacks, into the control block of a vCPU that is about to come."""
        if self._callbacks is not None:
            self._callbacks.write_controls(control.execution)

    def _controls_changed(self) -> None:
        """Have the vCPUs take the controls over, which is done as they resume; before the start they will."""
        control = self._vm.run_control

        def change() -> None:
            if self._vm.run_state.running:
                control.pause()
                if self._vm.ending.end is None:
                    control.resume()

        if not self._vm.ending.bringing_up:
            control.call(change)

    def _hand_controls_over(self, running: bool) -> None:
        if running and self._callbacks is not None:
            self._callbacks.write()
            self._vm.run_control.resume_flags |= ResumeFlag.CONTROLS
