"""Entry point of `mpvm-system-x86_64`: from an argv as QEMU takes it to an exit status as QEMU has it."""

from __future__ import annotations

import gc
import sys
import time

from mpvm.abi.errors import BootImageError, MpvmError
from mpvm.cli.system import command_line
from mpvm.cli.system.command_line import CommandLine
from mpvm.cli.system.options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from mpvm.config import Config
    from mpvm.coordinator.daemon import Daemon

PROGRAM = "mpvm-system-x86_64"
# QEMU's: all that keeps a machine from running ends with 1.
FAILURE = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run what `argv` (default: the process's own) describes; returns the exit status (docs/system.md)."""
    line = CommandLine()
    try:
        return _main(line, sys.argv[1:] if argv is None else argv)
    except BootImageError as error:
        print(_image_problem(error, line), file=sys.stderr)
    except MpvmError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
    except BrokenPipeError:
        # Nobody reads our output any more; the interpreter's last flush must not complain either.
        sys.stdout = None
    except Exception:
        # A defect of ours.
        import traceback

        traceback.print_exc()
    return FAILURE


def process() -> NoReturn:
    """A whole process: `main` and then its end."""
    from mpvm.cli.main import process as whole_process

    whole_process(main)


def _main(line: CommandLine, argv: Sequence[str]) -> int:
    began_ns = time.monotonic_ns()
    for option, value in command_line.read(argv, OPTIONS):
        option.translate(line, f"-{option.name}", value)
    line.finish()
    if line.print_config:
        from mpvm.cli.system import config_text

        _load(line)
        sys.stdout.write(config_text.text(line))
        return 0
    # What the start makes stays: there is nothing to collect until the machine runs.
    gc.disable()
    daemon = None
    if line.daemonize:
        # First: all that follows belongs to it.
        from mpvm.coordinator.daemon import Daemon

        daemon = Daemon(FAILURE)
    try:
        if not line.has_kernel():
            # Nothing is going to run: that there is no kernel is all that a probe wants to hear.
            return _run(line, daemon, began_ns)

        from mpvm.coordinator import forkserver

        # Its imports take as long as all that follows here, on another CPU.
        forkserver.start_early(detached=daemon is not None)
        try:
            return _run(line, daemon, began_ns)
        finally:
            forkserver.stop()
    finally:
        gc.enable()


def _run(line: CommandLine, daemon: Daemon | None, began_ns: int) -> int:
    from mpvm.cli.system import devices
    from mpvm.cli.system.observer import Messages, feature_warning

    messages = Messages(PROGRAM)
    for feature in line.refused:
        messages.warning(feature_warning(feature, "unicorn"))
    devices.drop_unknown_globals(line, messages.warning)
    config = _load(line)
    if daemon is not None:
        daemon.check(config, "-daemonize")
        messages.daemon = daemon

    from mpvm.coordinator import main as vl
    from mpvm.trace import control

    control.set_origin(began_ns)
    outcome = vl.main(config, messages, owns_process=True)
    return outcome.qemu_status(config.action.panic)


def _load(line: CommandLine) -> Config:
    """The configuration; a kernel that is not there is told after all else that is wrong, as QEMU does."""
    from mpvm.cli.system import images
    from mpvm.config import load_config

    images.modules(line)
    overrides = line.overrides()
    try:
        return load_config(None, overrides)
    except BootImageError:
        images.check_without(overrides)
        raise


def _image_problem(error: BootImageError, line: CommandLine) -> str:
    """The line for an image that can't be booted; for a kernel in QEMU's words, which scripts look for."""
    if error.what != "kernel":
        return f"{PROGRAM}: {error}"
    return f"qemu: could not load kernel '{line.values['boot.kernel']}': {error.problem}"
