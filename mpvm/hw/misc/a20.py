"""The A20 gate's wiring: address line 20 is open while any of its inputs is (ICH9 data sheet 5.13.1,
A20M#: the keyboard controller's A20GATE or port 0x92).
"""

from collections.abc import Callable


class A20Gate:
    """An OR of inputs, all open at first. `set_a20` hears of a change of the output."""

    def __init__(self, set_a20: Callable[[bool], None]) -> None:
        self._set_a20 = set_a20
        self._inputs: list[bool] = []
        self.open = True

    def input(self) -> Callable[[bool], None]:
        """A new input, for the `set_a20` of one device."""
        index = len(self._inputs)
        self._inputs.append(True)

        def set_input(level: bool) -> None:
            self._inputs[index] = level
            if any(self._inputs) != self.open:
                self.open = not self.open
                self._set_a20(self.open)

        return set_input


def no_gate(level: bool) -> None:
    """Where a device's A20 output goes that no board has wired."""
