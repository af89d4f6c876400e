"""A person's monitor at a chardev. Imported where there is one: few machines have one."""

from typing import Final

from mpvm.coordinator.chardev.mux import MuxFrontEnd
from mpvm.hw.char.chardev import Chardev
from mpvm.tools.hmp.monitor import open_session
from mpvm.tools.vm import Vm

# Keys that a monitor takes at once.
_ROOM: Final = 4096


def open_monitor(vm: Vm, chardev: Chardev) -> None:
    """Have a monitor of `vm` at `chardev`."""
    session = open_session(vm, chardev.write)
    chardev.connect(session.receive, lambda: _ROOM, None, session.opened)
    if isinstance(chardev, MuxFrontEnd):
        chardev.focused = session.focused
        session.has_focus = chardev.has_focus
    if chardev.is_open:
        session.opened(True)
