"""Access to PCI configuration space by mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2)."""

from typing import Any

from mpvm.hw.acpi.pm import RESET_PORT, ResetControl
from mpvm.hw.device import Device
from mpvm.hw.pci.bus import PciBus
from mpvm.hw.pci.i440fx import host_bridge
from mpvm.memory.region import Region

CONFIG_ADDRESS = 0xCF8
CONFIG_DATA = 0xCFC

_ENABLE = 0x80000000
# bits 30:24 are reserved, 1:0 hardwired to 0 (figure 3-2)
_ADDRESS_MASK = 0x80FFFFFC


class PciHost(Device):
    """Ports 0xcf8 and 0xcfc in front of bus 0, with an i440FX host bridge at 00:00.0.

    Only a dword access to 0xcf8 reaches CONFIG_ADDRESS; narrower ones go on to I/O space, where
    `reset_control` answers at 0xcf9. No write is posted: a read of CONFIG_DATA depends on it.
    """

    type_name = "i440FX-pcihost"

    def __init__(self, reset_control: ResetControl | None = None) -> None:
        self._reset_control = reset_control
        self.bus = PciBus(0)
        self.bus.add(host_bridge(), 0)
        self._address = 0
        self._address_region = Region("pci-config-address", 4, self._read_address, self._write_address)
        self._data_region = Region("pci-config-data", 4, self._read_data, self._write_data)

    def ports(self) -> list[tuple[int, Region]]:
        """Where the two registers are."""
        return [(CONFIG_ADDRESS, self._address_region), (CONFIG_DATA, self._data_region)]

    def reset(self) -> None:
        """CONFIG_ADDRESS to 0, and every function of the bus to its reset state."""
        self._address = 0
        self.bus.reset()

    # -- CONFIG_ADDRESS ----------------------------------------------------------------------------

    def _read_address(self, offset: int, size: int) -> int:
        if size == 4:
            return self._address
        return sum(self._read_io_byte(offset + i) << 8 * i for i in range(size))

    def _write_address(self, offset: int, size: int, value: int) -> None:
        if size == 4:
            self._address = value & _ADDRESS_MASK
            return
        for i in range(size):
            if self._reset_control is not None and offset + i == RESET_PORT - CONFIG_ADDRESS:
                self._reset_control.write(value >> 8 * i & 0xFF)

    def _read_io_byte(self, offset: int) -> int:
        if self._reset_control is not None and offset == RESET_PORT - CONFIG_ADDRESS:
            return self._reset_control.read()
        return 0xFF

    # -- CONFIG_DATA -------------------------------------------------------------------------------

    def _target(self) -> tuple[int, int, int] | None:
        """Device, function and register that CONFIG_ADDRESS names, None when no cycle is to start here."""
        address = self._address
        # another bus number would be a type 1 cycle, and there is no bridge to take it
        if not address & _ENABLE or address >> 16 & 0xFF != self.bus.number:
            return None
        return address >> 11 & 0x1F, address >> 8 & 0x07, address & 0xFC

    def _read_data(self, offset: int, size: int) -> int:
        target = self._target()
        if target is None:
            return (1 << 8 * size) - 1
        device, function, register = target
        return self.bus.read(device, function, register + offset, size)

    def _write_data(self, offset: int, size: int, value: int) -> None:
        target = self._target()
        if target is not None:
            device, function, register = target
            self.bus.write(device, function, register + offset, size, value)

    # -- state -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """CONFIG_ADDRESS and the bus; the reset control is its owner's."""
        return {"address": self._address, "bus": self.bus.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`; raises `DeviceError` when the bus has other functions."""
        self._address = state["address"]
        self.bus.load(state["bus"])
