"""The monitor's own commands."""

from mpvm.tools.hmp.registry import COMMANDS, INFO, HmpCommand, command, entries
from mpvm.tools.hmp.session import HmpSession


def _show(session: HmpSession, entry: HmpCommand, before: str = "") -> None:
    session.line(f"{before}{'|'.join(entry.names)} {entry.parameters} -- {entry.help}")


@command("help|?", "[cmd]", "show the help")
def help_(session: HmpSession, rest: str) -> None:
    """All commands, or one."""
    name, _, more = rest.partition(" ")
    if name == "info":
        found = [INFO[more]] if more in INFO else entries(INFO)
        for entry in found:
            _show(session, entry, "info ")
        return
    for entry in entries(COMMANDS):
        if not name or name in entry.names:
            _show(session, entry)


@command("info", "[subcommand]", "show various information about the system state")
def info_(session: HmpSession, _rest: str) -> None:
    """What there is to show; what is asked for by its name is shown by the session."""
    help_(session, "info")


@command("quit|q", "", "quit the emulator")
def quit_(session: HmpSession, _rest: str) -> None:
    """End the run."""
    session.qmp("quit")
