"""A PCI function's configuration space (PCI Local Bus Specification 3.0, chapter 6)."""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from mpvm.abi.errors import DeviceError
from mpvm.abi.layout import PAGE_SIZE
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.message import MESSAGE_BASE, MESSAGE_MASK
from mpvm.hw.pci.bar import BAR0, Bar
from mpvm.memory.address_space import PCI_PRIORITY, AddressSpace
from mpvm.memory.dma import BusMemory
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.qdev import Device
from mpvm.qom.type_info import register_type

if TYPE_CHECKING:
    from mpvm.hw.pci.bus import PciBus
    from mpvm.hw.pci.msi import Msi

CONFIG_SPACE_SIZE = 256
DEVICES = 32
FUNCTIONS = 8
# A function without a number gets the next free device's function 0 (QEMU's devfn of -1).
ANY_DEVFN = -1


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
    BAR0 = BAR0
    SUBSYSTEM_VENDOR_ID = 0x2C
    SUBSYSTEM_ID = 0x2E
    EXPANSION_ROM = 0x30
    CAPABILITIES = 0x34
    INTERRUPT_LINE = 0x3C
    INTERRUPT_PIN = 0x3D


class Command:
    """The command register (table 6-1)."""

    IO: Final = 0x0001
    MEMORY: Final = 0x0002
    MASTER: Final = 0x0004
    SERR: Final = 0x0100
    INTX_DISABLE: Final = 0x0400


class Status:
    """The status register (table 6-2)."""

    INTERRUPT: Final = 0x0008
    CAPABILITIES: Final = 0x0010


# Red Hat's vendor ID and the ID by which QEMU marks its devices (QEMU's docs/specs/pci-ids.rst).
SUBSYSTEM_VENDOR_QEMU = 0x1AF4
SUBSYSTEM_QEMU = 0x1100
MULTI_FUNCTION = 0x80

_COMMAND_WRITABLE = Command.IO | Command.MEMORY | Command.MASTER | Command.SERR | Command.INTX_DISABLE
_STATUS_CLEARS = 0xF900
_MESSAGE_BYTES = 4


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


def header(
    vendor: int, device: int, class_code: int, revision: int = 0, *, status: int = 0, pin: int = 0
) -> tuple[Register, ...]:
    """The header of a function that decodes what its command register allows; `pin` 1 is INTA#, 4 INTD#."""
    return (
        Register(Header.VENDOR_ID, 2, vendor),
        Register(Header.DEVICE_ID, 2, device),
        Register(Header.COMMAND, 2, 0, writable=_COMMAND_WRITABLE),
        Register(Header.STATUS, 2, status, write_1_clears=_STATUS_CLEARS),
        Register(Header.REVISION_ID, 1, revision),
        Register(Header.CLASS_CODE, 3, class_code),
        Register(Header.CACHE_LINE_SIZE, 1, 0, writable=0xFF),
        Register(Header.SUBSYSTEM_VENDOR_ID, 2, SUBSYSTEM_VENDOR_QEMU),
        Register(Header.SUBSYSTEM_ID, 2, SUBSYSTEM_QEMU),
        Register(Header.INTERRUPT_LINE, 1, 0, writable=0xFF),
        Register(Header.INTERRUPT_PIN, 1, pin),
    )


def _parse_devfn(value: Any) -> int:
    """A device and function number from "06.0", "6" (hexadecimal) or an int, as QEMU's property `addr`."""
    if type(value) is int:
        if not -1 <= value < DEVICES * FUNCTIONS:
            raise ValueError("is out of range")
        return value
    device, _, function = str(value).partition(".")
    try:
        numbers = int(device, 16), int(function or "0", 16)
    except ValueError:
        raise ValueError("is no PCI address") from None
    if not (0 <= numbers[0] < DEVICES and 0 <= numbers[1] < FUNCTIONS):
        raise ValueError("is out of range")
    return numbers[0] * FUNCTIONS + numbers[1]


def _in_pages(address: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts, each an address and a length, of `size` bytes that lie in one page each."""
    end = address + size
    while address < end:
        count = min(PAGE_SIZE - address % PAGE_SIZE, end - address)
        yield address, count
        address += count


def _is_message(address: int) -> bool:
    return address & ~MESSAGE_MASK == MESSAGE_BASE


@register_type("pci-device", abstract=True, description="a function on a PCI bus")
class PciFunction(Device):
    """256 bytes of configuration space, described by a table of registers, and base address registers."""

    bus_type: ClassVar[str | None] = "PCI"

    addr = properties.Property(
        "int32",
        _parse_devfn,
        "a device and function such as 06.0 or 06",
        ANY_DEVFN,
        "Slot and optional function number, example: 06.0 or 06",
    )
    multifunction = properties.boolean(False, "on/off")

    def instance_init(self) -> None:
        """No base address register."""
        super().instance_init()
        self.bars: tuple[Bar, ...] = ()
        self._mapped: dict[int, tuple[AddressSpace, int, Region]] = {}
        self._intx: IrqLine | None = None
        self._intx_level = 0
        # Its messages, if it has the capability for them.
        self.msi: Msi | None = None
        # Its number on the bus, once it is plugged in.
        self.devfn = ANY_DEVFN

    @property
    def device(self) -> int:
        """Its device number."""
        return self.devfn // FUNCTIONS

    @property
    def function(self) -> int:
        """Its function number."""
        return self.devfn % FUNCTIONS

    def set_registers(self, registers: Iterable[Register], bars: Iterable[Bar] = ()) -> None:
        """Lay out configuration space, in `realize`; `DeviceError` for registers that overlap or leave it."""
        self.bars = tuple(bars)
        for bar in self.bars:
            bar.check()
        reset, writable, clearing = (bytearray(CONFIG_SPACE_SIZE) for _ in range(3))
        taken = bytearray(CONFIG_SPACE_SIZE)
        of_bars = (Register(bar.offset, bar.bytes, bar.flags, writable=bar.writable) for bar in self.bars)
        for register in (*registers, *of_bars):
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
        if self.multifunction:
            reset[Header.HEADER_TYPE] |= MULTI_FUNCTION
        self._reset = bytes(reset)
        self._writable = bytes(writable)
        self._clearing = bytes(clearing)
        self.config = bytearray(reset)

    def unrealize(self) -> None:
        """Nothing answers any more."""
        for index in list(self._mapped):
            self._unmap(index)
        if self._intx is not None:
            self._intx.lower()

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
        """The guest has written `size` bytes at `offset`: the BARs follow. A hook for what else does."""
        self._update()

    def _update(self) -> None:
        """What is decoded and which line is driven follow the registers; messages take the pin's place."""
        if self.bars:
            self._update_bars()
        if self._intx is not None:
            if self.msi is not None and self.msi.enabled:
                self._intx_level = 0
            status = self.config[Header.STATUS] & ~Status.INTERRUPT
            self.config[Header.STATUS] = status | (Status.INTERRUPT if self._intx_level else 0)
            disabled = self.read(Header.COMMAND, 2) & Command.INTX_DISABLE
            self._intx.set(0 if disabled else self._intx_level)

    # -- BARs --------------------------------------------------------------------------------------

    def _update_bars(self) -> None:
        """Have every BAR's region answer where its register and the command register say."""
        command = self.read(Header.COMMAND, 2)
        bus: PciBus = self.parent_bus
        for bar in self.bars:
            space = bus.wiring.ports if bar.io else bus.wiring.memory
            enabled = command & (Command.IO if bar.io else Command.MEMORY)
            base = bar.address(self.read(bar.offset, bar.bytes)) if enabled else None
            known = self._mapped.get(bar.number)
            if known is not None and known[1] != base:
                self._unmap(bar.number)
            if base is not None and bar.region is not None and bar.number not in self._mapped:
                space.map(base, bar.region, PCI_PRIORITY)
                self._mapped[bar.number] = (space, base, bar.region)

    def _unmap(self, index: int) -> None:
        space, base, region = self._mapped.pop(index)
        space.unmap(base, region)

    def set_intx(self, level: int) -> None:
        """Drive the interrupt pin, which it must have; the guest may have disabled it."""
        if self._intx is None:
            self._intx = self.parent_bus.intx(self.device, self.read(Header.INTERRUPT_PIN, 1) - 1)
        self._intx_level = level
        self._update()

    # -- bus mastering -----------------------------------------------------------------------------

    @property
    def requester(self) -> int:
        """Who it says it is on the bus: bus, device and function number."""
        number: int = self.parent_bus.number
        return number << 8 | self.devfn

    def _dma(self) -> BusMemory | None:
        if not self.read(Header.COMMAND, 2) & Command.MASTER:
            return None
        bus: PciBus = self.parent_bus
        return bus.dma(self.requester)

    def dma_read(self, address: int, size: int) -> bytes:
        """`size` bytes of memory; as under QEMU, zeros for pages that are none, or that it may not read."""
        memory = self._dma()
        if memory is None:
            return bytes(size)
        parts = []
        for at, count in _in_pages(address, size):
            found = None if _is_message(at) else memory.read(at, count)
            parts.append(bytes(count) if found is None else found)
        return b"".join(parts)

    def dma_write(self, address: int, data: bytes) -> None:
        """Store `data`, but for pages that are none. 4 bytes at FEExxxxxh are an interrupt message."""
        memory = self._dma()
        if memory is None:
            return
        bus: PciBus = self.parent_bus
        for at, count in _in_pages(address, len(data)):
            part = data[at - address : at - address + count]
            if not _is_message(at):
                memory.write(at, part)
            elif count == _MESSAGE_BYTES:
                bus.deliver(self.requester, at, int.from_bytes(part, "little"))

    # -- life --------------------------------------------------------------------------------------

    def reset_enter(self) -> None:
        """Every register returns to its value at reset, and nothing is decoded."""
        self.config[:] = self._reset
        self._intx_level = 0
        self._update()

    def state(self) -> dict[str, Any]:
        """Configuration space, and the level of the interrupt pin."""
        return {"config": bytes(self.config), "intx": self._intx_level}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`; tells `config_changed` of everything."""
        self.config[:] = state["config"]
        if state["intx"] or self._intx is not None:
            self.set_intx(state["intx"])
        self.config_changed(0, CONFIG_SPACE_SIZE)
