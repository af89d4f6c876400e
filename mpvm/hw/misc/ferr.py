"""The PC/AT's latch of floating-point errors (SDM vol. 1, 8.7, appendix D): FERR# is interrupt 13."""

from typing import Any

from mpvm.hw.bus import IsaDevice
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

FERR_PORT = 0xF0
_FLOATING = 0xFF


@register_type("ferr", description="the latch of floating-point errors, port 0xf0")
class FerrLatch(IsaDevice):
    """Raises `irq` when a vCPU asserts FERR#. A write to port 0xf0 lowers it, and is the vCPU's IGNNE#."""

    irq = properties.uint8(13, "ISA interrupt")

    def realize(self) -> None:
        """No error."""
        self._line = self.wiring.line(self.irq)
        self._region = Region("ferr", 1, lambda offset, size: _FLOATING, self._write)

    def ports(self) -> list[tuple[int, Region]]:
        """Where the port is."""
        return [(FERR_PORT, self._region)]

    def reset_hold(self) -> None:
        """No error."""
        self._line.set(0)

    def assert_error(self) -> None:
        """FERR# has gone low."""
        self._line.set(1)

    def _write(self, offset: int, size: int, value: int) -> None:
        self._line.set(0)

    def state(self) -> dict[str, Any]:
        """The line."""
        return {"irq": self._line.level}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state` and drive the line to match."""
        self._line.set(state["irq"])
