"""The `kvm` accelerator. Its vCPU side is not written yet, and it says so."""

from typing import ClassVar

from mpvm.abi.errors import StartError
from mpvm.accel.base import Accelerator
from mpvm.cpu.models import CpuModel
from mpvm.qom.type_info import register_type


@register_type("kvm-accel", description="the host's /dev/kvm")
class KvmAccelerator(Accelerator):
    """One KVM VM with one vCPU a process."""

    name: ClassVar[str] = "kvm"
    worker_module: ClassVar[str] = "workers.vcpu"

    def check(self) -> None:
        """Always refuses."""
        raise StartError("accelerator kvm is not there yet, unicorn is right")

    def supported_features(self) -> frozenset[str]:
        """Refuses as `check` does."""
        self.check()
        return frozenset()

    def max_model(self) -> CpuModel:
        """The host's CPU."""
        from mpvm.cpu.host import host_model

        return self.host_model(host_model())._replace(name="max")
