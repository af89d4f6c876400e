"""vCPUs that come and go while the machine runs (docs/hotplug.md).

`VcpuHotplug.add` starts a worker and tells the guest of a new CPU by ACPI; `request_remove` asks the guest,
and its answer, _EJ0, ends the worker. What the guest sees of it is `mpvm.hw.acpi.cpu_hotplug`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from mpvm.abi.errors import CommandError, DeviceNotFoundError, MpvmError, WorkerError
from mpvm.coordinator.exit_server import ExitServer
from mpvm.coordinator.launch import Launcher, wait_for_process
from mpvm.coordinator.run_control import RunControl
from mpvm.coordinator.run_state import RunStateMachine
from mpvm.coordinator.shm import VmMemory
from mpvm.coordinator.vcpu import Vcpu, VcpuState
from mpvm.coordinator.vcpus import VcpuSet, failure_of
from mpvm.machine import Machine
from mpvm.machine.cpu_hotplug import cpu_plug, cpu_reset, cpu_unplug, cpu_unplug_request
from mpvm.machine.x86 import X86Machine

if TYPE_CHECKING:
    from mpvm.hw.acpi.cpu_hotplug import Ost


class _Vm(Protocol):
    """What of the VM (`mpvm.coordinator.vm.VirtualMachine`) is needed here."""

    machine: Machine
    run_state: RunStateMachine
    run_control: RunControl
    exits: ExitServer

    def emit(self, event: str, data: Mapping[str, object] | None = None) -> None: ...


class VcpuHotplug:
    """Adds and removes vCPUs. `add`, which runs the event loop, is for actions of the main loop only.

    A vCPU that has been added has an ID, by which events name it; those of the start have none.
    """

    def __init__(self, vm: _Vm, vcpus: VcpuSet, memory: VmMemory, launcher: Launcher) -> None:
        self._vm = vm
        self._vcpus = vcpus
        self._memory = memory
        self._launcher = launcher
        self._ids: dict[int, str | None] = {}

    def add(self, index: int, identity: str | None = None) -> None:
        """Bring vCPU `index` up, wait-for-SIPI, and tell the guest.

        Raises `CommandError` for what can't be, and what its worker fails with: the VM then runs on without.
        """
        machine = self._machine()
        vcpu = self._vcpus.vcpus[self._check(index)]
        if vcpu.state is not VcpuState.ABSENT:
            raise CommandError(f"vCPU {index} is there already, {self._right(VcpuState.ABSENT)}")
        if identity is not None and identity in self._ids.values():
            raise CommandError(f"Duplicate device ID '{identity}', one that no device has is right")
        self._memory.renew_area(index)
        cpu_reset(machine, index)
        self._vm.exits.write_controls(vcpu.area.control)
        new = self._bring_up(vcpu)
        self._ids[index] = identity
        self._memory.set_present(index, True)
        self._vcpus.plug(new, self._vm.run_state.running)
        cpu_plug(machine, index, identity)

    def request_remove(self, index: int) -> None:
        """Ask the guest to let go of vCPU `index`. Raises `CommandError` for one that can't be removed."""
        machine = self._machine()
        self._check(index)
        if index == 0:
            raise CommandError("vCPU 0 can't be removed, another than the boot processor is right")
        if self._vcpus.vcpus[index].state is VcpuState.ABSENT:
            raise DeviceNotFoundError(f"vCPU {index} is not there, {self._right(VcpuState.RUNNING)}")
        cpu_unplug_request(machine, index)

    def index_of(self, identity: str) -> int:
        """The vCPU that was added as `identity`. Raises `DeviceNotFoundError`."""
        for index, known in self._ids.items():
            if known == identity:
                return index
        raise DeviceNotFoundError(f"Device '{identity}' not found")

    def identity(self, index: int) -> str | None:
        """The ID that vCPU `index` was added with."""
        return self._ids.get(index)

    def ejected(self, index: int) -> None:
        """The guest has let go of vCPU `index`: its worker ends before anything else is done."""
        self._vm.run_control.call(lambda: self._take_down(index))

    def report_ost(self, ost: "Ost") -> None:
        """The guest has said what became of an event: ACPI_DEVICE_OST (QEMU's qapi/acpi.json)."""
        info: dict[str, object] = {"slot-type": "CPU", "slot": str(ost.cpu)}
        info |= {"source": ost.event, "status": ost.status}
        identity = self._ids.get(ost.cpu)
        if identity is not None:
            info["device"] = identity
        self._vm.emit("ACPI_DEVICE_OST", {"info": info})

    def _bring_up(self, vcpu: Vcpu) -> Vcpu:
        new = self._vcpus.successor(vcpu)
        try:
            self._launcher.ask(new)
            wait_for_process(new)
            self._vcpus.watch(new)
            if not self._vcpus.run_until(lambda: new.is_up or new.has_failed):
                raise WorkerError(
                    f"vCPU {new.index}: its worker (process {new.pid}) did not become ready in time"
                )
            if new.has_failed:
                raise failure_of(new)
        except MpvmError:
            self._vcpus.discard(new)
            raise
        return new

    def _take_down(self, index: int) -> None:
        """With everybody paused: no interrupt is on its way to it, and it has no lock and waits for none."""
        machine = self._machine()
        was_running = self._vm.run_state.running
        self._vm.run_control.pause()
        self._memory.set_present(index, False)
        path = machine.cpus[index].canonical_path()
        cpu_unplug(machine, index)
        vcpu = self._vcpus.vcpus[index]
        self._vcpus.dismiss(vcpu)
        if not self._vcpus.run_until(lambda: vcpu.state is VcpuState.STOPPED or vcpu.gone):
            raise WorkerError(f"vCPU {index}: its worker (process {vcpu.pid}) did not stop in time")
        self._vcpus.unplug(vcpu)
        identity = self._ids.pop(index, None)
        self._vm.emit("DEVICE_DELETED", {"path": path, **({"device": identity} if identity else {})})
        if was_running:
            self._vm.run_control.resume()

    def _check(self, index: int) -> int:
        count = len(self._vcpus.vcpus)
        if not 0 <= index < count:
            raise CommandError(f"there is no vCPU {index}, one from 0 to {count - 1} is right")
        return index

    def _machine(self) -> X86Machine:
        machine = self._vm.machine
        if not isinstance(machine, X86Machine) or machine.cpu_hotplug is None:
            raise CommandError("the machine has no hot-pluggable CPUs, a pc with maxcpus above cpus is right")
        return machine

    def _right(self, state: VcpuState) -> str:
        wanted = [
            str(vcpu.index)
            for vcpu in self._vcpus.vcpus[1:]
            if (vcpu.state is VcpuState.ABSENT) == (state is VcpuState.ABSENT)
        ]
        return f"{', '.join(wanted)} is right" if wanted else "none is right"
