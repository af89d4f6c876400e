"""What the fork server's child runs first: it loads the worker by name and becomes it.

Nothing else is here, and nothing heavy is imported: every worker imports this module.
"""

import faulthandler
import importlib
import os
import signal
import sys
from multiprocessing import reduction
from pathlib import Path
from typing import Any, Final

# The terminal's signals go to the whole process group; only the coordinator acts on them, and a
# worker ends when the coordinator says so or is gone.
_COORDINATORS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _detach(handle: Any) -> int:
    fd: int = handle.detach()
    return fd


class InheritedFd:
    """A descriptor as a process argument: the child gets the number of its own duplicate."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _detach, (reduction.DupFd(self.fd),)


def stderr_path(runtime_dir: str, index: int) -> Path:
    """The file that holds what vCPU `index` writes to its stderr."""
    return Path(runtime_dir) / f"vcpu{index}.stderr"


def run_worker(module: str, index: int, runtime_dir: str, arguments: dict[str, Any]) -> None:
    """Call ``module.main(index=..., runtime_dir=..., **arguments)`` and exit with what it returns.

    stderr goes to a file of its own.
    """
    for number in _COORDINATORS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    path = stderr_path(runtime_dir, index)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 2)
    os.close(fd)
    faulthandler.enable(all_threads=False)
    sys.exit(importlib.import_module(module).main(index=index, runtime_dir=runtime_dir, **arguments))
