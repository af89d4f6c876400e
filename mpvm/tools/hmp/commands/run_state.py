"""Whether the guest runs, and what a person does to a machine from outside."""

from typing import Any, cast

from mpvm.tools.hmp.registry import UsageError, command, info
from mpvm.tools.hmp.session import HmpSession


@command("stop|s", "", "stop emulation")
def stop(session: HmpSession, _rest: str) -> None:
    """Pause every vCPU."""
    session.qmp("stop")


@command("cont|c", "", "resume emulation")
def cont(session: HmpSession, _rest: str) -> None:
    """Let a stopped VM go on."""
    session.qmp("cont")


@command("system_reset", "", "reset the system")
def system_reset(session: HmpSession, _rest: str) -> None:
    """Restart the machine."""
    session.qmp("system_reset")


@command("system_powerdown", "", "send system power down event")
def system_powerdown(session: HmpSession, _rest: str) -> None:
    """Press the power button."""
    session.qmp("system_powerdown")


@command("system_wakeup", "", "wakeup guest from suspend")
def system_wakeup(session: HmpSession, _rest: str) -> None:
    """Wake a guest that sleeps."""
    session.qmp("system_wakeup")


@command("nmi", "", "inject an NMI")
def nmi(session: HmpSession, _rest: str) -> None:
    """Drive the board's NMI line."""
    session.qmp("inject-nmi")


@command("watchdog_action", "[reset|shutdown|poweroff|pause|debug|none]", "change watchdog action")
def watchdog_action(session: HmpSession, rest: str) -> None:
    """What a watchdog leads to."""
    if not rest:
        raise UsageError("watchdog_action: an action is missing")
    session.qmp("set-action", watchdog=rest)


@info("status", "", "show the current VM status (running|paused)")
def status(session: HmpSession, _rest: str) -> None:
    """The run state, with why the VM is stopped."""
    state = cast(dict[str, Any], session.qmp("query-status"))
    word = "running" if state["running"] else "paused"
    why = "" if state["running"] or state["status"] == "paused" else f" ({state['status']})"
    session.line(f"VM status: {word}{why}")


@info("name", "", "show the current VM name")
def name(session: HmpSession, _rest: str) -> None:
    """The guest's name, nothing where it has none."""
    found = cast(dict[str, str], session.qmp("query-name"))
    if "name" in found:
        session.line(found["name"])


@info("uuid", "", "show the current VM UUID")
def uuid(session: HmpSession, _rest: str) -> None:
    """The machine's UUID."""
    session.line(cast(dict[str, str], session.qmp("query-uuid"))["UUID"])


@info("version", "", "show the version")
def version(session: HmpSession, _rest: str) -> None:
    """The version, of mpvm."""
    found = cast(dict[str, Any], session.qmp("query-version"))
    numbers = found["qemu"]
    session.line(f"{numbers['major']}.{numbers['minor']}.{numbers['micro']}{found['package']}")


@info("kvm", "", "show KVM information")
def kvm(session: HmpSession, _rest: str) -> None:
    """Whether KVM runs the guest."""
    found = cast(dict[str, bool], session.qmp("query-kvm"))
    words = "enabled" if found["enabled"] else "disabled" if found["present"] else "not compiled"
    session.line(f"kvm support: {words}")


@info("chardev", "", "show the character devices")
def chardev(session: HmpSession, _rest: str) -> None:
    """Every chardev, and what it is connected to."""
    for each in cast(list[dict[str, str]], session.qmp("query-chardev")):
        session.line(f"{each['label']}: filename={each['filename']}")
