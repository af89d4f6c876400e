"""Which changes of the run state there are."""

import pytest

from mpvm.abi.errors import MpvmError
from mpvm.abi.layout import RunState, VmPage
from mpvm.coordinator.run_state import RunStateMachine

ALLOWED = {
    (RunState.PRELAUNCH, RunState.RUNNING),
    (RunState.RUNNING, RunState.PAUSED),
    (RunState.PAUSED, RunState.RUNNING),
    (RunState.PRELAUNCH, RunState.SHUTDOWN),
    (RunState.RUNNING, RunState.SHUTDOWN),
    (RunState.PAUSED, RunState.SHUTDOWN),
    *((state, state) for state in RunState),
}


@pytest.mark.parametrize("old", RunState)
@pytest.mark.parametrize("new", RunState)
def test_only_the_changes_that_make_sense_are_taken(old: RunState, new: RunState) -> None:
    page = VmPage(run_state=old)
    machine = RunStateMachine(page)
    if (old, new) in ALLOWED:
        machine.set(new)
        assert page.run_state == new
        assert machine.running == (new is RunState.RUNNING)
    else:
        with pytest.raises(MpvmError, match=f"from {old.name} to {new.name}"):
            machine.set(new)
        assert page.run_state == old


def test_a_stopped_vm_says_why_until_its_state_changes() -> None:
    machine = RunStateMachine(VmPage(run_state=RunState.PAUSED))
    assert (machine.status, machine.needs_reset) == ("paused", False)
    machine.stopped_as("shutdown")
    assert (machine.status, machine.needs_reset) == ("shutdown", True)
    machine.stopped_as("prelaunch")
    assert (machine.status, machine.needs_reset) == ("prelaunch", False)
    machine.set(RunState.RUNNING)
    assert machine.status == "running"
