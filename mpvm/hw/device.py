"""What devices are made of: a `Device` of the object model, and IRQ lines as its outputs (hw/core/irq.c)."""

from collections.abc import Callable

from mpvm.qom.qdev import Device

__all__ = ["Device", "IrqLine", "SharedWire"]


class IrqLine:
    """A wire from a device to an interrupt controller's input. Level 0 or 1; idempotent."""

    __slots__ = ("_sink", "level")

    def __init__(self, sink: Callable[[int], None] | None = None) -> None:
        self._sink = sink
        self.level = 0

    def set(self, level: int) -> None:
        """Drive the wire to `level`; the sink hears of it only when it changes."""
        if level != self.level:
            self.level = level
            if self._sink is not None:
                self._sink(level)

    def raise_(self) -> None:
        """Drive the wire high."""
        self.set(1)

    def lower(self) -> None:
        """Drive the wire low."""
        self.set(0)

    def pulse(self) -> None:
        """One edge: low, high, low."""
        self.set(0)
        self.set(1)
        self.set(0)

    def connect(self, sink: Callable[[int], None]) -> None:
        """Attach the other end; it hears the present level when that is high."""
        self._sink = sink
        if self.level:
            sink(self.level)


class SharedWire:
    """A wire that several devices drive: high while any of them drives it high."""

    def __init__(self, sink: Callable[[int], None]) -> None:
        self._out = IrqLine(sink)
        self._high = 0
        self._closed = False

    def input(self) -> IrqLine:
        """A new line onto the wire."""
        return IrqLine(self._drive)

    def _drive(self, level: int) -> None:
        self._high += 1 if level else -1
        self._settle()

    def set_closed(self, closed: bool) -> None:
        """Hold the wire low, whoever drives it, while it is `closed`."""
        self._closed = closed
        self._settle()

    def _settle(self) -> None:
        self._out.set(int(self._high > 0 and not self._closed))
