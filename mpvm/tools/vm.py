"""A running VM as the tools see it: what `mpvm.coordinator.vm.VirtualMachine` offers them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mpvm.abi.layout import VcpuArea
from mpvm.accel import Accelerator
from mpvm.config import Action, Config
from mpvm.machine import Machine
from mpvm.qom.object import Object


class Loop(Protocol):
    """The event loop (`mpvm.coordinator.loop.EventLoop`)."""

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None: ...  # noqa: D102
    def remove_reader(self, fd: int) -> None: ...  # noqa: D102
    def add_writer(self, fd: int, callback: Callable[[], None]) -> None: ...  # noqa: D102
    def remove_writer(self, fd: int) -> None: ...  # noqa: D102


class Vcpu(Protocol):
    """One vCPU: its worker's process, and its area of the VM block."""

    @property
    def index(self) -> int: ...  # noqa: D102
    @property
    def pid(self) -> int: ...  # noqa: D102
    @property
    def area(self) -> VcpuArea: ...  # noqa: D102


class RunStatus(Protocol):
    """The run state, by its name in QAPI's RunState."""

    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def running(self) -> bool: ...  # noqa: D102


class Moved(Protocol):
    """What a move of vCPUs took (`mpvm.coordinator.move`)."""

    @property
    def total_ns(self) -> int: ...  # noqa: D102
    @property
    def gap_ns(self) -> int: ...  # noqa: D102


class Hotplug(Protocol):
    """What adds and removes vCPUs (`mpvm.coordinator.hotplug.VcpuHotplug`)."""

    def add(self, index: int, identity: str | None = None) -> None:
        """Bring vCPU `index` up, and tell the guest of it."""
        ...

    def request_remove(self, index: int) -> None:
        """Ask the guest to let go of vCPU `index`."""
        ...

    def index_of(self, identity: str) -> int:
        """The vCPU that was added as `identity`."""
        ...


class ChardevInfo(Protocol):
    """A chardev: who has it, and what it is connected to."""

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def filename(self) -> str: ...  # noqa: D102


class Chardevs(Protocol):
    """The chardevs (`mpvm.coordinator.chardev.backends.Chardevs`)."""

    def list(self) -> "Sequence[ChardevInfo]":
        """Every one, the latest first."""
        ...

    def send_break(self, label: str) -> None:
        """A line break for whoever has the chardev called `label`."""
        ...


class RunControl(Protocol):
    """What stops the VM and lets it go on (`mpvm.coordinator.run_control.RunControl`)."""

    # What is done at an event.
    actions: Action

    def call(self, action: Callable[[], None]) -> None:
        """Have the main loop call `action` next."""
        ...

    def standstill(self) -> AbstractContextManager[None]:
        """No vCPU runs as long as it is entered: their registers can be looked at."""
        ...

    def stop(self) -> None:
        """Pause every vCPU until `cont`."""
        ...

    def cont(self) -> None:
        """Let a stopped VM go on."""
        ...

    def system_reset(self) -> None:
        """Restart the machine from its power-on state; a stopped one stays stopped."""
        ...

    def system_wakeup(self) -> None:
        """Wake a guest that sleeps. Raises `CommandError` where none does."""
        ...


class Vm(Protocol):
    """What a tool may ask for in an action of the main loop (`run_control.call`), never in its callbacks."""

    @property
    def config(self) -> Config: ...  # noqa: D102
    @property
    def machine(self) -> Machine: ...  # noqa: D102
    @property
    def qom_root(self) -> Object: ...  # noqa: D102
    @property
    def run_state(self) -> RunStatus: ...  # noqa: D102
    @property
    def run_control(self) -> RunControl: ...  # noqa: D102
    @property
    def accelerator(self) -> Accelerator: ...  # noqa: D102
    @property
    def chardevs(self) -> Chardevs: ...  # noqa: D102
    @property
    def hotplug(self) -> Hotplug: ...  # noqa: D102
    def list_vcpus(self) -> Sequence[Vcpu]: ...  # noqa: D102

    def emit(self, event: str, data: Mapping[str, object] | None = None) -> None:
        """Tell every client of the monitor of `event`."""
        ...

    def move_vcpu(self, index: int | None, accel: str | None = None) -> Moved:
        """Have a vCPU, or every one, go on in a new worker. Raises `CommandError` for what can't be."""
        ...

    def system_powerdown(self) -> None:
        """Press the power button."""
        ...

    def system_quit(self) -> None:
        """End the run."""
        ...
