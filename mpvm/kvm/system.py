"""The system handle of the `unicorn` accelerator."""

import errno
import os
from functools import cache
from typing import Final

from mpvm.abi.kvm import structs
from mpvm.abi.kvm.constants import API_VERSION, Cap
from mpvm.abi.layout import MAX_CPUID_ENTRIES, MAX_MEMORY_SLOTS, MAX_VCPUS
from mpvm.accel import accelerator
from mpvm.coordinator import tsc
from mpvm.cpu.cpuid import cpuid_entries
from mpvm.cpu.models import CpuModel
from mpvm.cpu.topology import single_socket
from mpvm.kvm import msrs
from mpvm.kvm.handle import Handle, fail
from mpvm.kvm.vcpu import MAPPING_BYTES, PIO_PAGE
from mpvm.kvm.vm import Vm

EXTENSIONS: Final[dict[int, int]] = {
    Cap.IRQCHIP: 1,
    Cap.HLT: 1,
    Cap.USER_MEMORY: 1,
    Cap.SET_TSS_ADDR: 1,
    Cap.EXT_CPUID: 1,
    Cap.NR_VCPUS: MAX_VCPUS,
    Cap.NR_MEMSLOTS: MAX_MEMORY_SLOTS,
    Cap.MP_STATE: 1,
    Cap.DESTROY_MEMORY_REGION_WORKS: 1,
    Cap.USER_NMI: 1,
    Cap.JOIN_MEMORY_REGIONS_WORKS: 1,
    Cap.IRQFD: 1,
    Cap.IOEVENTFD: 1,
    Cap.SET_IDENTITY_MAP_ADDR: 1,
    Cap.SET_GUEST_DEBUG: 1,
    Cap.VCPU_EVENTS: 1,
    Cap.DEBUGREGS: 1,
    Cap.XSAVE: 1,
    Cap.XCRS: 1,
    Cap.GET_TSC_KHZ: 1,
    Cap.MAX_VCPUS: MAX_VCPUS,
    Cap.MAX_VCPU_ID: MAX_VCPUS,
    Cap.READONLY_MEM: 1,
    Cap.DEVICE_CTRL: 1,
    Cap.CHECK_EXTENSION_VM: 1,
    Cap.IMMEDIATE_EXIT: 1,
}


@cache
def cpu_model() -> CpuModel:
    """All that the accelerator can be."""
    return accelerator("unicorn").max_model()


class System(Handle):
    """What the accelerator is, and where VMs come from."""

    def __init__(self, *, processes: bool) -> None:
        self._processes = processes

    def get_api_version(self) -> int:
        """`API_VERSION`."""
        self.check_open("GET_API_VERSION")
        return API_VERSION

    def check_extension(self, cap: Cap | int) -> int:
        """0 when it lacks `cap`; else 1, or a number that `cap` defines."""
        self.check_open("CHECK_EXTENSION")
        return (
            min(EXTENSIONS.get(int(cap), 0), os.cpu_count() or 1)
            if cap == Cap.NR_VCPUS
            else EXTENSIONS.get(cap, 0)
        )

    def get_vcpu_mmap_size(self) -> int:
        """Bytes of a vCPU's mapping: `kvm_run`, and the page of port data."""
        self.check_open("GET_VCPU_MMAP_SIZE")
        assert PIO_PAGE < MAPPING_BYTES
        return MAPPING_BYTES

    def get_supported_cpuid(self) -> list[structs.CpuidEntry2]:
        """The leaves of the CPU model `max`."""
        self.check_open("GET_SUPPORTED_CPUID")
        entries = cpuid_entries(cpu_model(), single_socket(1), 0, tsc.METER.frequency_khz())
        return [structs.CpuidEntry2(*entry) for entry in entries[:MAX_CPUID_ENTRIES]]

    def get_msr_index_list(self) -> list[int]:
        """The MSRs that a vCPU has to be saved with."""
        self.check_open("GET_MSR_INDEX_LIST")
        return msrs.indices()

    def create_vm(self, machine_type: int = 0) -> Vm:
        """A VM without memory or vCPUs; only type 0 is there."""
        self.check_open("CREATE_VM")
        if machine_type != 0:
            fail(errno.EINVAL, "CREATE_VM", "the machine type is 0")
        return Vm(processes=self._processes, extensions=EXTENSIONS, model=cpu_model())
