"""The VM handle of the `unicorn` accelerator."""

import ctypes
import errno
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mpvm.abi.core import open_core
from mpvm.abi.errors import StartError
from mpvm.abi.exits import ExitReason
from mpvm.abi.kvm.constants import Cap, IoeventfdFlag, MemFlag
from mpvm.abi.layout import MAX_VCPUS, PAGE_SIZE
from mpvm.cpu.models import CpuModel
from mpvm.kvm.blocks import Blocks, private_blocks, shared_blocks
from mpvm.kvm.eventfds import IoEventFds, IrqFds
from mpvm.kvm.handle import Handle, fail
from mpvm.kvm.irqchip import GSIS, IrqChip
from mpvm.kvm.memory import Memory
from mpvm.kvm.runner import Runner, thread_runner
from mpvm.kvm.slots import Backends, Region, changed, offset_of, publish, shared
from mpvm.kvm.vcpu import Vcpu

if TYPE_CHECKING:
    from mpvm.coordinator.exit_callbacks import Attachment, Callback, ExitCallbacks

# A vCPU comes to the end of a block in microseconds. Only one that waits for another one does not, which
# stands in a locked access to a device's register that nobody answers.
_PATIENCE_SECONDS: Final = 10.0
_NS_PER_SECOND: Final = 1_000_000_000
_HIGHEST_TSS: Final = (1 << 32) - 3 * PAGE_SIZE


class Vm(Handle):
    """Memory slots, vCPUs, and what they share."""

    def __init__(self, *, processes: bool, extensions: Mapping[int, int], model: CpuModel) -> None:
        self.model = model
        self._extensions = extensions
        self._processes = processes
        self.blocks: Blocks = shared_blocks() if processes else private_blocks()
        self._vcpus: dict[int, Vcpu] = {}
        self._regions: dict[int, Region] = {}
        self._backends = Backends(self.blocks.page.page_count * PAGE_SIZE)
        self._gate = threading.Condition()
        self._running: set[Vcpu] = set()
        self._changing = False
        self.irqchip: IrqChip | None = None
        self.callbacks: ExitCallbacks | None = None
        self.ioeventfds = IoEventFds()
        self._irqfds = IrqFds(self._pulse)

    def close(self) -> None:
        """Its vCPUs stay until they are closed."""
        if not self._closed:
            self._irqfds.close()
            super().close()
            self.release()

    def release(self) -> None:
        """Give the memory back once the VM and all its vCPUs are closed."""
        if self._closed and all(vcpu.closed for vcpu in self._vcpus.values()):
            self.blocks.close()

    def check_extension(self, cap: Cap | int) -> int:
        """As that of the system handle."""
        self.check_open("CHECK_EXTENSION")
        return self._extensions.get(int(cap), 0)

    # --- vCPUs --------------------------------------------------------------------------------------------

    def create_vcpu(self, vcpu_id: int) -> Vcpu:
        """A vCPU; its id is its APIC id."""
        self.check_open("CREATE_VCPU")
        with self._gate:
            if not 0 <= vcpu_id < MAX_VCPUS:
                fail(errno.EINVAL, "CREATE_VCPU", f"vCPU ids are 0 to {MAX_VCPUS - 1}")
            if vcpu_id in self._vcpus:
                fail(errno.EEXIST, "CREATE_VCPU", f"there is a vCPU {vcpu_id}")
            try:
                self._vcpus[vcpu_id] = Vcpu(self, vcpu_id, self._runner)
            except StartError as error:
                fail(errno.ENOMEM, "CREATE_VCPU", str(error))
            return self._vcpus[vcpu_id]

    def _runner(self, index: int) -> Runner:
        if self._processes:
            from mpvm.kvm.worker import worker_runner

            return worker_runner(self.blocks, index)
        return thread_runner(self.blocks, index)

    @contextmanager
    def entered(self, vcpu: Vcpu) -> Iterator[None]:
        """While it runs: whatever wants all vCPUs stopped waits for it, and it for them."""
        with self._gate:
            self._gate.wait_for(lambda: not self._changing)
            vcpu.ask_pause(vcpu.kvm_run.immediate_exit != 0)
            self._running.add(vcpu)
        try:
            yield
        finally:
            with self._gate:
                self._running.discard(vcpu)
                self._gate.notify_all()

    def stop(self, vcpu: Vcpu) -> None:
        """Make the `run` of `vcpu` that goes on, if one does, come back."""
        with self._gate:
            if vcpu in self._running:
                vcpu.ask_pause(True)

    def kick(self, index: int) -> None:
        """Make it look into its inbox."""
        if index in self._vcpus:
            self._vcpus[index].kick_inbox()

    @contextmanager
    def _stopped(self, call: str) -> Iterator[None]:
        """While no vCPU runs; EBUSY when one does not stop."""
        with self._gate:
            self._gate.wait_for(lambda: not self._changing)
            self._changing = True
            for vcpu in self._running:
                vcpu.ask_pause(True)
            stopped = self._gate.wait_for(lambda: not self._running, _PATIENCE_SECONDS)
        try:
            if not stopped:
                fail(errno.EBUSY, call, "a vCPU waits for another one's exit to be answered")
            yield
        finally:
            with self._gate:
                self._changing = False
                self._gate.notify_all()

    def on_exit(
        self, reason: ExitReason, callback: "Callback", only: Collection[int] | None = None
    ) -> "Attachment":
        """Have `callback(exit)` called at every exit for `reason`, before `run` tells of it; not KVM's.

        As `mpvm.coordinator.vm.VirtualMachine.on_exit`, in the thread that runs the vCPU. `only`: those
        ports, MSRs or exception vectors. What is returned is for `off_exit`. `CallbackError` when nothing
        makes a vCPU exit for it.
        """
        self.check_open("on_exit")
        if self.callbacks is None:
            from mpvm.coordinator.exit_callbacks import ExitCallbacks

            self.callbacks = ExitCallbacks(self._callbacks_changed, tuple, lambda _precise: None)
        return self.callbacks.attach(reason, callback, only)

    def off_exit(self, attachment: "Attachment") -> None:
        """Call it no more."""
        if self.callbacks is not None:
            self.callbacks.detach(attachment)

    def _callbacks_changed(self) -> None:
        with self._stopped("on_exit"):
            for vcpu in self._vcpus.values():
                vcpu.controls_changed()

    # --- Memory -------------------------------------------------------------------------------------------

    def allocate_memory(self, size: int) -> Memory:
        """Zeroed memory for a slot that every vCPU can see."""
        self.check_open("allocate_memory")
        return self.blocks.allocate(size)

    def set_user_memory_region(self, slot: int, flags: int, gpa: int, size: int, address: int) -> None:
        """Make, move, change or (size 0) delete a slot: `size` bytes at `address` of this process."""
        call = "SET_USER_MEMORY_REGION"
        self.check_open(call)
        region = Region(slot, flags, gpa, size, address)
        changed(self._regions, region)
        if self._processes and size and not self.blocks.holds(address, size):
            fail(errno.EFAULT, call, "workers see only memory from allocate_memory()")
        with self._stopped(call):
            old = self._regions
            new = changed(old, region)
            backends = (
                shared(self.blocks.ram_address, self.blocks.ram_bytes)
                if self._processes
                else self._backends.take(new)
            )
            publish(self.blocks.page, new, backends, by_host=not self._processes)
            self._offsets = {number: offset_of(each, backends) for number, each in new.items()}
            self._regions = new
            if flags & MemFlag.LOG_DIRTY_PAGES and slot in new and new[slot] != old.get(slot):
                self._read_log(slot, size // PAGE_SIZE)

    def get_dirty_log(self, slot: int, pages: int) -> bytes:
        """A bit for each of the slot's `pages` that was written since the last call."""
        call = "GET_DIRTY_LOG"
        self.check_open(call)
        if not 0 <= slot < self._extensions[Cap.NR_MEMSLOTS]:
            fail(errno.EINVAL, call, f"there is no slot {slot}")
        with self._gate:
            region = self._regions.get(slot)
            if region is None or not region.flags & MemFlag.LOG_DIRTY_PAGES:
                fail(errno.ENOENT, call, f"slot {slot} logs nothing")
        return self._read_log(slot, min(pages, region.size // PAGE_SIZE))

    def _read_log(self, slot: int, pages: int) -> bytes:
        read = open_core().engine_dirty_log
        read.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64]
        read.restype = ctypes.c_bool
        bitmap = (ctypes.c_uint64 * -(-pages // 64))()
        patience = int(_PATIENCE_SECONDS * _NS_PER_SECOND)
        if not read(self.blocks.vm_address, self._offsets[slot] // PAGE_SIZE, pages, bitmap, patience):
            fail(errno.EBUSY, "GET_DIRTY_LOG", "a vCPU waits for another one's exit to be answered")
        return bytes(bitmap)

    def write_memory(self, gpa: int, data: bytes) -> None:
        """Store `data` at `gpa`, in one slot, while vCPUs may run what is there: they then run the new bytes.

        Code that is changed behind their back, by `Memory.view`, need not be noticed. EFAULT outside slots.
        """
        self.check_open("write_memory")
        with self._gate:
            found = next(
                (r for r in self._regions.values() if r.gpa <= gpa and gpa + len(data) <= r.gpa + r.size),
                None,
            )
            if found is None:
                fail(errno.EFAULT, "write_memory", f"{len(data):#x} bytes at {gpa:#x} are in no slot")
            offset = self._offsets[found.slot] + gpa - found.gpa
        write = open_core().engine_dma_write
        pointer, u64 = ctypes.c_void_p, ctypes.c_uint64
        write.argtypes = [pointer, pointer, u64, ctypes.c_char_p, u64, u64]
        write.restype = u64
        base = (found.address + gpa - found.gpa - offset) % (1 << 64)
        patience = int(_PATIENCE_SECONDS * _NS_PER_SECOND)
        if write(self.blocks.vm_address, base, offset, data, len(data), patience) < len(data):
            fail(errno.EBUSY, "write_memory", "a vCPU waits for another one's exit to be answered")

    def set_tss_addr(self, address: int) -> None:
        """Three pages below 4 GiB; nothing has to be kept there."""
        self.check_open("SET_TSS_ADDR")
        if not 0 <= address <= _HIGHEST_TSS:
            fail(errno.EINVAL, "SET_TSS_ADDR", "three pages below 4 GiB are right")

    def set_identity_map_addr(self, address: int) -> None:
        """A page below 4 GiB, before the first vCPU; nothing has to be kept there."""
        self.check_open("SET_IDENTITY_MAP_ADDR")
        if self._vcpus:
            fail(errno.EINVAL, "SET_IDENTITY_MAP_ADDR", "there are vCPUs already")

    # --- Interrupts ---------------------------------------------------------------------------------------

    def create_irqchip(self) -> None:
        """The 8259s, the I/O APIC, and a local APIC in every vCPU that is made from now on."""
        call = "CREATE_IRQCHIP"
        self.check_open(call)
        with self._gate:
            if self.irqchip is not None:
                fail(errno.EEXIST, call)
            if self._vcpus:
                fail(errno.EINVAL, call, "there are vCPUs already")
            self.irqchip = IrqChip(self.blocks.page, self.blocks.areas, self.kick)

    def irq_line(self, irq: int, level: int) -> None:
        """Drive GSI `irq` of the interrupt controllers."""
        self.check_open("IRQ_LINE")
        if self.irqchip is None:
            fail(errno.ENXIO, "IRQ_LINE", "there is no irqchip")
        self.irqchip.set_irq(irq, level)

    def _pulse(self, gsi: int) -> None:
        if self.irqchip is not None:
            self.irqchip.set_irq(gsi, 1)
            self.irqchip.set_irq(gsi, 0)

    def irqfd(self, fd: int, gsi: int, flags: int = 0) -> None:
        """An eventfd whose writes raise `gsi`; with flag 1 no longer."""
        self.check_open("IRQFD")
        self._irqfds.assign(fd, gsi, flags, there=self.irqchip is not None, gsis=GSIS)

    def ioeventfd(
        self, fd: int, address: int, length: int, flags: int = 0, datamatch: int | None = None
    ) -> None:
        """An eventfd that a write to `address` signals in the place of an exit."""
        self.check_open("IOEVENTFD")
        if datamatch is not None:
            flags |= IoeventfdFlag.DATAMATCH
        self.ioeventfds.assign(fd, address, length, flags, datamatch or 0)

    def create_device(self, device_type: int, flags: int = 0) -> Handle:
        """A device (KVM_DEV_TYPE_*): there is none, so ENODEV."""
        self.check_open("CREATE_DEVICE")
        fail(errno.ENODEV, "CREATE_DEVICE", f"there is no device of type {device_type}")
