"""Moving vCPUs to other worker processes. QEMU has no such commands."""

from mpvm.tools.qmp.registry import command
from mpvm.tools.vm import Vm


@command("x-move-vcpu", optional={"cpu-index": int, "accel": str})
def x_move_vcpu(vm: Vm, cpu_index: int | None = None, accel: str | None = None) -> dict[str, object]:
    """Have a vCPU, or without `cpu-index` every one, go on in a new worker; how long it took, in ns."""
    moved = vm.move_vcpu(cpu_index, accel)
    return {"total-ns": moved.total_ns, "gap-ns": moved.gap_ns}
