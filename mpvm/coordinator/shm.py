"""The two shared-memory blocks of a VM: the VM block (mpvm/abi/layout.py) and guest RAM.

Both have names, so that workers can map them. The janitor of the runtime directory unlinks them when the
coordinator is gone, however it died.
"""

import contextlib
import ctypes
import gc
import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from mpvm.abi import layout
from mpvm.abi.errors import StartError
from mpvm.coordinator.runtime_dir import SHM_DIRECTORY, segment_name

A20_ENABLED = 0xFFFFFFFF
# The fields of an area that a vCPU's worker and those who talk to it write. The mailbox stays: its head has
# met its tail, and a reset of the engine looks at it.
_OF_A_LIFE: Final = (
    *("pid", "tid", "mode", "wake", "request", "mp_state", "first_entry_ns", "attention_at"),
    *("inbox", "control", "counters", "lapic"),
)


class SlotLike(Protocol):
    """A memory slot: `size` bytes at guest-physical `gpa`, at `offset` of the RAM block."""

    @property
    def gpa(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102


def required_bytes(maxcpus: int, memory_bytes: int) -> int:
    """Bytes of shared memory that a VM needs when every page of its RAM is in use."""
    return layout.vm_block_size(maxcpus, memory_bytes) + memory_bytes


def check_room(needed: int, directory: Path = SHM_DIRECTORY) -> None:
    """Raise `StartError` when `directory`'s file system has less than `needed` bytes free.

    A segment takes its pages at their first use, and one too many is a SIGBUS in the middle of a run.
    """
    try:
        status = os.statvfs(directory)
    except OSError as error:
        raise StartError(f"{directory}: {error.strerror}; shared memory needs a tmpfs there") from error
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise StartError(
            f"the guest needs {needed >> 20} MiB of shared memory, {directory} has {free >> 20} MiB free; "
            "give it less memory or make the tmpfs larger"
        )


class _Segment:
    """A new segment of shared memory, as shm_open(3) makes one; `buf` is all of it.

    multiprocessing's class would import a pickler, a hash library and the resource tracker, which takes
    longer than to make the machine.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self._path = SHM_DIRECTORY / name
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)
            self._block = mmap.mmap(fd, size)
        except BaseException:
            self.unlink()
            raise
        finally:
            os.close(fd)
        self.buf = memoryview(self._block)

    def unlink(self) -> None:
        """Take its name away; who has it mapped keeps it."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmap it, or where a view of it is still alive leave that to the process's end."""
        with contextlib.suppress(BufferError):
            self.buf.release()
            self._block.close()


class VmMemory:
    """The mapped blocks. `page` and `areas` are ctypes views of the VM block, `ram` is the RAM block.

    There are areas for `maxcpus` vCPUs (None: no more), of which `smp` are there from the start.
    """

    def __init__(
        self,
        instance: str,
        smp: int,
        memory_bytes: int,
        slots: Sequence[SlotLike],
        maxcpus: int | None = None,
    ) -> None:
        maxcpus = maxcpus or smp
        check_room(required_bytes(maxcpus, memory_bytes))
        vm_bytes = layout.vm_block_size(maxcpus, memory_bytes)
        # A machine without RAM has a page that no slot shows.
        ram_bytes = memory_bytes or layout.PAGE_SIZE
        self._segments: list[_Segment] = []
        try:
            for part, size in (("vm", vm_bytes), ("ram", ram_bytes)):
                self._segments.append(_Segment(segment_name(instance, part), size))
        except OSError as error:
            self.close()
            raise StartError(f"can't make {size >> 20} MiB of shared memory: {error.strerror}") from error
        vm, ram = self._segments
        self.vm_name, self.ram_name = vm.name, ram.name
        self.vm = vm.buf[:vm_bytes]
        self.ram = ram.buf[:ram_bytes]
        self.page = layout.VmPage.from_buffer(self.vm)
        self.areas = [
            layout.VcpuArea.from_buffer(self.vm, layout.VCPU_OFFSET + i * layout.VCPU_STRIDE)
            for i in range(maxcpus)
        ]
        self._fill(smp, maxcpus, memory_bytes, slots)

    def _fill(self, smp: int, maxcpus: int, memory_bytes: int, slots: Sequence[SlotLike]) -> None:
        page = self.page
        page.smp = smp
        page.present = (1 << smp) - 1
        page.run_state = layout.RunState.PRELAUNCH
        page.vm_block_size = len(self.vm)
        page.vcpu_stride = layout.VCPU_STRIDE
        page.vcpu_offset = layout.VCPU_OFFSET
        page.holders_offset = layout.holders_offset(maxcpus)
        page.writers_offset = layout.writers_offset(maxcpus, memory_bytes)
        page.dirty_offset = layout.dirty_offset(maxcpus, memory_bytes)
        page.page_count = memory_bytes // layout.PAGE_SIZE
        page.ram_block_size = memory_bytes
        page.clock_base_ns = time.monotonic_ns()
        page.a20_mask = A20_ENABLED
        page.backend_count = 1
        page.backend[0] = layout.MemoryBackend(offset=0, size=memory_bytes)
        page.slot_count = len(slots)
        for entry, slot in zip(page.slot, slots, strict=False):
            entry.gpa, entry.size, entry.offset = slot.gpa, slot.size, slot.offset
        for index, area in enumerate(self.areas):
            area.index = index
            area.is_bsp = index == 0
        page.version = layout.ABI_VERSION
        page.magic = layout.ABI_MAGIC

    def set_present(self, index: int, present: bool) -> None:
        """Say in the VM page that vCPU `index` is there, or is not any more."""
        bit = 1 << index
        self.page.present = self.page.present | bit if present else self.page.present & ~bit

    def renew_area(self, index: int) -> None:
        """Forget what a vCPU that was there before has left in area `index`; nobody has it now."""
        area = self.areas[index]
        for name in _OF_A_LIFE:
            field = getattr(layout.VcpuArea, name)
            ctypes.memset(ctypes.addressof(area) + field.offset, 0, field.size)

    def close(self, *, unmap: bool = True) -> None:
        """Drop the views and unlink both segments. Views that others still hold stay valid.

        Without `unmap` that is left to the end of the process, which comes now.
        """
        for name in ("page", "areas", "vm", "ram"):
            self.__dict__.pop(name, None)
        for segment in self._segments:
            segment.unlink()
        if unmap:
            # There are views that only garbage holds.
            gc.collect()
            for segment in self._segments:
                segment.close()
        self._segments.clear()
