"""A device and a machine of a package apart from mpvm's: importing this module registers them."""

from mpvm.hw.bus import IsaDevice
from mpvm.machine.base import register_machine
from mpvm.machine.microvm import MicroVm
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type


@register_type("isa-adder", description="adds what is written to it")
class IsaAdder(IsaDevice):
    """One port: a read gives the sum of `start` and of all bytes written since the reset."""

    user_creatable = True

    iobase = properties.uint32(0x700, "its port")
    start = properties.uint8(0, "the sum after a reset")

    def realize(self) -> None:
        """Make the port."""
        self._sum = self.start
        self._region = Region("adder", 1, self._read, self._write)

    def ports(self) -> list[tuple[int, Region]]:
        """Where the port is."""
        return [(self.iobase, self._region)]

    def reset_enter(self) -> None:
        """Begin anew."""
        self._sum = self.start

    def _read(self, _offset: int, _size: int) -> int:
        return self._sum & 0xFF

    def _write(self, _offset: int, _size: int, value: int) -> None:
        self._sum += value


@register_machine("adder", description="microvm with an adder at port 0x6f0")
class AdderMachine(MicroVm):
    """A board that has one."""

    def init(self) -> None:
        """The board, then the adder."""
        super().init()
        self.add(IsaAdder, iobase=0x6F0, start=2)
