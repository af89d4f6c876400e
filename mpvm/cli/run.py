"""`mpvm run`: one machine, in this terminal, until it ends."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mpvm.abi.errors import ConfigError, ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpvm.cli import options
    from mpvm.coordinator.daemon import Daemon
    from mpvm.coordinator.outcome import Outcome

_STDOUT = "-"
_DAEMONIZE = "--daemonize"


def main(argv: Sequence[str]) -> int:
    """Run the machine that `argv` describes; returns the guest's exit status or one of ours."""
    began_ns = time.monotonic_ns()
    if {"-h", "--help", "help"} & set(argv):
        return _run(argv, began_ns)
    # What the start makes stays: there is nothing to collect until the machine runs.
    gc.disable()
    daemon = None
    if _DAEMONIZE in argv:
        from mpvm.coordinator.daemon import Daemon

        daemon = Daemon(ExitStatus.START_FAILURE)
    # First of all: its imports take as long as all that follows here, on another CPU.
    from mpvm.coordinator import forkserver

    forkserver.start_early(detached=daemon is not None)
    try:
        return _run(argv, began_ns, daemon)
    finally:
        forkserver.stop()
        gc.enable()


def _run(argv: Sequence[str], began_ns: int, daemon: Daemon | None = None) -> int:
    from mpvm.cli import options, progress
    from mpvm.config import load_config

    arguments = options.parse(argv)
    if arguments.json not in (None, _STDOUT):
        _check_json(Path(arguments.json))
    config = load_config(arguments.config, arguments.overrides)

    from mpvm.coordinator import main as vl
    from mpvm.trace import control

    control.set_origin(began_ns)
    observer = progress.choose(sys.stderr, config.machine.smp.cpus, arguments.quiet or daemon is not None)
    if daemon is not None:
        daemon.check(config, _DAEMONIZE)
        observer.daemon = daemon
    outcome = vl.main(config, observer, owns_process=True)
    _report(outcome, arguments)
    return outcome.status


def _report(outcome: Outcome, arguments: options.RunArguments) -> None:
    from mpvm.cli import summary

    if not arguments.quiet:
        print(f"mpvm: {outcome.cause}\n{summary.table(outcome.summary)}", file=sys.stderr)
    if arguments.json is None:
        return
    text = summary.to_json(outcome)
    if arguments.json == _STDOUT:
        print(text, flush=True)
    else:
        _write(Path(arguments.json), text + "\n")


def _check_json(path: Path) -> None:
    """Refuse a file that can't be written before the machine has run for it."""
    folder = path.absolute().parent
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):  # noqa: PTH112
        raise ConfigError(
            f"--json: {path} can't be written, a file in a folder that you can write to is right"
        )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise ConfigError(f"--json: {path}: {error.strerror}, a file that can be written is right") from error
