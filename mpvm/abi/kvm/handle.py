"""What the handles of `/dev/kvm`, a VM, a vCPU and a device have in common."""

import ctypes
import os
from typing import Any, Final, Self

from mpvm.abi.kvm.constants import Cap
from mpvm.abi.kvm.ioctl import Ioctl

# The one of `fcntl` takes numbers of 31 bits only.
_ioctl: Final = ctypes.CDLL(None, use_errno=True).ioctl
_ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)


class Handle:
    """A file descriptor and its ioctls. Closed by `close` or at the end of a ``with``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return self._fd

    def ioctl(self, number: Ioctl, argument: Any = 0) -> int:
        """Call `number` with an integer or a structure, which the kernel may change; its result.

        Raises `OSError` with the kernel's errno, and the ioctl's name where a file's would be.
        """
        word = argument if isinstance(argument, int) else ctypes.addressof(argument)
        result = int(_ioctl(self._fd, number, word))
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), f"KVM_{number.name}")
        return result

    def close(self) -> None:
        """Close the descriptor; a second time is nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Extensible(Handle):
    """A handle that can be asked for capabilities."""

    def check_extension(self, cap: Cap | int) -> int:
        """0 when it lacks `cap`; else 1, or a number that `cap` defines."""
        return self.ioctl(Ioctl.CHECK_EXTENSION, int(cap))
