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


class Launcher:
    """Asks the fork server for workers. `cpusets` has the host's CPUs for the worker of each vCPU.

    `accelerator` is what runs the vCPUs.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        loop: EventLoop,
        memory: VmMemory,
        runtime_dir: RuntimeDir,
        cpusets: Sequence[Sequence[int]],
        config: Config,
    ) -> None:
        self.accelerator = accelerator
        self._doorbell = loop.doorbell
        self._runtime_dir = str(runtime_dir.path)
        self._cpusets = cpusets
        self._arguments = {
            "vm_block": memory.vm_name,
            "ram_block": memory.ram_name,
            "endpoint": endpoint(runtime_dir),
            "coordinator_pid": os.getpid(),
            "log_mask": workers_mask(),
            "log_file": None if config.logfile is None else str(config.logfile),
            "nice": config.cputune.nice,
            "perfmap": config.perfmap,
            "symbol_table": None if config.symbols is None else str(config.symbols),
        }

    def ask(self, vcpu: Vcpu, accelerator: Accelerator | None = None) -> None:
        """Ask for the worker of `vcpu`, and do not wait for it. Raises `StartError`."""
        accelerator = accelerator or self.accelerator
        own = {**self._arguments, "accel": accelerator.name, "cpuset": list(self._cpusets[vcpu.index])}
        module = accelerator.worker_module
        try:
            trace("init_vcpu", vcpu.index)
            vcpu.start(forkserver.server(), module, self._runtime_dir, own, self._doorbell)
        except OSError as error:
            raise _cannot_start(vcpu, error) from error


def launch(vcpus: VcpuSet, launcher: Launcher) -> None:
    """Ask for the worker of every vCPU that is present, and wait for none. Raises `StartError`."""
    for vcpu in vcpus.present:
        launcher.ask(vcpu)


def wait_for_process(vcpu: Vcpu) -> None:
    """Wait until the process of `vcpu`, the first one that was asked for, is there. Raises `StartError`."""
    try:
        vcpu.started()
    except (OSError, EOFError) as error:
        raise _cannot_start(vcpu, error) from error
    trace("start_vcpu", vcpu.index, vcpu.pid)


def wait_until_ready(vcpus: VcpuSet) -> None:
    """Wait for every worker that `launch` has asked for. Raises `StartError` or `WorkerError`."""
    for vcpu in vcpus.present:
        wait_for_process(vcpu)
        vcpus.watch(vcpu)
    try:
        vcpus.wait_for(VcpuState.CREATED)
        vcpus.wait_for(VcpuState.READY)
    except WorkerError as error:
        error.exit_status = ExitStatus.START_FAILURE
        raise


def _cannot_start(vcpu: Vcpu, error: OSError | EOFError) -> StartError:
    return StartError(f"vCPU {vcpu.index}: can't start its process: {error or 'no fork server'}")
