"""What the VM is made of (QEMU's qapi/machine.json and machine-target.json)."""

import os

from mpvm.tools.qmp.registry import command
from mpvm.tools.vm import Vm


@command("query-kvm")
def query_kvm(vm: Vm) -> dict[str, object]:
    """Whether the `kvm` accelerator runs the guest, and whether the host has a device for it."""
    return {"enabled": vm.accelerator_name == "kvm", "present": os.path.exists("/dev/kvm")}  # noqa: PTH110


@command("query-cpus-fast")
def query_cpus_fast(vm: Vm) -> list[dict[str, object]]:
    """The vCPUs; `thread-id` is the process that is the vCPU."""
    return [{"cpu-index": vcpu.index, "thread-id": vcpu.pid, "target": "x86_64"} for vcpu in vm.list_vcpus()]
