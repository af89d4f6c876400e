"""Whether the guest runs, and what a person does to a machine from outside (QEMU's qapi/run-state.json)."""

from typing import Final

from mpvm.abi.layout import RunState
from mpvm.tools.qmp.registry import command
from mpvm.tools.vm import Vm

_NAMES: Final = {
    RunState.PRELAUNCH: "prelaunch",
    RunState.RUNNING: "running",
    RunState.PAUSED: "paused",
    RunState.SHUTDOWN: "shutdown",
}


@command("query-status")
def query_status(vm: Vm) -> dict[str, object]:
    """The run state."""
    state = vm.run_state
    return {"status": _NAMES[state], "running": state is RunState.RUNNING}


@command("query-name")
def query_name(vm: Vm) -> dict[str, object]:
    """The guest's name; without the member `name` where it has none."""
    return {"name": vm.config.name} if vm.config.name else {}


@command("stop")
def stop(vm: Vm) -> None:
    """Pause every vCPU; no change where they are."""
    vm.stop()


@command("cont")
def cont(vm: Vm) -> None:
    """Let a stopped VM go on; no change where it runs."""
    vm.cont()


@command("system_reset")
def system_reset(vm: Vm) -> None:
    """Restart the machine."""
    vm.system_reset()


@command("system_powerdown")
def system_powerdown(vm: Vm) -> None:
    """Ask the guest to switch itself off."""
    vm.system_powerdown()
