"""What the fork server's child runs first: it loads the worker by name and becomes it.

Nothing else is here, and nothing heavy is imported: every worker imports this module.
"""

import faulthandler
import importlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

# The terminal's signals go to the whole process group; only the coordinator acts on them, and a
# worker ends when the coordinator says so or is gone.
_COORDINATORS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def ignore_the_coordinators_signals() -> None:
    """Leave the signals that end a run to the coordinator; unblocks them."""
    for number in _COORDINATORS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _COORDINATORS_SIGNALS)


def stderr_path(runtime_dir: str, index: int) -> str:
    """The file that holds what vCPU `index` writes to its stderr."""
    return f"{runtime_dir}/vcpu{index}.stderr"


def run_worker(module: str, index: int, runtime_dir: str, arguments: Mapping[str, Any]) -> NoReturn:
    """Call ``module.main(index=..., runtime_dir=..., **arguments)`` and exit with what it returns.

    stderr goes to a file of its own; a worker that logs (`log_mask`) is also told where it went before, as
    `log_stderr`. Never returns into the fork server, whose copy this process is.
    """
    status = 1
    try:
        path = stderr_path(runtime_dir, index)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if arguments.get("log_mask"):
            arguments = {**arguments, "log_stderr": os.dup(2)}
        os.dup2(fd, 2)
        os.close(fd)
        faulthandler.enable(all_threads=False)
        status = importlib.import_module(module).main(index=index, runtime_dir=runtime_dir, **arguments)
    except BaseException:  # the server must not see it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)
