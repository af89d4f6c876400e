"""The handle of a VM."""

import ctypes
from collections.abc import Iterable
from typing import NamedTuple

from mpvm.abi.kvm import structs
from mpvm.abi.kvm.constants import MSR_FILTER_DEFAULT_DENY, Cap, IoeventfdFlag, MsrFilter
from mpvm.abi.kvm.handle import Extensible, Handle
from mpvm.abi.kvm.ioctl import Ioctl
from mpvm.abi.kvm.vcpu import Vcpu


class MsrRange(NamedTuple):
    """`msrs` of them from `first` on, for accesses of `kind`; `allowed` has a bit for each, b"" is none."""

    first: int
    msrs: int
    kind: MsrFilter = MsrFilter.READ | MsrFilter.WRITE
    allowed: bytes = b""


class Vm(Extensible):
    """Memory slots, vCPUs, and what they share."""

    def __init__(self, fd: int, vcpu_mmap_size: int) -> None:
        super().__init__(fd)
        self._vcpu_mmap_size = vcpu_mmap_size

    def create_vcpu(self, vcpu_id: int) -> Vcpu:
        """A vCPU; its id is its APIC id."""
        return Vcpu(self.ioctl(Ioctl.CREATE_VCPU, vcpu_id), self._vcpu_mmap_size)

    def set_user_memory_region(self, slot: int, flags: int, gpa: int, size: int, address: int) -> None:
        """Make, move, change or (size 0) delete a slot: `size` bytes at `address` of this process."""
        self.ioctl(
            Ioctl.SET_USER_MEMORY_REGION, structs.UserspaceMemoryRegion(slot, flags, gpa, size, address)
        )

    def get_dirty_log(self, slot: int, pages: int) -> bytes:
        """A bit for each of the slot's `pages` that was written since the last call."""
        bitmap = (ctypes.c_uint64 * -(-pages // 64))()
        self.ioctl(Ioctl.GET_DIRTY_LOG, structs.DirtyLog(slot, 0, ctypes.addressof(bitmap)))
        return bytes(bitmap)

    def enable_cap(self, cap: Cap | int, *args: int) -> None:
        """Switch a capability of the VM on."""
        argument = structs.EnableCap(int(cap))
        argument.args[: len(args)] = args
        self.ioctl(Ioctl.ENABLE_CAP, argument)

    def set_tss_addr(self, address: int) -> None:
        """Three pages below 4 GiB that Intel hosts need for real mode."""
        self.ioctl(Ioctl.SET_TSS_ADDR, address)

    def set_identity_map_addr(self, address: int) -> None:
        """A page below 4 GiB that Intel hosts need for real mode."""
        self.ioctl(Ioctl.SET_IDENTITY_MAP_ADDR, ctypes.c_uint64(address))

    def create_irqchip(self) -> None:
        """The kernel's own 8259s, I/O APIC and local APICs."""
        self.ioctl(Ioctl.CREATE_IRQCHIP)

    def create_pit2(self, flags: int = 0) -> None:
        """The kernel's own 8254."""
        self.ioctl(Ioctl.CREATE_PIT2, structs.PitConfig(flags))

    def irq_line(self, irq: int, level: int) -> None:
        """Drive a line of the kernel's interrupt controllers."""
        self.ioctl(Ioctl.IRQ_LINE, structs.IrqLevel(irq, level))

    def irqfd(self, fd: int, gsi: int, flags: int = 0) -> None:
        """An eventfd whose writes raise `gsi`."""
        self.ioctl(Ioctl.IRQFD, structs.Irqfd(fd, gsi, flags))

    def ioeventfd(
        self, fd: int, address: int, length: int, flags: int = 0, datamatch: int | None = None
    ) -> None:
        """An eventfd that a write to `address` signals in the place of an exit."""
        if datamatch is not None:
            flags |= IoeventfdFlag.DATAMATCH
        self.ioctl(Ioctl.IOEVENTFD, structs.Ioeventfd(datamatch or 0, address, length, fd, flags))

    def register_coalesced(self, address: int, size: int, *, pio: bool) -> None:
        """Writes to these addresses or ports go to the coalesced ring and do not exit."""
        self.ioctl(Ioctl.REGISTER_COALESCED_MMIO, structs.CoalescedMmioZone(address, size, pio))

    def unregister_coalesced(self, address: int, size: int, *, pio: bool) -> None:
        """They exit again."""
        self.ioctl(Ioctl.UNREGISTER_COALESCED_MMIO, structs.CoalescedMmioZone(address, size, pio))

    def filter_msrs(self, ranges: Iterable[MsrRange], *, deny_others: bool = False) -> None:
        """KVM_X86_SET_MSR_FILTER: what it denies exits, if KVM_CAP_X86_USER_SPACE_MSR has FILTER."""
        argument = structs.MsrFilter(MSR_FILTER_DEFAULT_DENY if deny_others else 0)
        keep = []
        for place, (first, msrs, kind, allowed) in zip(argument.ranges, ranges, strict=False):
            bitmap = (ctypes.c_uint8 * -(-msrs // 8))(*allowed)
            keep.append(bitmap)
            place.flags = kind
            place.nmsrs, place.base, place.bitmap = msrs, first, ctypes.addressof(bitmap)
        self.ioctl(Ioctl.X86_SET_MSR_FILTER, argument)

    def get_clock(self) -> structs.ClockData:
        """kvmclock of the VM."""
        argument = structs.ClockData()
        self.ioctl(Ioctl.GET_CLOCK, argument)
        return argument

    def set_clock(self, clock_ns: int) -> None:
        """Set kvmclock."""
        self.ioctl(Ioctl.SET_CLOCK, structs.ClockData(clock_ns))

    def create_device(self, device_type: int, flags: int = 0) -> Handle:
        """A device of the kernel (KVM_DEV_TYPE_*)."""
        argument = structs.CreateDevice(device_type, 0, flags)
        self.ioctl(Ioctl.CREATE_DEVICE, argument)
        return Handle(argument.fd)
