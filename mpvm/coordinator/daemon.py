"""A VM in the background (QEMU's os_daemonize and os_setup_post): its parent waits until the machine is up.

Imported where that is asked for, before anything is started that has to belong to the daemon.
"""

from __future__ import annotations

import os
import signal
from typing import Final

from mpvm.abi.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mpvm.config import Config

_READY: Final = b"\0"
_STDIO: Final = (0, 1, 2)
_TERMINAL_SIGNALS: Final = (signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN)
_UMASK: Final = 0o027


class Daemon:
    """This process in the background: it is made there, and whoever has called does not come back from it.

    That one ends with 0 when `ready` is called, and with `failure` when this process ends before it. Until
    then stdin, stdout and stderr are the caller's, for what goes wrong.
    """

    def __init__(self, failure: int = 1) -> None:
        read, self._write = os.pipe2(os.O_CLOEXEC)
        if os.fork():
            os.close(self._write)
            os._exit(0 if os.read(read, 1) == _READY else failure)
        os.close(read)
        os.setsid()
        # A second one leads no session, and so never gets a terminal.
        if os.fork():
            os._exit(0)
        os.umask(_UMASK)
        for number in _TERMINAL_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @staticmethod
    def check(config: Config, option: str) -> None:
        """Refuse, by the name of the command's `option`, a machine whose lines are at this terminal."""
        devices = (spec for device in config.devices for spec in device.chardevs().values())
        for spec in (*config.serial, config.debugcon, *config.monitor, *config.chardevs, *devices):
            if spec.kind == "stdio":
                raise ConfigError(f"cannot use stdio with {option}, null or another chardev is right")

    def ready(self) -> None:
        """The machine is up: let go of the caller, of its folder and of its terminal."""
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for fd in _STDIO:
            os.dup2(null, fd)
        os.close(null)
        os.write(self._write, _READY)
        os.close(self._write)
