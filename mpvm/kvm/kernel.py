"""The kernel's KVM under the names of `mpvm.kvm`."""

import ctypes
import errno
import mmap
import signal
import threading
from typing import NoReturn

from mpvm.abi.exits import VMX_EXIT, ExitReason
from mpvm.abi.kvm import structs
from mpvm.abi.kvm import system as abi_system
from mpvm.abi.kvm import vcpu as abi_vcpu
from mpvm.abi.kvm import vm as abi_vm
from mpvm.abi.kvm.ioctl import Ioctl
from mpvm.kvm.memory import Memory

_KICK = signal.SIGUSR1


class Vcpu(abi_vcpu.Vcpu):
    """A vCPU of the kernel's."""

    _thread: int | None = None

    def run(self) -> int:
        """Run guest code until an exit; its reason. `InterruptedError` when a signal or `kick` came."""
        self._thread = threading.get_ident()
        try:
            return super().run()
        finally:
            self._thread = None

    def kick(self) -> None:
        """From another thread: end its `run` with EINTR, the one that goes on or the next one."""
        self.kvm_run.immediate_exit = 1
        thread = self._thread
        if thread is not None:
            # Its handler only has to be there: a signal that is ignored interrupts nothing.
            if signal.getsignal(_KICK) in (signal.SIG_DFL, signal.SIG_IGN):
                ctypes.CDLL(None).signal(int(_KICK), _nothing)
            signal.pthread_kill(thread, _KICK)


_nothing = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _number: None)


class Vm(abi_vm.Vm):
    """A VM of the kernel's."""

    def create_vcpu(self, vcpu_id: int) -> Vcpu:
        """A vCPU; its id is its APIC id."""
        return Vcpu(self.ioctl(Ioctl.CREATE_VCPU, vcpu_id), self._vcpu_mmap_size)

    def on_exit(self, reason: int, callback: object, only: object = None) -> NoReturn:
        """EOPNOTSUPP: the kernel serves these events itself, or `run` returns with them."""
        name = ExitReason(reason).name
        why = "KVM serves it in the kernel" if reason >= VMX_EXIT else "run() returns with what exits"
        raise OSError(errno.EOPNOTSUPP, f"no callback for {name}: {why}", "on_exit")

    def allocate_memory(self, size: int) -> Memory:
        """Zeroed memory of this process, for a slot."""
        return Memory(mmap.mmap(-1, size))


class System(abi_system.System):
    """The handle of `/dev/kvm`."""

    def get_api_version(self) -> int:
        """`API_VERSION`, or it is another interface."""
        return self.api_version()

    def get_vcpu_mmap_size(self) -> int:
        """Bytes of a vCPU's mapping."""
        return self.vcpu_mmap_size()

    def get_supported_cpuid(self) -> list[structs.CpuidEntry2]:
        """The leaves that KVM can offer on this host."""
        return self.supported_cpuid()

    def get_msr_index_list(self) -> list[int]:
        """The MSRs that a vCPU has to be saved with."""
        return self.msr_indices()

    def create_vm(self, machine_type: int = 0) -> Vm:
        """A VM without memory or vCPUs; it works in this process only."""
        return Vm(self.ioctl(Ioctl.CREATE_VM, machine_type), self.vcpu_mmap_size())
