"""The I/O APIC (Intel 82093AA data sheet, order 290566; the EOI register as in the ICH, order 290655)."""

from collections.abc import Callable
from typing import Any

from mpvm.abi.errors import DeviceError
from mpvm.abi.log import LogItem
from mpvm.hw.bus import SysBusDevice
from mpvm.hw.intc.message import DeliveryMode, InterruptMessage
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type
from mpvm.trace.log import log_mask

BASE_ADDRESS = 0xFEC00000
REGION_SIZE = 0x1000
PINS = 24

# Direct registers, by offset.
IOREGSEL = 0x00
IOWIN = 0x10
IOEOI = 0x40

# Indirect registers, by the value of IOREGSEL.
IOAPICID = 0x00
IOAPICVER = 0x01
IOAPICARB = 0x02
IOREDTBL = 0x10

VERSION = 0x20  # the first with an EOI register
VERSION_REGISTER = VERSION | (PINS - 1) << 16

# Redirection table entry.
REDIR_VECTOR = 0xFF
REDIR_DELMOD_SHIFT = 8
REDIR_DESTMOD = 1 << 11
REDIR_DELIVS = 1 << 12
REDIR_REMOTE_IRR = 1 << 14
REDIR_TRIGGER_LEVEL = 1 << 15
REDIR_MASK = 1 << 16
REDIR_DEST_SHIFT = 56
REDIR_READ_ONLY = REDIR_DELIVS | REDIR_REMOTE_IRR
REDIR_WRITABLE = 0xFF << REDIR_DEST_SHIFT | 0x1FFFF & ~REDIR_READ_ONLY
# Behind an IOMMU, the format and the index of a remappable entry, too (Intel's VT-d specification, D51397,
# 5.1.5.1).
REDIR_REMAPPABLE = 0xFFFF << 48

DELIVERY_MODES = frozenset(DeliveryMode)
# Only these can be level triggered; the others are edges whatever the entry says.
LEVEL_MODES = frozenset({DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY})


class Window:
    """The index register, and what the registers behind it read as: `show` is told of each change.

    A machine whose workers read them without the device has one of its own.
    """

    select = 0

    def show(self, index: int, value: int) -> None:
        """Register `index` reads as `value` from now on."""


@register_type("ioapic", description="I/O APIC with 24 pins")
class IoApic(SysBusDevice):
    """24 pins, each with a redirection entry that turns its signal into an `InterruptMessage`.

    A line carries the assertion of a signal, not its voltage: the polarity bit is kept for the guest
    and changes nothing. A message is handed over at once, so the delivery status always reads idle.
    """

    apic_id = properties.uint8(0, "its APIC id at reset, 4 bits", name="id")

    # Where its messages go: the local APICs' bus.
    deliver: Callable[[InterruptMessage], None]
    # An IOMMU that makes the messages of entries; None for one that it refuses.
    remap: Callable[[int], InterruptMessage | None] | None = None

    def instance_init(self) -> None:
        """Nobody reads its registers but by itself."""
        super().instance_init()
        self.window = Window()

    def realize(self) -> None:
        """No line asserted."""
        self._reset_id = self.apic_id & 0xF
        self._lines = 0
        self.reset_enter()

    def memory(self) -> list[tuple[int, Region]]:
        """The register page."""
        return [(BASE_ADDRESS, Region("ioapic", REGION_SIZE, self._read, self._write))]

    def reset_enter(self) -> None:
        """Every entry masked, no interrupt outstanding; the levels of the pins are the devices'."""
        self.window.select = 0
        self._id = self._reset_id
        self._arbitration = self._reset_id
        self._table = [REDIR_MASK] * PINS
        self._show_all()

    def _show_all(self) -> None:
        for index in (IOAPICID, IOAPICVER, IOAPICARB, *range(IOREDTBL, IOREDTBL + 2 * PINS)):
            self.window.show(index, self._read_register(index))

    def _set_entry(self, pin: int, entry: int) -> None:
        self._table[pin] = entry
        for half in range(2):
            self.window.show(IOREDTBL + 2 * pin + half, entry >> 32 * half & 0xFFFF_FFFF)

    def set_irq(self, pin: int, level: int) -> None:
        """Drive `pin`, 0 to 23; raises `DeviceError` for another."""
        if not 0 <= pin < PINS:
            raise DeviceError(f"ioapic: there is no pin {pin}; the pins are 0 to {PINS - 1}")
        bit = 1 << pin
        rising = level and not self._lines & bit
        self._lines = self._lines | bit if level else self._lines & ~bit
        entry = self._table[pin]
        if _is_level(entry):
            self._service_level(pin)
        elif rising and not entry & REDIR_MASK:
            self._send(entry)

    def eoi(self, vector: int) -> None:
        """A local APIC has ended `vector`: its entries may ask again, and do so while their line is high."""
        for pin, entry in enumerate(self._table):
            if entry & REDIR_REMOTE_IRR and entry & REDIR_VECTOR == vector:
                self._set_entry(pin, entry & ~REDIR_REMOTE_IRR)
                self._service_level(pin)

    def _service_level(self, pin: int) -> None:
        """Send a level-triggered entry's message if its line is high and no EOI is outstanding."""
        entry = self._table[pin]
        if not _is_level(entry) or entry & (REDIR_MASK | REDIR_REMOTE_IRR) or not self._lines >> pin & 1:
            return
        self._set_entry(pin, entry | REDIR_REMOTE_IRR)
        self._send(entry)

    def _send(self, entry: int) -> None:
        """Send the message of `entry`, if there is one."""
        message = message_of(entry) if self.remap is None else self.remap(entry)
        if message is not None:
            self.deliver(message)

    def _read(self, offset: int, size: int) -> int:
        if offset == IOREGSEL:
            return self.window.select
        if offset == IOWIN and size == 4:
            return self._read_register(self.window.select)
        return 0

    def _write(self, offset: int, size: int, value: int) -> None:
        if offset == IOREGSEL:
            self.window.select = value & 0xFF
        elif offset == IOWIN and size == 4:
            self._write_register(self.window.select, value & 0xFFFF_FFFF)
        elif offset == IOEOI:
            self.eoi(value & 0xFF)

    def _read_register(self, index: int) -> int:
        if index == IOAPICID:
            return self._id << 24
        if index == IOAPICVER:
            return VERSION_REGISTER
        if index == IOAPICARB:
            return self._arbitration << 24
        pin, high = divmod(index - IOREDTBL, 2)
        if 0 <= pin < PINS:
            return self._table[pin] >> 32 * high & 0xFFFF_FFFF
        return 0

    def _write_register(self, index: int, value: int) -> None:
        pin, high = divmod(index - IOREDTBL, 2)
        if index == IOAPICID:
            self._id = value >> 24 & 0xF
            self._arbitration = self._id
            for shown in (IOAPICID, IOAPICARB):
                self.window.show(shown, self._read_register(shown))
        elif 0 <= pin < PINS:
            self._write_entry(pin, value << 32 * high, 0xFFFF_FFFF << 32 * high)

    def _write_entry(self, pin: int, value: int, half: int) -> None:
        writable = (REDIR_WRITABLE if self.remap is None else REDIR_WRITABLE | REDIR_REMAPPABLE) & half
        entry = self._table[pin] & ~writable | value & writable
        # Remote IRR means nothing for an edge; software without an EOI register clears it this way.
        if not _is_level(entry):
            entry &= ~REDIR_REMOTE_IRR
        self._set_entry(pin, entry)
        self._service_level(pin)

    def state(self) -> dict[str, Any]:
        """Registers and the levels of the pins."""
        return {
            "select": self.window.select,
            "id": self._id,
            "arbitration": self._arbitration,
            "table": list(self._table),
            "lines": self._lines,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; sends nothing, what was sent is in the local APICs."""
        self.window.select = state["select"]
        self._id = state["id"]
        self._arbitration = state["arbitration"]
        self._table = list(state["table"])
        self._lines = state["lines"]
        self._show_all()


def message_of(entry: int) -> InterruptMessage | None:
    """The message of a redirection entry; None for a reserved delivery mode."""
    mode = entry >> REDIR_DELMOD_SHIFT & 7
    if mode not in DELIVERY_MODES:
        log_mask(LogItem.GUEST_ERRORS, "I/O APIC: reserved delivery mode %d", mode)
        return None
    return InterruptMessage(
        vector=entry & REDIR_VECTOR,
        delivery_mode=DeliveryMode(mode),
        destination=entry >> REDIR_DEST_SHIFT,
        logical=bool(entry & REDIR_DESTMOD),
        level_triggered=_is_level(entry),
    )


def _is_level(entry: int) -> bool:
    return bool(entry & REDIR_TRIGGER_LEVEL) and entry >> REDIR_DELMOD_SHIFT & 7 in LEVEL_MODES
