"""What every device is made of: IRQ lines as outputs, and reset and state.

A device is a state machine. It does no I/O of its own, starts no thread and knows neither the
coordinator nor a process: the machine hands it a clock, the IRQ lines it drives and the chardev it
feeds, and maps its regions into an address space.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar


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


class Device(ABC):
    """Base of every device. `type_name` is the name a configuration and `mpvm types` know it by."""

    type_name: ClassVar[str]

    @abstractmethod
    def reset(self) -> None:
        """Return to the power-on state; IRQ lines go low."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything `load` needs, as plain msgpack-able values."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, on a device of the same type."""
