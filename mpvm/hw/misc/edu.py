"""QEMU's `edu`: a PCI device to learn drivers from (QEMU's docs/specs/edu.txt).

It inverts, computes factorials, raises interrupts, by its pin or by a message, and copies between guest
memory and 4 KiB of its own. What it is told to do is done when the write that tells it is.
"""

from typing import Any, Final

from mpvm.abi.log import LogItem
from mpvm.hw.pci.bar import Bar
from mpvm.hw.pci.function import Header, PciFunction, Register, Status, header
from mpvm.hw.pci.msi import Msi
from mpvm.memory.region import Region
from mpvm.qom import properties
from mpvm.qom.type_info import register_type
from mpvm.trace.log import log_mask

VENDOR_QEMU: Final = 0x1234
DEVICE_EDU: Final = 0x11E8
REVISION: Final = 0x10
CLASS_OTHER: Final = 0x00FF00
BAR_SIZE: Final = 1 << 20

IDENTITY, LIVENESS, FACTORIAL, STATUS = 0x00, 0x04, 0x08, 0x20
INTERRUPTS, RAISE, ACKNOWLEDGE = 0x24, 0x60, 0x64
DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98
# From here on, accesses of 8 bytes are accesses, too.
_WIDE: Final = 0x80

_IDENTITY: Final = 0x010000ED
STATUS_FACTORIAL_IRQ: Final = 0x80
COMMAND_START, COMMAND_TO_RAM, COMMAND_IRQ = 0x1, 0x2, 0x4
IRQ_FACTORIAL: Final = 0x001
IRQ_DMA: Final = 0x100
BUFFER: Final = 0x40000
BUFFER_BYTES: Final = 4096

_MSI_OFFSET: Final = 0x40
_INTA: Final = 1
_MASK_32: Final = 0xFFFFFFFF
_MASK_64: Final = (1 << 64) - 1
# The factorials from here on are multiples of 2**32.
_FACTORIALS: Final = 34


def factorial(number: int) -> int:
    """`number`! modulo 2**32."""
    product = 1
    for factor in range(2, number + 1 if number < _FACTORIALS else 0):
        product = product * factor & _MASK_32
    return product if number < _FACTORIALS else 0


@register_type("edu")
class Edu(PciFunction):
    """Its registers are in BAR 0. In a transfer, the side that is not guest memory is in its buffer."""

    user_creatable = True

    dma_mask = properties.uint64((1 << 28) - 1, "the address bits that it has", name="dma_mask")

    def realize(self) -> None:
        """Lay out configuration space."""
        self._msi = self.msi = Msi(self, _MSI_OFFSET)
        self.set_registers(
            (
                *header(
                    VENDOR_QEMU, DEVICE_EDU, CLASS_OTHER, REVISION, status=Status.CAPABILITIES, pin=_INTA
                ),
                Register(Header.CAPABILITIES, 1, _MSI_OFFSET),
                *self._msi.registers(),
            ),
            [Bar(0, BAR_SIZE, Region("edu-mmio", BAR_SIZE, self._read, self._write))],
        )
        self._clear()

    def _clear(self) -> None:
        self._registers = dict.fromkeys(
            (LIVENESS, FACTORIAL, STATUS, INTERRUPTS, DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND), 0
        )
        self._buffer = bytearray(BUFFER_BYTES)

    def reset_enter(self) -> None:
        """As after power-up."""
        super().reset_enter()
        self._clear()

    def _read(self, offset: int, size: int) -> int:
        if size < 4 or offset % size:
            return 0
        if not _is_access(offset, size):
            return (1 << 8 * size) - 1
        if offset == IDENTITY:
            return _IDENTITY
        value = self._registers.get(offset, _MASK_64)
        return (~value if offset == LIVENESS else value) & (1 << 8 * size) - 1

    def _write(self, offset: int, size: int, value: int) -> None:
        if not _is_access(offset, size):
            return
        if offset == RAISE:
            self._raise(value)
        elif offset == ACKNOWLEDGE:
            self._acknowledge(value)
        elif offset == FACTORIAL:
            self._registers[FACTORIAL] = factorial(value)
            if self._registers[STATUS] & STATUS_FACTORIAL_IRQ:
                self._raise(IRQ_FACTORIAL)
        elif offset == STATUS:
            self._registers[STATUS] = value & STATUS_FACTORIAL_IRQ
        elif offset == DMA_COMMAND:
            if value & COMMAND_START:
                self._registers[DMA_COMMAND] = value & ~COMMAND_START
                self._transfer(value)
        elif offset == LIVENESS or (offset >= _WIDE and offset in self._registers):
            self._registers[offset] = value

    def _transfer(self, command: int) -> None:
        source, destination = self._registers[DMA_SOURCE], self._registers[DMA_DESTINATION]
        size = self._registers[DMA_COUNT]
        to_ram = bool(command & COMMAND_TO_RAM)
        inside, address = (source, destination) if to_ram else (destination, source)
        start = inside - BUFFER
        if start < 0 or start + size > BUFFER_BYTES:
            log_mask(LogItem.GUEST_ERRORS, "edu: %d bytes at %#x are not in its buffer", size, inside)
            return
        address &= self.dma_mask
        if to_ram:
            self.dma_write(address, bytes(self._buffer[start : start + size]))
        else:
            self._buffer[start : start + size] = self.dma_read(address, size)
        if command & COMMAND_IRQ:
            self._raise(IRQ_DMA)

    def _raise(self, bits: int) -> None:
        self._registers[INTERRUPTS] |= bits
        if not self._registers[INTERRUPTS]:
            return
        if self._msi.enabled:
            self._msi.notify()
        else:
            self.set_intx(1)

    def _acknowledge(self, bits: int) -> None:
        self._registers[INTERRUPTS] &= ~bits
        if not self._registers[INTERRUPTS] and not self._msi.enabled:
            self.set_intx(0)

    def state(self) -> dict[str, Any]:
        """Configuration space, registers by offset, and the buffer."""
        return {**super().state(), "registers": list(self._registers.items()), "buffer": bytes(self._buffer)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over `state`."""
        super().load(state)
        self._registers = dict(state["registers"])
        self._buffer[:] = state["buffer"]


def _is_access(offset: int, size: int) -> bool:
    return offset % size == 0 and (size == 4 or (size == 8 and offset >= _WIDE))
