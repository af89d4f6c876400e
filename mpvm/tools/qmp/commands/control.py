"""The protocol's own commands (QEMU's qapi/control.json)."""

from mpvm.abi.errors import CommandError
from mpvm.tools.qmp.registry import COMMANDS, command
from mpvm.tools.qmp.version import version
from mpvm.tools.vm import Vm


@command("qmp_capabilities", optional={"enable": list})
def qmp_capabilities(_vm: Vm, enable: list[object] | None = None) -> None:
    """End the negotiation. There are no capabilities to enable."""
    if enable:
        raise CommandError(f"qmp_capabilities: capability {enable[0]!r} is unknown, none is right")


@command("query-version")
def query_version(_vm: Vm) -> dict[str, object]:
    """The version, as in the greeting."""
    return version()


@command("query-commands")
def query_commands(_vm: Vm) -> list[dict[str, object]]:
    """Every command there is."""
    return [{"name": name} for name in sorted(COMMANDS)]


@command("quit")
def quit_(vm: Vm) -> None:
    """End the run; the response comes first."""
    vm.system_quit()
