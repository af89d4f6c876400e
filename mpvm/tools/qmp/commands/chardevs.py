"""Chardevs (QEMU's qapi/char.json)."""

from mpvm.tools.qmp.registry import command
from mpvm.tools.vm import Vm


@command("query-chardev")
def query_chardev(vm: Vm) -> list[dict[str, object]]:
    """Every chardev, by who has it, and what it is connected to."""
    return [
        {"label": each.label, "filename": each.filename, "frontend-open": True} for each in vm.chardevs.list()
    ]


@command("chardev-send-break", {"id": str})
def chardev_send_break(vm: Vm, id: str) -> None:  # noqa: A002 - QMP's name
    """A line break for whoever has the chardev."""
    vm.chardevs.send_break(id)
