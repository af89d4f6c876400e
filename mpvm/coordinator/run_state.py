"""The VM's run state, published in the VM page, and which changes of it there are."""

from typing import Final

from mpvm.abi.errors import MpvmError
from mpvm.abi.layout import RunState, VmPage
from mpvm.trace.control import trace

_NEXT: Final[dict[RunState, frozenset[RunState]]] = {
    RunState.PRELAUNCH: frozenset({RunState.RUNNING, RunState.SHUTDOWN}),
    RunState.RUNNING: frozenset({RunState.PAUSED, RunState.SHUTDOWN}),
    RunState.PAUSED: frozenset({RunState.RUNNING, RunState.SHUTDOWN}),
    RunState.SHUTDOWN: frozenset(),
}

# Why a VM is stopped, for who asks: names of QAPI's RunState.
PRELAUNCH: Final = "prelaunch"
GUEST_SHUTDOWN: Final = "shutdown"
SUSPENDED: Final = "suspended"
GUEST_PANICKED: Final = "guest-panicked"


class RunStateMachine:
    """Holds the state; `set` refuses a change that makes no sense."""

    def __init__(self, page: VmPage) -> None:
        self._page = page
        self.state = RunState(page.run_state)
        self._stopped_as: str | None = None

    def set(self, state: RunState) -> None:
        """Go to `state`; staying where one is is no change. Raises `MpvmError` for an impossible one."""
        if state == self.state:
            return
        if state not in _NEXT[self.state]:
            raise MpvmError(f"the VM can't go from {self.state.name} to {state.name}")
        self.state = state
        self._stopped_as = None
        self._page.run_state = state
        trace("runstate_set", self.status)

    def stopped_as(self, status: str) -> None:
        """Say of the VM, which does not run, that it is `status`, until its state changes."""
        if status != self.status:
            self._stopped_as = status
            trace("runstate_set", status)

    @property
    def status(self) -> str:
        """The state by its name in QAPI's RunState."""
        return self._stopped_as or self.state.name.lower()

    @property
    def running(self) -> bool:
        """Whether guest code runs."""
        return self.state is RunState.RUNNING

    @property
    def suspended(self) -> bool:
        """Whether the guest sleeps in ACPI's S3."""
        return not self.running and self.status == SUSPENDED

    @property
    def needs_reset(self) -> bool:
        """Whether there is nothing that could go on before a reset (QEMU's runstate_needs_reset)."""
        return not self.running and self.status == GUEST_SHUTDOWN
