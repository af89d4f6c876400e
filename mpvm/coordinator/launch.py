"""Brings all workers up side by side: start every process, then wait for *created*, then for *ready*."""

import os

from mpvm.abi.errors import ExitStatus, StartError, WorkerError
from mpvm.accel import Accelerator
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.runtime_dir import RuntimeDir
from mpvm.coordinator.shm import VmMemory
from mpvm.coordinator.trampoline import InheritedFd
from mpvm.coordinator.vcpu import VcpuState
from mpvm.coordinator.vcpus import VcpuSet


def endpoint(runtime_dir: RuntimeDir) -> str:
    """Where the workers connect."""
    return f"ipc://{runtime_dir.path}/vcpu.sock"


def launch(
    vcpus: VcpuSet, accelerator: Accelerator, loop: EventLoop, memory: VmMemory, runtime_dir: RuntimeDir
) -> None:
    """Start every worker and wait until all are ready. Raises `StartError` or `WorkerError`."""
    arguments = {
        "vm_block": memory.vm_name,
        "ram_block": memory.ram_name,
        "endpoint": endpoint(runtime_dir),
        "doorbell_fd": InheritedFd(loop.doorbell),
        "coordinator_pid": os.getpid(),
        "accel": accelerator.name,
    }
    try:
        for vcpu in vcpus.vcpus:
            try:
                vcpu.start(accelerator.worker_module, str(runtime_dir.path), arguments)
            except (OSError, EOFError) as error:
                raise StartError(
                    f"vCPU {vcpu.index}: can't start its process: {error or 'no fork server'}"
                ) from error
            vcpus.watch(vcpu)
        vcpus.wait_for(VcpuState.CREATED)
        vcpus.wait_for(VcpuState.READY)
    except WorkerError as error:
        error.exit_status = ExitStatus.START_FAILURE
        raise
