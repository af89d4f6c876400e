"""QEMU's `isa-debug-exit`: a test guest ends the virtual machine with a status of its own."""

from mpvm.hw.bus import IsaDevice
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

DEBUG_EXIT_PORT = 0x501
DEBUG_EXIT_SIZE = 2


@register_type("isa-debug-exit", description="ends the run with the guest's status")
class IsaDebugExit(IsaDevice):
    """`iosize` ports from `iobase` on: writing `value` ends with ``(value << 1) | 1``; reads give 0.

    The status is always odd, so that it can't be taken for one of `mpvm run`'s own. The write is
    synchronous: the guest does not get past it.
    """

    user_creatable = True

    iobase = properties.uint32(DEBUG_EXIT_PORT, "first port")
    iosize = properties.uint32(DEBUG_EXIT_SIZE, "number of ports")

    def realize(self) -> None:
        """Make its ports."""
        self._region = Region("isa-debug-exit", self.iosize, self._read, self._write)

    def ports(self) -> list[tuple[int, Region]]:
        """Where the ports are."""
        return [(self.iobase, self._region)]

    def _read(self, offset: int, size: int) -> int:
        return 0

    def _write(self, offset: int, size: int, value: int) -> None:
        self.wiring.system.debug_exit(value << 1 | 1)
