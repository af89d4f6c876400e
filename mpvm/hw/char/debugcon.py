"""The debug console of Bochs and QEMU: a byte written to port 0xe9 is a character of output."""

from mpvm.hw.bus import IsaDevice
from mpvm.hw.char.chardev import NullChardev, chardev_property
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

DEBUGCON_PORT = 0xE9
# A read that gives the port's own number tells a guest that the console is there.
READBACK = 0xE9


@register_type("isa-debugcon", description="debug console")
class DebugCon(IsaDevice):
    """Port `iobase`: writes go to `chardev`, reads give `readback`. It has no state."""

    user_creatable = True

    iobase = properties.uint32(DEBUGCON_PORT, "its port")
    readback = properties.uint32(READBACK, "what a read gives")
    chardev = chardev_property("where the characters go")

    def realize(self) -> None:
        """Connect to the chardev."""
        self._chardev = self.chardev or NullChardev()
        self._region = Region(
            "debugcon",
            1,
            self._read,
            self._write,
            posted=frozenset((0,)),
            strings={0: self._chardev.write},
        )

    def ports(self) -> list[tuple[int, Region]]:
        """Where the console is."""
        return [(self.iobase, self._region)]

    def _read(self, offset: int, size: int) -> int:
        return self.readback

    def _write(self, offset: int, size: int, value: int) -> None:
        self._chardev.write(bytes((value & 0xFF,)))
