"""The fork server that workers come from: started first of all, so that its imports run beside ours."""

import atexit
import contextlib
import multiprocessing
import multiprocessing.forkserver
import signal
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from multiprocessing import process

from mpvm.abi.errors import ExitStatus
from mpvm.coordinator.runtime_dir import RuntimeDir

# Pure imports: an engine or a ZeroMQ context is never made before a fork.
PRELOAD = ("mpvm.coordinator.trampoline", "workers.vcpu")

_runtime_dir: RuntimeDir | None = None


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Hide `__main__` from multiprocessing, which would import the command line again in each worker."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


# Until a running VM puts its own handlers in the place of these.
_STATUS = {
    signal.SIGINT: ExitStatus.INTERRUPTED,
    signal.SIGTERM: ExitStatus.TERMINATED,
    signal.SIGHUP: ExitStatus.TERMINATED,
}


def _end(number: int, _frame: object) -> None:
    # SystemExit, so that atexit's handlers run, and without a traceback.
    sys.exit(_STATUS[signal.Signals(number)])


def start_early(preload: Sequence[str] = PRELOAD) -> None:
    """Start the fork server and do not wait for it. Calling again, or not at all, is harmless."""
    global _runtime_dir
    if _runtime_dir is not None:
        return
    _runtime_dir = RuntimeDir()
    atexit.register(stop)
    if threading.current_thread() is threading.main_thread():
        for number in _STATUS:
            signal.signal(number, _end)
    # multiprocessing keeps the server's socket in a directory that nobody removes when this process is
    # killed; in the runtime directory it goes with the VM.
    process.current_process()._config["tempdir"] = str(_runtime_dir.path)  # type: ignore[attr-defined]
    with hidden_main():
        multiprocessing.set_forkserver_preload(list(preload))
        multiprocessing.forkserver.ensure_running()


def take_runtime_dir() -> RuntimeDir:
    """The runtime directory that holds the fork server's socket; whoever takes it removes it by `stop`."""
    start_early()
    assert _runtime_dir is not None
    return _runtime_dir


def stop() -> None:
    """End the fork server and remove the runtime directory, when there is one. All workers have ended."""
    global _runtime_dir
    if _runtime_dir is None:
        return
    atexit.unregister(stop)
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
    process.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]
    _runtime_dir.remove()
    _runtime_dir = None
