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


class RunStateMachine:
    """Holds the state; `set` refuses a change that makes no sense."""

    def __init__(self, page: VmPage) -> None:
        self._page = page
        self.state = RunState(page.run_state)

    def set(self, state: RunState) -> None:
        """Go to `state`; staying where one is is no change. Raises `MpvmError` for an impossible one."""
        if state == self.state:
            return
        if state not in _NEXT[self.state]:
            raise MpvmError(f"the VM can't go from {self.state.name} to {state.name}")
        self.state = state
        self._page.run_state = state
        trace("runstate_set", state.name.lower())

    @property
    def running(self) -> bool:
        """Whether guest code runs."""
        return self.state is RunState.RUNNING
