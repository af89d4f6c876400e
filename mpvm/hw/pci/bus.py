"""A PCI bus: which function answers at which device and function number."""

from typing import Any

from mpvm.abi.errors import DeviceError
from mpvm.hw.pci.function import Header, PciFunction
from mpvm.qom.qdev import Bus, qdev_realize
from mpvm.qom.type_info import register_type

DEVICES = 32
FUNCTIONS = 8
_MULTI_FUNCTION = 0x80


@register_type("PCI", description="a PCI bus")
class PciBus(Bus):
    """Functions by (device, function). Whoever is not there is a master abort: ones, and lost writes."""

    number = 0

    def instance_init(self) -> None:
        """No function yet."""
        super().instance_init()
        self._functions: dict[tuple[int, int], PciFunction] = {}

    def add(self, pci_function: PciFunction, device: int, function: int = 0) -> None:
        """Realize `pci_function` here; raises `DeviceError` where that is impossible.

        A device with functions beyond 0 must have function 0, with the multi-function bit set in its
        header type, or no guest would look for them: add function 0 first.
        """
        where = f"PCI {self.number:02x}:{device:02x}.{function:x}"
        if not (0 <= device < DEVICES and 0 <= function < FUNCTIONS):
            raise DeviceError(f"{where}: devices are 0 to {DEVICES - 1}, functions 0 to {FUNCTIONS - 1}")
        if (device, function) in self._functions:
            raise DeviceError(f"{where}: {self._functions[device, function].type_name} is there already")
        if function:
            first = self._functions.get((device, 0))
            if first is None or not first.read(Header.HEADER_TYPE, 1) & _MULTI_FUNCTION:
                raise DeviceError(f"{where}: function 0 must be there and be multi-function")
        qdev_realize(pci_function, self)
        self._functions[device, function] = pci_function

    def find(self, device: int, function: int) -> PciFunction | None:
        """The function at that number."""
        return self._functions.get((device, function))

    def read(self, device: int, function: int, offset: int, size: int) -> int:
        """A configuration read cycle."""
        found = self.find(device, function)
        return (1 << 8 * size) - 1 if found is None else found.read(offset, size)

    def write(self, device: int, function: int, offset: int, size: int, value: int) -> None:
        """A configuration write cycle."""
        found = self.find(device, function)
        if found is not None:
            found.write(offset, size, value)

    def state(self) -> dict[str, Any]:
        """The state of each function under its number, as ``"00.0"``."""
        return {f"{d:02x}.{f:x}": function.state() for (d, f), function in sorted(self._functions.items())}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`; raises `DeviceError` when it is of a bus with other functions."""
        mine = {f"{d:02x}.{f:x}": function for (d, f), function in self._functions.items()}
        if mine.keys() != state.keys():
            raise DeviceError(
                f"PCI bus {self.number:02x}: state has functions {', '.join(sorted(state)) or 'none'}, "
                f"the machine has {', '.join(sorted(mine)) or 'none'}"
            )
        for number, pci_function in mine.items():
            pci_function.load(state[number])
