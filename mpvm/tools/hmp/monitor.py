"""How whoever has a chardev for it makes a monitor."""

from collections.abc import Callable

from mpvm.tools.hmp import commands  # noqa: F401 - registers them
from mpvm.tools.hmp.session import HmpSession
from mpvm.tools.qmp import commands as qmp_commands  # noqa: F401 - registers them
from mpvm.tools.vm import Vm


def open_session(vm: Vm, write: Callable[[bytes], None]) -> HmpSession:
    """A session whose output `write` takes, with all commands."""
    return HmpSession(vm, write)
