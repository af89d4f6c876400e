"""Accelerators as the coordinator sees them: which module a vCPU's process runs.

What QEMU's AccelClass is. The accelerator's own code is on the vCPU's side, in `workers`, and is
loaded there by name.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from mpvm.qom.registry import TypeRegistry


class Accelerator(ABC):
    """One way to run guest code."""

    name: ClassVar[str]
    # The module whose `main` a vCPU's process runs.
    worker_module: ClassVar[str]

    @abstractmethod
    def check(self) -> None:
        """Raise `StartError` when this host can't run it; must be quick and leave nothing behind."""


ACCELERATORS = TypeRegistry("accelerator")


def accelerator(name: str) -> Accelerator:
    """A new accelerator of the registered class `name`; `ConfigError` when there is none."""
    instance: Accelerator = ACCELERATORS.get(name)()
    return instance
