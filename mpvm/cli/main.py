"""Entry point of `mpvm`: finds the subcommand and turns errors into one line and an exit status.

What is imported here is paid for before the fork server starts, so it is next to nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

from mpvm.abi.errors import ConfigError, ExitStatus, MpvmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

# Each is a module of mpvm.cli with a function `main(argv) -> int`.
COMMANDS = {
    "run": "run a virtual machine in this terminal",
    "qom": "look at the objects of a running virtual machine, and set their properties",
    "cpu": "list, show and compare CPU models",
    "types": "list the types of machines, devices and accelerators",
    "version": "print the versions of mpvm and of what it stands on",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mpvm` with `argv` (default: the process's own); returns its exit status (docs/exit-status.md)."""
    try:
        return int(_dispatch(sys.argv[1:] if argv is None else argv))
    except MpvmError as error:
        return fail(error)
    except BrokenPipeError:
        # Nobody reads our output any more; the interpreter's last flush must not complain either.
        sys.stdout = None
        return ExitStatus.INTERNAL_ERROR
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except Exception:
        # A defect of ours. Python's own status for it, 1, could be a guest's.
        import traceback

        traceback.print_exc()
        return ExitStatus.INTERNAL_ERROR


def process(main: Callable[[], int] = main) -> NoReturn:
    """A whole process: `main` and then its end, without taking apart piece by piece what goes with it.

    That would be some 10 ms, a tenth of a short run. Whoever has something to tidy up does so in `main`.
    """
    import os

    status = main()
    for stream in (sys.stdout, sys.stderr):
        # Where nobody reads any more: `main` has turned that into a status, or it comes too late to matter.
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.flush()
    os._exit(status)


def fail(error: MpvmError) -> int:
    """Print `error` as the one line a user sees, and return its exit status."""
    print(f"mpvm: {error}", file=sys.stderr)
    return error.exit_status


def _dispatch(argv: Sequence[str]) -> int:
    command, *rest = argv or ["--help"]
    if command in ("-h", "--help"):
        print(_help())
        return ExitStatus.OK
    if command == "--version":
        command = "version"
    if command not in COMMANDS:
        raise ConfigError(f"{command}: no such command, {' or '.join(COMMANDS)} is right")
    module = importlib.import_module(f"mpvm.cli.{command}")
    return int(module.main(rest))


def _help() -> str:
    lines = ["usage: mpvm COMMAND ...", "", "An x86 SMP virtual machine whose every vCPU is a process.", ""]
    lines += [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    lines += ["", "`mpvm COMMAND --help` says more."]
    return "\n".join(lines)
