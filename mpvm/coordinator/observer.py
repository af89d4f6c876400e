"""What a run tells whoever watches it. All times are nanoseconds since the bring-up began."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpvm.coordinator.daemon import Daemon
    from mpvm.cpu.models import CpuModel


class Observer:
    """Hears of a run's events; this one says warnings and no more, others override what they want.

    `daemon`: this process runs in the background, and who has started it waits.
    """

    daemon: "Daemon | None" = None

    def warning(self, text: str) -> None:
        """Not all is as it was asked for; said even to who wants to hear of nothing else."""
        print(f"mpvm: warning: {text}", file=sys.stderr, flush=True)

    def cpu_resolved(self, model: "CpuModel") -> None:
        """The vCPUs are of this model; it says what could not be had."""
        if model.warning is not None:
            self.warning(model.warning)

    def vcpu_created(self, index: int, pid: int, ns: int) -> None:
        """VCPU `index` is process `pid`, and has its engine."""

    def vcpu_ready(self, index: int, ns: int) -> None:
        """VCPU `index` could run."""

    def machine_started(self, ns: int) -> None:
        """All vCPUs run from here on; the console is the guest's."""
        if self.daemon is not None:
            self.daemon.ready()

    def vcpu_failed(self, index: int, text: str) -> None:
        """VCPU `index` has not come up or has died, `text` says why."""

    def signalled(self, number: int, pid: int) -> None:
        """Signal `number` ends the run; process `pid` has sent it, 0: a terminal, or nobody knows."""

    def machine_stopped(self) -> None:
        """No vCPU runs any more; the console is restored."""
