"""The debug console of Bochs and QEMU: a byte written to port 0xe9 is a character of output."""

from typing import Any

from mpvm.hw.char.chardev import Chardev
from mpvm.hw.device import Device
from mpvm.memory.region import Region

DEBUGCON_PORT = 0xE9
# A read that gives the port's own number tells a guest that the console is there.
READBACK = 0xE9


class DebugCon(Device):
    """Port `base`: writes go to `chardev`, reads give 0xe9. It has no state."""

    type_name = "isa-debugcon"

    def __init__(self, chardev: Chardev, base: int = DEBUGCON_PORT) -> None:
        self._chardev = chardev
        self._base = base
        self._region = Region("debugcon", 1, self._read, self._write, posted=frozenset((0,)))

    def ports(self) -> list[tuple[int, Region]]:
        """Where the console is."""
        return [(self._base, self._region)]

    def _read(self, offset: int, size: int) -> int:
        return READBACK

    def _write(self, offset: int, size: int, value: int) -> None:
        self._chardev.write(bytes((value & 0xFF,)))

    def reset(self) -> None:
        """Nothing to reset."""

    def state(self) -> dict[str, Any]:
        """No state."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""
