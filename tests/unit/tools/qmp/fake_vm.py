"""A VM for the monitor that notes what is asked of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpvm.abi.layout import RunState, VmPage
from mpvm.accel import Accelerator
from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.config import Action, Boot, Config
from mpvm.coordinator.chardev.backends import Chardevs
from mpvm.coordinator.move import Moved
from mpvm.coordinator.run_state import RunStateMachine
from mpvm.qom.container import Container
from mpvm.qom.object import Object
from mpvm.tools.vm import RunControl, Vcpu


class FakeVm:
    """Actions are carried out at once; `asked` has what else was called. It is its own run control."""

    def __init__(self, **config: Any) -> None:
        self.config = Config(boot=Boot(kernel=Path("kernel")), **config)
        self.machine: Any = None
        self.run_state = RunStateMachine(VmPage(run_state=RunState.RUNNING))
        self.run_control: RunControl = self
        self.actions: Action = self.config.action
        self.qom_root: Object = Container()
        self.accelerator: Accelerator = UnicornAccelerator()
        self.asked: list[str] = []
        self.chardevs = Chardevs(lambda: None, lambda chardev: None)
        self.hotplug: Any = None
        self.events: list[tuple[str, Mapping[str, object] | None]] = []

    @contextmanager
    def standstill(self) -> Iterator[None]:
        self.asked.append("standstill")
        yield

    def list_vcpus(self) -> Sequence[Vcpu]:
        return []

    def call(self, action: Callable[[], None]) -> None:
        action()

    def emit(self, event: str, data: Mapping[str, object] | None = None) -> None:
        self.events.append((event, data))

    def stop(self) -> None:
        self.asked.append("stop")

    def cont(self) -> None:
        self.asked.append("cont")

    def move_vcpu(self, index: int | None, accel: str | None = None) -> Moved:
        self.asked.append(f"move {index} {accel}")
        return Moved(total_ns=30, gap_ns=4)

    def system_reset(self) -> None:
        self.asked.append("system_reset")

    def system_wakeup(self) -> None:
        self.asked.append("system_wakeup")

    def system_powerdown(self) -> None:
        self.asked.append("system_powerdown")

    def system_quit(self) -> None:
        self.asked.append("system_quit")
