"""The VM block of a VM, and where memory for its slots comes from."""

import ctypes
import mmap
from collections.abc import Callable
from typing import Any, Final

from mpvm.abi import layout
from mpvm.coordinator import tsc
from mpvm.kvm.memory import Memory

#: Guest memory at once: page map and log of a VM in one process, and what a VM of processes can be given.
PRIVATE_BYTES: Final = 16 << 30
SHARED_BYTES: Final = 256 << 20
_A20_ENABLED: Final = 0xFFFFFFFF
_NOBODY = 0


class Blocks:
    """The VM block as `page` and `areas`; `ram` is the RAM block of a VM whose vCPUs are processes."""

    def __init__(self, vm: Any, ram: Any, ram_bytes: int, close: Callable[[], None]) -> None:
        anchor: Any = ctypes.c_char.from_buffer(vm)
        self.vm_address = ctypes.addressof(anchor)
        self.page = layout.VmPage.from_buffer(vm)
        self.areas = [
            layout.VcpuArea.from_buffer(vm, layout.VCPU_OFFSET + index * layout.VCPU_STRIDE)
            for index in range(layout.MAX_VCPUS)
        ]
        self.ram_bytes = ram_bytes
        self._ram = ram
        ram_anchor: Any = None if ram is None else ctypes.c_char.from_buffer(ram)
        self.ram_address = _NOBODY if ram is None else ctypes.addressof(ram_anchor)
        self._allocated = 0
        self._close = close
        self.names = ("", "")
        _fill(self.page, self.areas, len(vm), ram_bytes)

    def allocate(self, size: int) -> Memory:
        """Zeroed memory of whole pages; `MemoryError` when the RAM block is used up."""
        size = -(-size // layout.PAGE_SIZE) * layout.PAGE_SIZE
        if self._ram is None:
            return Memory(mmap.mmap(-1, size))
        if self._allocated + size > self.ram_bytes:
            raise MemoryError(f"{self.ram_bytes >> 20} MiB of guest memory are all that processes share")
        self._allocated += size
        return Memory(memoryview(self._ram)[self._allocated - size : self._allocated])

    def holds(self, address: int, size: int) -> bool:
        """Whether that memory of this process is in the RAM block."""
        return self.ram_address <= address and address + size <= self.ram_address + self.ram_bytes

    def close(self) -> None:
        """Let go of both blocks."""
        self._close()


def _fill(page: layout.VmPage, areas: list[layout.VcpuArea], block_bytes: int, ram_bytes: int) -> None:
    smp = layout.MAX_VCPUS
    page.version, page.smp = layout.ABI_VERSION, smp
    # Any of them may be made at any time, and then gets interrupts and is waited for.
    page.present = (1 << smp) - 1
    page.run_state = layout.RunState.RUNNING
    page.vm_block_size = block_bytes
    page.vcpu_stride, page.vcpu_offset = layout.VCPU_STRIDE, layout.VCPU_OFFSET
    page.holders_offset = layout.holders_offset(smp)
    page.writers_offset = layout.writers_offset(smp, ram_bytes)
    page.dirty_offset = layout.dirty_offset(smp, ram_bytes)
    page.page_count, page.ram_block_size = ram_bytes // layout.PAGE_SIZE, ram_bytes
    page.tsc_khz = tsc.METER.frequency_khz()
    page.a20_mask = _A20_ENABLED
    page.precise_exits = 1
    # Nobody drains the ring of posted writes, so it is full: a level-triggered interrupt's end is an exit.
    page.posted_tail = layout.POSTED_RING_ENTRIES
    for index, area in enumerate(areas):
        area.index = area.apic_id = index
        area.host_cpus = smp
    page.magic = layout.ABI_MAGIC


def private_blocks() -> Blocks:
    """For vCPUs in the threads of this process: slots may have any memory of it."""
    block = mmap.mmap(-1, layout.vm_block_size(layout.MAX_VCPUS, PRIVATE_BYTES))
    return Blocks(block, None, PRIVATE_BYTES, lambda: None)


def shared_blocks() -> Blocks:
    """For vCPUs that are processes."""
    from mpvm.kvm.worker import segments

    return segments(SHARED_BYTES)
