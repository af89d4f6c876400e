"""Publishes what devices declare about their ports and memory in the VM page, where workers look first.

Posted ports go to the ring of posted writes, what is written to ignored ones goes nowhere, and shadowed
registers are read by the workers themselves, as are ports where nobody answers.
"""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Final

from mpvm.abi.errors import DeviceError
from mpvm.abi.layout import (
    IO_PORTS,
    MAX_DEVICE_RANGES,
    MAX_MEMORY_SHADOWS,
    MAX_MEMORY_SLOTS,
    MAX_SHADOWS,
    MemorySlot,
    PortWrite,
    ShadowKind,
    VmPage,
)
from mpvm.abi.log import LogItem
from mpvm.hw.intc.ioapic import BASE_ADDRESS, Window
from mpvm.memory.address_space import AddressSpace
from mpvm.memory.ram import VGA_HOLE_END, VGA_HOLE_START
from mpvm.memory.region import RamRegion, ShadowRegister
from mpvm.trace.log import log_enabled

_SEQUENCE_MASK: Final = 0xFFFFFFFF


class PublishedWindow(Window):
    """The I/O APIC's registers in `page`, where workers find them."""

    def __init__(self, page: VmPage) -> None:
        self._page = page
        page.ioapic_base = BASE_ADDRESS

    @property
    def select(self) -> int:
        """The index register, which workers write themselves."""
        return int(self._page.ioapic_select)

    @select.setter
    def select(self, value: int) -> None:
        self._page.ioapic_select = value

    def show(self, index: int, value: int) -> None:
        """Register `index` reads as `value` from now on."""
        self._page.ioapic_registers[index] = value


class Publisher:
    """Fills `port_posted`, `port_shadow` and `shadow` of `page`."""

    def __init__(self, page: VmPage) -> None:
        self._page = page
        self._slots: dict[int, int] = {}
        # Registers are kept so that their identities stay theirs.
        self._registers: list[ShadowRegister] = []

    def publish_memory(self, memory: AddressSpace) -> None:
        """Publish where in `memory` devices are, now and whenever that changes, and their shadowed registers.

        Those, each of 8 bytes, are of regions that are mapped now.
        """
        if not log_enabled(LogItem.GUEST_ERRORS):
            memory.changed = lambda: self._publish_ranges(memory)
            memory.changed()
        for base, region in memory.regions():
            for offset, register in region.shadows.items():
                count = self._page.memory_shadow_count
                if count == MAX_MEMORY_SHADOWS:
                    raise DeviceError(f"more than {MAX_MEMORY_SHADOWS} shadowed registers in memory")
                at = self._page.memory_shadow[count]
                at.gpa, at.shadow = base + offset, self._slot(register)
                self._page.memory_shadow_count = count + 1

    def publish_ram(
        self, memory: AddressSpace, block: memoryview, store: Callable[[int, bytes], None]
    ) -> None:
        """Make memory slots of the regions of `memory` that are memory, so that nobody hears of an access.

        They lie in the part of the RAM block that no RAM slot shows, as long as there is room; `store` is
        `Host.dma_store`. To be called while no vCPU runs.
        """
        page, offset = self._page, VGA_HOLE_START
        for start, end, base, region in memory.ranges():
            if not isinstance(region, RamRegion) or end - start != region.size:
                continue
            if offset + region.size > VGA_HOLE_END or page.slot_count == MAX_MEMORY_SLOTS:
                return
            region.bind(block[offset : offset + region.size], partial(_store_at, store, offset))
            # The count and the generation come last, for workers that look meanwhile.
            page.slot[page.slot_count] = MemorySlot(base, region.size, offset)
            page.slot_count += 1
            page.memory_generation += 1
            offset += region.size

    def _publish_ranges(self, memory: AddressSpace) -> None:
        page, ranges = self._page, memory.ranges()
        page.device_ranges_seq = page.device_ranges_seq + 1 | 1
        if len(ranges) > MAX_DEVICE_RANGES:
            return
        page.device_range_count = len(ranges)
        for at, each in zip(page.device_range, ranges, strict=False):
            at.start, at.end = each.start, each.end
        page.device_ranges_seq += 1

    def publish(self, ports: AddressSpace) -> None:
        """Publish every region of `ports`, now and whenever they change."""
        # Who logs what guests do wrong wants to hear of accesses to nobody.
        nobody = 0 if log_enabled(LogItem.GUEST_ERRORS) else self._nobody() + 1

        def refresh() -> None:
            writes = bytearray([PortWrite.NOBODY if nobody else PortWrite.SYNCHRONOUS]) * IO_PORTS
            reads = bytearray([nobody]) * IO_PORTS
            for start, end, base, region in ports.ranges():
                writes[start:end] = reads[start:end] = bytes(end - start)
                for offset in region.posted:
                    if start <= base + offset < end:
                        writes[base + offset] = PortWrite.POSTED
                for offset in region.ignored:
                    if start <= base + offset < end:
                        writes[base + offset] = PortWrite.IGNORED
                for offset, register in region.shadows.items():
                    if start <= base + offset < end:
                        reads[base + offset] = self._slot(register) + 1
            # As bytes: an assignment would go through them one by one, for milliseconds.
            for name, told in (("port_posted", writes), ("port_shadow", reads)):
                at = ctypes.addressof(self._page) + getattr(VmPage, name).offset
                ctypes.memmove(at, bytes(told), IO_PORTS)

        ports.changed = refresh
        refresh()

    def _nobody(self) -> int:
        """The slot of what nobody answers."""
        slot = self._slot(ShadowRegister())
        self._page.shadow[slot].kind = ShadowKind.NOBODY
        return slot

    def _slot(self, register: ShadowRegister) -> int:
        known = self._slots.get(id(register))
        if known is not None:
            return known
        slot = len(self._registers)
        if slot == MAX_SHADOWS:
            raise DeviceError(f"more than {MAX_SHADOWS} shadowed registers")
        self._registers.append(register)
        self._slots[id(register)] = slot
        register.bind(lambda changed: self._write(slot, changed))
        return slot

    def _write(self, slot: int, register: ShadowRegister) -> None:
        """A seqlock's write side: x86 keeps the three groups of stores in order."""
        shadow = self._page.shadow[slot]
        shadow.seq = (shadow.seq + 1) & _SEQUENCE_MASK
        if not register.published:
            shadow.kind = ShadowKind.NONE
        elif register.counter is None:
            shadow.kind = ShadowKind.CONSTANT
            shadow.value = register.value
        else:
            shadow.kind = ShadowKind.COUNTER
            shadow.value, shadow.base_ns, shadow.hz, shadow.mask = register.counter
        shadow.seq = (shadow.seq + 1) & _SEQUENCE_MASK


def _store_at(store: Callable[[int, bytes], None], base: int, offset: int, data: bytes) -> None:
    store(base + offset, data)
