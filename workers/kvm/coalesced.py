"""Posted ports in KVM's coalesced ring: a write to one does not exit.

KVM has a ring a VM. A machine with several vCPUs is several VMs here, whose rings nobody could put in order
again, so only a machine with one vCPU has this; the others' writes exit, to the ring of posted writes.
"""

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Final

from mpvm.abi.kvm import structs
from mpvm.abi.kvm.constants import COALESCED_MMIO_PAGE_OFFSET, Cap
from mpvm.abi.kvm.vcpu import Vcpu
from mpvm.abi.kvm.vm import Vm
from mpvm.abi.layout import IO_PORTS, PAGE_SIZE, PortWrite, VcpuArea, VcpuMode, VmPage

_ENTRIES: Final = (PAGE_SIZE - ctypes.sizeof(structs.CoalescedMmioRing)) // ctypes.sizeof(
    structs.CoalescedMmio
)
#: How long a write may wait for a guest that makes no other exit.
_LATEST_SECONDS: Final = 0.01


class Coalesced:
    """The ring in the mapping of `vcpu`."""

    def __init__(self, vm: Vm, vcpu: Vcpu, page: VmPage, area: VcpuArea) -> None:
        self._vm = vm
        self._page = page
        self._area = area
        ring = structs.with_entries(structs.CoalescedMmioRing, structs.CoalescedMmio, _ENTRIES)
        self._ring = ring.from_buffer(vcpu.mapping, COALESCED_MMIO_PAGE_OFFSET * PAGE_SIZE)
        # One that may be added later counts: two rings have no order between them.
        vcpus = (page.holders_offset - page.vcpu_offset) // page.vcpu_stride
        self._wanted = vcpus == 1 and bool(vm.check_extension(Cap.COALESCED_PIO))
        self._stopped = threading.Event()
        self._allowed = True
        self._flusher: threading.Thread | None = None

    def start(self, kick: Callable[[], None]) -> None:
        """The devices have said which ports are posted; a second time is nothing. `kick` is the vCPU's."""
        if not self._wanted or self._flusher is not None:
            return
        self._register()
        self._flusher = threading.Thread(target=self._flush, args=(kick,), name="coalesced", daemon=True)
        # The coordinator's kick is for the thread that runs the guest.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._flusher.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)

    def allow(self, allowed: bool) -> None:
        """Whether these ports' writes may pass without an exit."""
        if allowed == self._allowed:
            return
        self._allowed = allowed
        if self._flusher is not None:
            self._register()

    def _register(self) -> None:
        for first, count in self._zones():
            if self._allowed:
                self._vm.register_coalesced(first, count, pio=True)
            else:
                self._vm.unregister_coalesced(first, count, pio=True)

    def drain(self, post: Callable[[int, int, int], None]) -> None:
        """Call `post(port, size, data)` for each write, in order."""
        ring = self._ring
        while ring.first != ring.last:
            entry = ring.entries[ring.first]
            post(entry.phys_addr, entry.len, int.from_bytes(bytes(entry.data[: entry.len]), "little"))
            ring.first = (ring.first + 1) % _ENTRIES

    def stop(self) -> None:
        """End the thread; the ring goes with the vCPU's mapping."""
        self._stopped.set()
        if self._flusher is not None:
            self._flusher.join()
        del self._ring

    def _zones(self) -> Iterator[tuple[int, int]]:
        """First port and number of ports."""
        # Where nobody hears now, a device may come.
        posted = bytes(who in (PortWrite.POSTED, PortWrite.IGNORED) for who in self._page.port_posted)
        first = posted.find(1)
        while first >= 0:
            end = posted.find(0, first)
            end = IO_PORTS if end < 0 else end
            yield first, end - first
            first = posted.find(1, end)

    def _flush(self, kick: Callable[[], None]) -> None:
        """Kick a guest that has written and makes no exit."""
        ring = self._ring
        while not self._stopped.wait(_LATEST_SECONDS):
            if ring.first != ring.last and self._area.mode == VcpuMode.IN_GUEST:
                kick()
