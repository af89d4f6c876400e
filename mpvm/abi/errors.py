"""Every exception class and every exit status of `mpvm`.

A message is one line: what happened, where, and what would be right. `mpvm run` prints it after
"mpvm: " and ends with the class's `exit_status`. Its own statuses are even where they can be, the
guest's (isa-debug-exit: ``(value << 1) | 1``) are odd, so that they do not collide.
"""

from enum import IntEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """Exit statuses of `mpvm run` that are not the guest's own (docs/exit-status.md)."""

    OK = 0
    BAD_CONFIGURATION = 2
    START_FAILURE = 4
    GUEST_CRASH = 6
    INTERNAL_ERROR = 8
    TIME_LIMIT = 124
    INTERRUPTED = 130
    TERMINATED = 143


class MpvmError(Exception):
    """Base of every error that a user sees as one line."""

    exit_status: ExitStatus = ExitStatus.INTERNAL_ERROR


class ConfigError(MpvmError):
    """A configuration value, file or command-line option is wrong."""

    exit_status = ExitStatus.BAD_CONFIGURATION


class BootImageError(ConfigError):
    """A kernel, initrd or module can't be read or is not what its boot protocol takes.

    `what` is which of them, `problem` what is wrong with it: the text without who and where.
    """

    def __init__(self, text: str, what: str, problem: str) -> None:
        super().__init__(text)
        self.what = what
        self.problem = problem


class StartError(MpvmError):
    """The machine could not be brought up: no memory, no worker, no accelerator."""

    exit_status = ExitStatus.START_FAILURE


class EngineVersionError(StartError):
    """The installed `unicorn` is not one whose internals the engine core knows."""


class WorkerError(MpvmError):
    """A worker died, fell silent or reported a failure."""

    exit_status = ExitStatus.INTERNAL_ERROR


class GuestCrash(MpvmError):  # noqa: N818
    """The guest shut down by a triple fault."""

    exit_status = ExitStatus.GUEST_CRASH


class ProtocolError(MpvmError):
    """A wire message is truncated, oversized, of another version or of the wrong shape."""


class CallbackError(MpvmError):
    """A function that was attached to an exit failed, or was attached to what can't be."""


class DeviceError(MpvmError):
    """A device was wired or driven in a way its data sheet does not know (a defect in the machine model)."""


class ObjectTypeError(ConfigError):
    """There is no type of this name, or it is abstract, or not of the kind that is asked for."""


class PropertyError(ConfigError):
    """An object has no such property, or it can't be set, or not to this value."""


class PathError(ConfigError):
    """A path leads to no object of the composition tree, or to more than one."""


class CastError(MpvmError):
    """An object is not of the type that its user takes it for (a defect)."""


class CommandError(MpvmError):
    """A command of the monitor can't be carried out. `qmp_class` is QMP's name for the kind of error."""

    exit_status = ExitStatus.BAD_CONFIGURATION
    qmp_class: ClassVar[str] = "GenericError"


class CommandNotFoundError(CommandError):
    """There is no such command, or not at this time."""

    qmp_class = "CommandNotFound"


class DeviceNotFoundError(CommandError):
    """No device, and no other object, has the name or path that the command gives."""

    qmp_class = "DeviceNotFound"
