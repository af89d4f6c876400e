"""Brings all workers up side by side: ask for every process, then wait for *created*, then for *ready*.

In two halves: what the coordinator does between them, it does while the workers come up.
"""

import os
from collections.abc import Sequence

from mpvm.abi.errors import ExitStatus, StartError, WorkerError
from mpvm.accel import Accelerator
from mpvm.config import Config
from mpvm.coordinator import forkserver
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.runtime_dir import RuntimeDir
from mpvm.coordinator.shm import VmMemory
from mpvm.coordinator.vcpu import Vcpu, VcpuState
from mpvm.coordinator.vcpus import VcpuSet
from mpvm.trace.control import trace
from mpvm.trace.log import workers_mask


def endpoint(runtime_dir: RuntimeDir) -> str:
    """Where the workers connect."""
    return f"ipc://{runtime_dir.path}/vcpu.sock"


def launch(
    vcpus: VcpuSet,
    accelerator: Accelerator,
    loop: EventLoop,
    memory: VmMemory,
    runtime_dir: RuntimeDir,
    cpusets: Sequence[Sequence[int]],
    config: Config,
) -> None:
    """Ask the fork server for every worker, and wait for none. Raises `StartError`.

    `cpusets` has the host's CPUs for each worker.
    """
    server = forkserver.server()
    arguments = {
        "vm_block": memory.vm_name,
        "ram_block": memory.ram_name,
        "endpoint": endpoint(runtime_dir),
        "coordinator_pid": os.getpid(),
        "accel": accelerator.name,
        "log_mask": workers_mask(),
        "log_file": None if config.logfile is None else str(config.logfile),
        "nice": config.cputune.nice,
        "perfmap": config.perfmap,
        "symbol_table": None if config.symbols is None else str(config.symbols),
    }
    for vcpu, cpuset in zip(vcpus.vcpus, cpusets, strict=True):
        own = {**arguments, "cpuset": list(cpuset)}
        try:
            trace("init_vcpu", vcpu.index)
            vcpu.start(server, accelerator.worker_module, str(runtime_dir.path), own, loop.doorbell)
        except OSError as error:
            raise _cannot_start(vcpu, error) from error


def wait_until_ready(vcpus: VcpuSet) -> None:
    """Wait for every worker that `launch` has asked for. Raises `StartError` or `WorkerError`."""
    for vcpu in vcpus.vcpus:
        try:
            vcpu.started()
        except (OSError, EOFError) as error:
            raise _cannot_start(vcpu, error) from error
        trace("start_vcpu", vcpu.index, vcpu.pid)
        vcpus.watch(vcpu)
    try:
        vcpus.wait_for(VcpuState.CREATED)
        vcpus.wait_for(VcpuState.READY)
    except WorkerError as error:
        error.exit_status = ExitStatus.START_FAILURE
        raise


def _cannot_start(vcpu: Vcpu, error: OSError | EOFError) -> StartError:
    return StartError(f"vCPU {vcpu.index}: can't start its process: {error or 'no fork server'}")
