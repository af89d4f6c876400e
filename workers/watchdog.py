"""A worker dies with its coordinator, however that dies, and leaves nothing behind."""

import os
import select
import signal
import threading


def watch(coordinator_pid: int, runtime_dir: str) -> None:
    """Start the thread that ends this process when the coordinator is gone.

    The thread blocks all signals, so that kicks reach the thread that runs the engine.
    """
    pidfd = os.pidfd_open(coordinator_pid)
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        threading.Thread(target=_wait, args=(pidfd, runtime_dir), name="watchdog", daemon=True).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _wait(pidfd: int, runtime_dir: str) -> None:
    select.select([pidfd], [], [])
    # Imported here: every worker would pay for it at start.
    import shutil

    shutil.rmtree(runtime_dir, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)
