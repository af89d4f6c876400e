"""System control port A of the PS/2 (IBM PS/2 Hardware Interface Technical Reference): fast reset and A20."""

from collections.abc import Callable
from enum import IntFlag
from typing import Any

from mpvm.hw.bus import IsaDevice
from mpvm.hw.misc.a20 import no_gate
from mpvm.memory.region import Region
from mpvm.qom.type_info import register_type

PORT92 = 0x92


class SystemControl(IntFlag):
    """Bits of port 0x92."""

    FAST_RESET = 0x01
    A20_GATE = 0x02


# Firmware hands over with A20 open.
_RESET_VALUE = int(SystemControl.A20_GATE)


@register_type("port92", description="system control port A: fast reset and A20")
class Port92(IsaDevice):
    """Port 0x92. A rising FAST_RESET asks for a reset, A20_GATE drives `set_a20` (an `A20Gate` input)."""

    set_a20: Callable[[bool], None] = staticmethod(no_gate)

    def realize(self) -> None:
        """A20 open, no reset asked for."""
        self._value = _RESET_VALUE
        self._region = Region("port92", 1, self._read, self._write)

    def ports(self) -> list[tuple[int, Region]]:
        """Where the port is."""
        return [(PORT92, self._region)]

    def reset_enter(self) -> None:
        """No reset asked for."""
        self._value = _RESET_VALUE

    def reset_hold(self) -> None:
        """A20 open."""
        self.set_a20(True)

    def _read(self, offset: int, size: int) -> int:
        return self._value

    def _write(self, offset: int, size: int, value: int) -> None:
        starts = value & ~self._value & SystemControl.FAST_RESET
        self._value = value & (SystemControl.FAST_RESET | SystemControl.A20_GATE)
        self.set_a20(bool(value & SystemControl.A20_GATE))
        if starts:
            self.wiring.system.request_reset()

    def state(self) -> dict[str, Any]:
        """The port's value."""
        return {"value": int(self._value)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state` and drive A20 to match."""
        self._value = state["value"]
        self.set_a20(bool(self._value & SystemControl.A20_GATE))
