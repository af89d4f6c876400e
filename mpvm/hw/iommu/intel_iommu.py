"""QEMU's `intel-iommu`: DMA and interrupt remapping (Intel's VT-d specification, order D51397).

Second-level translation and pass-through in legacy mode, remapped interrupts for xAPICs, queued and
register-based invalidation, and one fault record. It caches nothing, so that an invalidation is done when it
is asked for.
"""

from collections.abc import Callable
from typing import Any, Final

from mpvm.abi.errors import DeviceError
from mpvm.hw.bus import SysBusDevice
from mpvm.hw.intc.ioapic import IoApic, message_of
from mpvm.hw.intc.message import InterruptMessage, msi_message
from mpvm.hw.iommu import vtd_registers as reg
from mpvm.hw.iommu.vtd_fault import Fault, Reason
from mpvm.hw.iommu.vtd_interrupts import InterruptTable, entry_index, message_index
from mpvm.hw.iommu.vtd_queue import MOST_PAGES, run_queue
from mpvm.hw.iommu.vtd_translation import Page, RemappedMemory, Tables
from mpvm.hw.pci.bus import PciBus
from mpvm.memory.dma import BusMemory
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type

# Where the MCH has it under QEMU.
BASE_ADDRESS: Final = 0xFED90000
REGION_SIZE: Final = 0x1000

# Commands, and their bits in the status register.
TRANSLATE, SET_ROOT, FLUSH, QUEUE, REMAP, SET_INTERRUPTS, COMPATIBILITY = (
    1 << n for n in (31, 30, 27, 26, 25, 24, 23)
)
_SWITCHES: Final = TRANSLATE | QUEUE | REMAP | COMPATIBILITY

# Capabilities: 65536 domains, one fault record, 2 MiB and 1 GiB pages, invalidation by page and with up to
# 2**18 pages at once, writes and reads drained.
_CAPABILITIES: Final = 6 | 0x22 << 24 | 3 << 34 | 1 << 39 | MOST_PAGES << 48 | 3 << 54
_WIDTHS: Final = {39: 1 << 9, 48: 1 << 9 | 1 << 10}
_CACHING: Final = 1 << 7
# Queued invalidation, and where the registers of the IOTLB are; interrupt remapping, with all of a handle;
# pass-through.
_EXTENDED: Final = 1 << 1 | 0xF << 8
_EXTENDED_REMAPPING: Final = 1 << 3 | 0xF << 20
_EXTENDED_PASS_THROUGH: Final = 1 << 6

_INVALIDATE: Final = 1 << 31
_OVERFLOW, _PENDING, _QUEUE_ERROR = 1 << 0, 1 << 1, 1 << 4
_FAULTS: Final = _OVERFLOW | _PENDING | _QUEUE_ERROR
_EVENT_MASKED, _EVENT_PENDING = 1 << 31, 1 << 30
_RECORDED: Final = 1 << 63
_RECORD_READ: Final = 1 << 62
_RECORD_REQUESTER: Final = 0xFFFF
_RECORD_REASON_SHIFT: Final = 32
_RECORD_INDEX_SHIFT: Final = 48
_PAGE_MASK: Final = 0xFFF
_BY_ADDRESS: Final = 3
_ADDRESS_BITS: Final = 0x3F


def _parse_width(value: Any) -> int:
    width = int(value)
    if width not in _WIDTHS:
        raise ValueError("is no width")
    return width


@register_type("intel-iommu", description="Intel IOMMU (VT-d) DMA Remapping device")
class IntelIommu(SysBusDevice):
    """One remapping unit for the whole PCI bus and for the I/O APIC, which does not say who it is."""

    user_creatable = True

    intremap = properties.enum(("on", "off", "auto"), "auto", "remap interrupts; auto is on")
    # Destinations of 32 bits: QEMU has them with a split irqchip of KVM's alone.
    eim = properties.enum(("off", "auto"), "auto", "off is right: interrupts are remapped to xAPICs")
    aw_bits = properties.Property("uint8", _parse_width, "39 or 48", 39, "bits of addresses")
    pt = properties.boolean(True, "a requester may have memory as it is")
    caching_mode = properties.boolean(False, "the guest must invalidate what was not there, too")

    def connect(self, bus: PciBus, ioapic: IoApic, send: Callable[[InterruptMessage], None]) -> None:
        """Before it is realized: what it is to stand in front of, and where messages go."""
        self._bus, self._ioapic, self._send = bus, ioapic, send
        self._connected = True

    def instance_init(self) -> None:
        """In front of nothing."""
        super().instance_init()
        self._connected = False

    def realize(self) -> None:
        """Stand in front of memory and of the local APICs; nothing is remapped yet."""
        memory = self.wiring.dma
        if not self._connected or memory is None:
            raise DeviceError("this machine has no place for it, q35 is right")
        if self._bus.remap is not None:
            raise DeviceError("there is one already")
        self._memory: BusMemory = memory
        capabilities = _CAPABILITIES | self.aw_bits - 1 << 16 | _WIDTHS[self.aw_bits]
        extended = _EXTENDED | (_EXTENDED_PASS_THROUGH if self.pt else 0)
        self._registers = reg.RegisterFile(
            (
                *reg.REGISTERS,
                reg.Bits(reg.CAPABILITIES, 8, capabilities | (_CACHING if self.caching_mode else 0)),
                reg.Bits(
                    reg.EXTENDED_CAPABILITIES,
                    8,
                    extended | (_EXTENDED_REMAPPING if self.can_remap_interrupts else 0),
                ),
            )
        )
        self._root = self._interrupts = 0
        self._bus.remap = self._memory_of
        self._bus.deliver = self._message
        self._ioapic.remap = self._entry

    @property
    def can_remap_interrupts(self) -> bool:
        """Whether it has a table for them."""
        return self.intremap != "off"

    def memory(self) -> list[tuple[int, Region]]:
        """The register page."""
        return [(BASE_ADDRESS, Region("intel_iommu", REGION_SIZE, self._read, self._write))]

    def reset_enter(self) -> None:
        """Nothing is remapped."""
        self._registers.reset()
        self._root = self._interrupts = 0

    # -- what it stands in front of ----------------------------------------------------------------

    @property
    def _status(self) -> int:
        return self._registers.read(reg.STATUS, 4)

    def _memory_of(self, requester: int) -> BusMemory:
        if not self._status & TRANSLATE:
            return self._memory
        return RemappedMemory(self._memory, lambda address, write: self._find(requester, address, write))

    def _find(self, requester: int, address: int, write: bool) -> Page | None:
        found = Tables(self._memory, self._root, self.aw_bits, self.pt).find(requester, address, write)
        if isinstance(found, Page):
            return found
        self._fault(found, address & ~_PAGE_MASK, requester | (0 if write else _RECORD_READ))
        return None

    def _message(self, requester: int, address: int, data: int) -> None:
        index = message_index(address, data)
        message = self._remap(index, requester, msi_message(address, data))
        if message is not None:
            self._send(message)

    def _entry(self, entry: int) -> InterruptMessage | None:
        return self._remap(entry_index(entry), None, message_of(entry))

    def _remap(
        self, index: int | None, requester: int | None, compatible: InterruptMessage | None
    ) -> InterruptMessage | None:
        """What is to be sent; `compatible` is what the interrupt is without remapping."""
        status = self._status
        if not status & REMAP or (index is None and status & COMPATIBILITY):
            return compatible
        found: InterruptMessage | Fault = Fault(Reason.COMPATIBILITY_FORMAT)
        if index is not None:
            size = 2 << (self._interrupts & 0xF)
            found = InterruptTable(self._memory, self._interrupts & ~_PAGE_MASK, size).find(index, requester)
        if isinstance(found, InterruptMessage):
            return found
        self._fault(found, (index or 0) << _RECORD_INDEX_SHIFT, requester or 0)
        return None

    # -- faults and events -------------------------------------------------------------------------

    def _fault(self, fault: Fault, low: int, high: int) -> None:
        """Record `fault`, unless the guest has not yet taken the last one, and say so.

        More of the same requester are one with that (7.2.1); one of another is lost, which is told.
        """
        if fault.silent:
            return
        registers, status = self._registers, self._registers.read(reg.FAULT_STATUS, 4)
        recorded = registers.read(reg.FAULT_RECORD + 8, 8)
        if recorded & _RECORDED or status & _OVERFLOW:
            if recorded & _RECORD_REQUESTER != high & _RECORD_REQUESTER:
                registers.put(reg.FAULT_STATUS, 4, status | _OVERFLOW)
            return
        registers.put(reg.FAULT_RECORD, 8, low)
        registers.put(reg.FAULT_RECORD + 8, 8, _RECORDED | high | fault.reason << _RECORD_REASON_SHIFT)
        registers.put(reg.FAULT_STATUS, 4, status | _PENDING)
        if not status & _FAULTS:
            self._event(reg.FAULT_EVENT)

    def _event(self, control: int) -> None:
        """Send the message of the event whose registers are at `control`, or keep it while that is masked."""
        registers = self._registers
        value = registers.read(control, 4)
        if value & _EVENT_MASKED:
            registers.put(control, 4, value | _EVENT_PENDING)
            return
        registers.put(control, 4, value & ~_EVENT_PENDING)
        self._send(
            msi_message(
                registers.read(control + reg.EVENT_ADDRESS, 4), registers.read(control + reg.EVENT_DATA, 4)
            )
        )

    # -- registers ---------------------------------------------------------------------------------

    def _read(self, offset: int, size: int) -> int:
        return self._registers.show(offset, size) if size in (4, 8) else 0

    def _write(self, offset: int, size: int, value: int) -> None:
        if size not in (4, 8):
            return
        registers = self._registers
        registers.write(offset, size, value)
        written = range(offset, offset + size, 4)
        if reg.COMMAND in written:
            self._command(value >> 8 * (reg.COMMAND - offset) & 0xFFFFFFFF)
        for half in (reg.CONTEXT_COMMAND + 4, reg.IOTLB_INVALIDATE + 4):
            if half in written and value >> 8 * (half - offset) & _INVALIDATE:
                self._invalidated(half)
        if reg.FAULT_RECORD + 12 in written and not registers.read(reg.FAULT_RECORD + 8, 8) & _RECORDED:
            registers.put(reg.FAULT_STATUS, 4, registers.read(reg.FAULT_STATUS, 4) & ~_PENDING)
        for control, reasons in (
            (reg.FAULT_EVENT, registers.read(reg.FAULT_STATUS, 4) & _FAULTS),
            (reg.COMPLETION_EVENT, registers.read(reg.COMPLETION_STATUS, 4)),
        ):
            if not reasons:
                # An event that waits is none when its reasons are gone (7.3).
                registers.put(control, 4, registers.read(control, 4) & ~_EVENT_PENDING)
            if control in written and registers.read(control, 4) == _EVENT_PENDING:
                self._event(control)
        if reg.QUEUE_TAIL in written:
            self._run_queue()

    def _command(self, command: int) -> None:
        registers, status = self._registers, self._status
        if command & SET_ROOT:
            self._root = registers.read(reg.ROOT_TABLE, 8)
            status |= SET_ROOT
        if command & SET_INTERRUPTS and self.can_remap_interrupts:
            self._interrupts = registers.read(reg.INTERRUPT_TABLE, 8)
            status |= SET_INTERRUPTS
        switches = _SWITCHES if self.can_remap_interrupts else _SWITCHES & ~(REMAP | COMPATIBILITY)
        if (status ^ command) & QUEUE:
            registers.put(reg.QUEUE_HEAD, 8, 0)
        registers.put(reg.STATUS, 4, status & ~switches | command & switches)
        self._run_queue()

    def _invalidated(self, half: int) -> None:
        """An invalidation by register is done, and was as fine as was asked for; none of too many pages."""
        value = self._registers.read(half, 4) & ~_INVALIDATE
        shift = (27, 29) if half == reg.CONTEXT_COMMAND + 4 else (25, 28)
        asked = value >> shift[1] & 3
        pages = self._registers.read(reg.INVALIDATE_ADDRESS, 8) & _ADDRESS_BITS
        if half == reg.IOTLB_INVALIDATE + 4 and asked == _BY_ADDRESS and pages > MOST_PAGES:
            asked = 0
        self._registers.put(half, 4, value & ~(3 << shift[0]) | asked << shift[0])

    def _run_queue(self) -> None:
        registers = self._registers
        if not self._status & QUEUE or registers.read(reg.FAULT_STATUS, 4) & _QUEUE_ERROR:
            return
        done = run_queue(
            self._memory,
            registers.read(reg.QUEUE_ADDRESS, 8),
            registers.read(reg.QUEUE_HEAD, 8),
            registers.read(reg.QUEUE_TAIL, 8),
        )
        registers.put(reg.QUEUE_HEAD, 8, done.head)
        if done.interrupts and not registers.read(reg.COMPLETION_STATUS, 4):
            registers.put(reg.COMPLETION_STATUS, 4, 1)
            self._event(reg.COMPLETION_EVENT)
        if done.error:
            status = registers.read(reg.FAULT_STATUS, 4)
            registers.put(reg.FAULT_STATUS, 4, status | _QUEUE_ERROR)
            if not status & _FAULTS:
                self._event(reg.FAULT_EVENT)

    def state(self) -> dict[str, Any]:
        """The registers, and the tables that commands have set."""
        return {"registers": bytes(self._registers.data), "root": self._root, "interrupts": self._interrupts}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`."""
        self._registers.data[:] = state["registers"]
        self._root, self._interrupts = state["root"], state["interrupts"]
