"""QEMU's `isa-debug-exit`: a test guest ends the virtual machine with a status of its own."""

from collections.abc import Callable
from typing import Any

from mpvm.hw.device import Device
from mpvm.memory.region import Region

DEBUG_EXIT_PORT = 0xF4
DEBUG_EXIT_SIZE = 4


class IsaDebugExit(Device):
    """Ports `base` to `base + size - 1`: writing `value` calls ``exit((value << 1) | 1)``; reads give 0.

    The status is always odd, so that it can't be taken for one of `mpvm run`'s own. The write is
    synchronous: the guest does not get past it.
    """

    type_name = "isa-debug-exit"

    def __init__(
        self,
        exit: Callable[[int], None],  # noqa: A002  (what the device is for)
        base: int = DEBUG_EXIT_PORT,
        size: int = DEBUG_EXIT_SIZE,
    ) -> None:
        self._exit = exit
        self._base = base
        self._region = Region("isa-debug-exit", size, self._read, self._write)

    def ports(self) -> list[tuple[int, Region]]:
        """Where the ports are."""
        return [(self._base, self._region)]

    def _read(self, offset: int, size: int) -> int:
        return 0

    def _write(self, offset: int, size: int, value: int) -> None:
        self._exit(value << 1 | 1)

    def reset(self) -> None:
        """Nothing to reset."""

    def state(self) -> dict[str, Any]:
        """No state."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""
