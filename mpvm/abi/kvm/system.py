"""The handle of `/dev/kvm`."""

import ctypes
import errno
import os
from collections.abc import Sequence
from typing import Any, Self

from mpvm.abi.kvm import structs
from mpvm.abi.kvm.handle import Extensible, Handle
from mpvm.abi.kvm.ioctl import Ioctl
from mpvm.abi.kvm.vm import Vm

DEVICE = "/dev/kvm"
_FIRST_GUESS = 128


def listed(
    handle: Handle, number: Ioctl, head: type[ctypes.Structure], entry: Any, count_field: str
) -> list[Any]:
    """All entries that the ioctl `number` lists: asked again with more room while the kernel says E2BIG."""
    room = _FIRST_GUESS
    while True:
        argument = structs.with_entries(head, entry, room)()
        setattr(argument, count_field, room)
        try:
            handle.ioctl(number, argument)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            room *= 2
            continue
        entries: Sequence[Any] = argument.entries
        return list(entries[: getattr(argument, count_field)])


class System(Extensible):
    """What KVM is on this host, and where VMs come from."""

    @classmethod
    def open(cls, path: str = DEVICE) -> Self:
        """Open `path`; `OSError` as open(2)."""
        return cls(os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def api_version(self) -> int:
        """`constants.API_VERSION`, or it is another interface."""
        return self.ioctl(Ioctl.GET_API_VERSION)

    def vcpu_mmap_size(self) -> int:
        """Bytes of a vCPU's mapping."""
        return self.ioctl(Ioctl.GET_VCPU_MMAP_SIZE)

    def supported_cpuid(self) -> list[structs.CpuidEntry2]:
        """The leaves that KVM can offer on this host."""
        return listed(self, Ioctl.GET_SUPPORTED_CPUID, structs.Cpuid2, structs.CpuidEntry2, "nent")

    def emulated_cpuid(self) -> list[structs.CpuidEntry2]:
        """What it can offer beyond that, by slow emulation."""
        return listed(self, Ioctl.GET_EMULATED_CPUID, structs.Cpuid2, structs.CpuidEntry2, "nent")

    def msr_indices(self) -> list[int]:
        """The MSRs that a vCPU has to be saved with."""
        return listed(self, Ioctl.GET_MSR_INDEX_LIST, structs.MsrList, structs.u32, "nmsrs")

    def msr_feature_indices(self) -> list[int]:
        """The MSRs that tell features of the host."""
        return listed(self, Ioctl.GET_MSR_FEATURE_INDEX_LIST, structs.MsrList, structs.u32, "nmsrs")

    def create_vm(self, machine_type: int = 0) -> Vm:
        """A VM without memory or vCPUs; it works in this process only."""
        return Vm(self.ioctl(Ioctl.CREATE_VM, machine_type), self.vcpu_mmap_size())
