"""A PCI function's configuration space (PCI Local Bus Specification 3.0, chapter 6)."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple

from mpvm.abi.errors import DeviceError
from mpvm.qom.qdev import Device
from mpvm.qom.type_info import register_type

CONFIG_SPACE_SIZE = 256


class Header(IntEnum):
    """Offsets in the type 0 header (figure 6-1)."""

    VENDOR_ID = 0x00
    DEVICE_ID = 0x02
    COMMAND = 0x04
    STATUS = 0x06
    REVISION_ID = 0x08
    CLASS_CODE = 0x09
    CACHE_LINE_SIZE = 0x0C
    LATENCY_TIMER = 0x0D
    HEADER_TYPE = 0x0E
    BIST = 0x0F
    BAR0 = 0x10
    SUBSYSTEM_VENDOR_ID = 0x2C
    SUBSYSTEM_ID = 0x2E
    EXPANSION_ROM = 0x30
    CAPABILITIES = 0x34
    INTERRUPT_LINE = 0x3C
    INTERRUPT_PIN = 0x3D


class Register(NamedTuple):
    """A register: `size` bytes at `offset`, its value at reset, and what a write does to each bit.

    A bit of `writable` takes what is written, one of `write_1_clears` goes to 0 when a 1 is written,
    any other is read-only. Registers that no table names read 0.
    """

    offset: int
    size: int
    value: int
    writable: int = 0
    write_1_clears: int = 0


@register_type("pci-device", abstract=True, description="a function on a PCI bus")
class PciFunction(Device):
    """256 bytes of configuration space, described by a table of registers."""

    bus_type: ClassVar[str | None] = "PCI"

    def set_registers(self, registers: Iterable[Register]) -> None:
        """Lay out configuration space, in `realize`; `DeviceError` for registers that overlap or leave it."""
        reset, writable, clearing = (bytearray(CONFIG_SPACE_SIZE) for _ in range(3))
        taken = bytearray(CONFIG_SPACE_SIZE)
        for register in registers:
            span = slice(register.offset, register.offset + register.size)
            if register.offset < 0 or span.stop > CONFIG_SPACE_SIZE or any(taken[span]):
                raise DeviceError(
                    f"{self.type_name}: register at {register.offset:#x}, {register.size} bytes, leaves "
                    "configuration space or overlaps another"
                )
            taken[span] = b"\1" * register.size
            reset[span] = register.value.to_bytes(register.size, "little")
            writable[span] = register.writable.to_bytes(register.size, "little")
            clearing[span] = register.write_1_clears.to_bytes(register.size, "little")
        self._reset = bytes(reset)
        self._writable = bytes(writable)
        self._clearing = bytes(clearing)
        self.config = bytearray(reset)

    def read(self, offset: int, size: int) -> int:
        """Read 1, 2 or 4 bytes at `offset` of configuration space."""
        return int.from_bytes(self.config[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Write 1, 2 or 4 bytes at `offset`, as far as the registers' bits let it; then `config_changed`."""
        for i in range(offset, offset + size):
            byte = value & 0xFF
            value >>= 8
            kept = self.config[i] & ~self._writable[i] & ~(byte & self._clearing[i])
            self.config[i] = kept | byte & self._writable[i]
        self.config_changed(offset, size)

    def config_changed(self, offset: int, size: int) -> None:
        """Hook: the guest has written `size` bytes at `offset`. A device moves its BARs here."""

    def reset_enter(self) -> None:
        """Every register returns to its value at reset."""
        self.config[:] = self._reset

    def state(self) -> dict[str, Any]:
        """Configuration space."""
        return {"config": bytes(self.config)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`; tells `config_changed` of everything."""
        self.config[:] = state["config"]
        self.config_changed(0, CONFIG_SPACE_SIZE)
