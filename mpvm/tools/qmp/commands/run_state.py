"""Whether the guest runs, and what a person does to a machine from outside (QEMU's qapi/run-state.json)."""

from mpvm.abi.errors import CommandError
from mpvm.config.types import ACTIONS
from mpvm.tools.qmp.registry import command
from mpvm.tools.vm import Vm


@command("query-status")
def query_status(vm: Vm) -> dict[str, object]:
    """The run state."""
    return {"status": vm.run_state.status, "running": vm.run_state.running}


@command("query-name")
def query_name(vm: Vm) -> dict[str, object]:
    """The guest's name; without the member `name` where it has none."""
    return {"name": vm.config.name} if vm.config.name else {}


@command("stop")
def stop(vm: Vm) -> None:
    """Pause every vCPU; no change where they are."""
    vm.run_control.stop()


@command("cont")
def cont(vm: Vm) -> None:
    """Let a stopped VM go on; no change where it runs."""
    vm.run_control.cont()


@command("system_reset")
def system_reset(vm: Vm) -> None:
    """Restart the machine."""
    vm.run_control.system_reset()


@command("system_wakeup")
def system_wakeup(vm: Vm) -> None:
    """Wake a guest that has suspended to RAM."""
    vm.run_control.system_wakeup()


@command("system_powerdown")
def system_powerdown(vm: Vm) -> None:
    """Ask the guest to switch itself off."""
    vm.system_powerdown()


@command("set-action", optional=dict.fromkeys(ACTIONS, str))
def set_action(vm: Vm, **actions: str) -> None:
    """What is done from now on when the guest resets, shuts down or panics, or a watchdog fires."""
    for event, action in actions.items():
        if action not in ACTIONS[event]:
            right = " or ".join(ACTIONS[event])
            raise CommandError(f"set-action: {event}: {action} is unknown, {right} is right")
    vm.run_control.actions = vm.run_control.actions._replace(**actions)


@command("query-uuid")
def query_uuid(vm: Vm) -> dict[str, object]:
    """The machine's UUID."""
    return {"UUID": vm.config.uuid or "00000000-0000-0000-0000-000000000000"}
