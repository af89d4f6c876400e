"""A PCI bus: which function answers at which device and function number."""

from collections.abc import Callable
from typing import Any

from mpvm.abi.errors import DeviceError
from mpvm.hw.bus import Wiring
from mpvm.hw.device import IrqLine
from mpvm.hw.pci.function import (
    ANY_DEVFN,
    DEVICES,
    FUNCTIONS,
    MULTI_FUNCTION,
    Header,
    PciFunction,
)
from mpvm.memory.dma import BusMemory
from mpvm.qom.object import cast
from mpvm.qom.qdev import Bus, Device, qdev_realize
from mpvm.qom.type_info import register_type


@register_type("PCI", description="a PCI bus")
class PciBus(Bus):
    """Functions by (device, function). Whoever is not there is a master abort: ones, and lost writes.

    Base address registers map into the address spaces of `wiring`, which is the host bridge's. `intx` gives a
    line to interrupt pin 0 to 3 of a device number; what routes PCI interrupts sets it. `deliver` takes the
    interrupt messages: requester, address and data. `remap` gives a requester its own view of memory.
    """

    number = 0
    wiring: Wiring
    intx: Callable[[int, int], IrqLine]
    deliver: Callable[[int, int, int], None]
    remap: Callable[[int], BusMemory] | None = None

    def instance_init(self) -> None:
        """No function yet."""
        super().instance_init()
        self._functions: dict[tuple[int, int], PciFunction] = {}

    def dma(self, requester: int) -> BusMemory | None:
        """Memory as the function `requester` sees it; None where the board gives its buses none."""
        return self.wiring.dma if self.remap is None else self.remap(requester)

    def add(self, pci_function: PciFunction, device: int, function: int = 0) -> None:
        """Realize `pci_function` here; raises `DeviceError` where that is impossible."""
        if not (0 <= device < DEVICES and 0 <= function < FUNCTIONS):
            name = self._name(device, function)
            raise DeviceError(f"{name}: devices are 0 to {DEVICES - 1}, functions 0 to {FUNCTIONS - 1}")
        pci_function.addr = device * FUNCTIONS + function
        qdev_realize(pci_function, self)

    def plug(self, device: Device) -> None:
        """Give a function its number: the one that it asks for, or the next device's that is free.

        A device with functions beyond 0 must have function 0, with the multi-function bit set in its
        header type, or no guest would look for them: add function 0 first.
        """
        pci_function = cast(device, PciFunction)
        devfn = pci_function.addr if pci_function.addr != ANY_DEVFN else self._free_devfn()
        where = divmod(devfn, FUNCTIONS)
        name = self._name(*where)
        if where in self._functions:
            raise DeviceError(f"{name}: {self._functions[where].type_name} is there already")
        if where[1]:
            first = self._functions.get((where[0], 0))
            if first is None or not first.read(Header.HEADER_TYPE, 1) & MULTI_FUNCTION:
                raise DeviceError(f"{name}: function 0 must be there and be multi-function")
        super().plug(device)
        pci_function.devfn = devfn
        self._functions[where] = pci_function

    def unplug(self, device: Device) -> None:
        """Its number is free again."""
        super().unplug(device)
        pci_function = cast(device, PciFunction)
        del self._functions[divmod(pci_function.devfn, FUNCTIONS)]
        pci_function.devfn = ANY_DEVFN

    def _free_devfn(self) -> int:
        taken = {device for device, _ in self._functions}
        free = next((device for device in range(DEVICES) if device not in taken), None)
        if free is None:
            raise DeviceError(f"PCI bus {self.number:02x}: no device number is free")
        return free * FUNCTIONS

    def _name(self, device: int, function: int) -> str:
        return f"PCI {self.number:02x}:{device:02x}.{function:x}"

    def functions(self) -> list[PciFunction]:
        """Every function, by number."""
        return [function for _, function in sorted(self._functions.items())]

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
