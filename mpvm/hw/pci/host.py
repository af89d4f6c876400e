"""Access to PCI configuration space by mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2)."""

from collections.abc import Iterable
from typing import Any, ClassVar

from mpvm.hw.acpi.pm import RESET_PORT, ResetControl
from mpvm.hw.bus import SysBusDevice
from mpvm.hw.pci.bus import PciBus
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.resettable import Resettable
from mpvm.qom.type_info import register_type

CONFIG_ADDRESS = 0xCF8
CONFIG_DATA = 0xCFC

_ENABLE = 0x80000000
# bits 30:24 are reserved, 1:0 hardwired to 0 (figure 3-2)
_ADDRESS_MASK = 0x80FFFFFC


@register_type("i440FX-pcihost", description="PCI host bridge: configuration mechanism #1 and bus 0")
class PciHost(SysBusDevice):
    """Ports 0xcf8 and 0xcfc in front of bus 0, `bus`, into which the board plugs its functions.

    Only a dword access to 0xcf8 reaches CONFIG_ADDRESS; narrower ones go on to I/O space, where
    `reset_control` answers at 0xcf9. No write is posted: a read of CONFIG_DATA depends on it.
    """

    # What its bus is called.
    bus_name: ClassVar[str] = "pci.0"

    reset_control = properties.link("reset-control", "what answers at port 0xcf9")

    def instance_init(self) -> None:
        """With an empty bus."""
        super().instance_init()
        self.bus = PciBus()
        self.add_child(self.bus_name, self.bus)

    def realize(self) -> None:
        """Power on. The bus is wired as the board's are."""
        self.bus.wiring = self.wiring
        self._reset_control: ResetControl | None = self.reset_control
        self._address = 0
        self._address_region = Region("pci-config-address", 4, self._read_address, self._write_address)
        self._data_region = Region("pci-config-data", 4, self._read_data, self._write_data)

    def ports(self) -> list[tuple[int, Region]]:
        """Where the two registers are."""
        return [(CONFIG_ADDRESS, self._address_region), (CONFIG_DATA, self._data_region)]

    def reset_children(self) -> Iterable[Resettable]:
        """RST# of the bus."""
        return (self.bus,)

    def reset_enter(self) -> None:
        """CONFIG_ADDRESS to 0."""
        self._address = 0

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
