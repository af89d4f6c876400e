"""Accelerators as the coordinator sees them: which module a vCPU's process runs.

What QEMU's AccelClass is. The accelerator's own code is on the vCPU's side, in `workers`, and is
loaded there by name.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from mpvm.qom.object import Object
from mpvm.qom.type_info import object_new, register_type

# The accelerator NAME is the type NAME-accel (QEMU's ACCEL_CLASS_SUFFIX).
ACCEL_SUFFIX: Final = "-accel"


@register_type("accel", abstract=True, description="runs guest code")
class Accelerator(Object, ABC):
    """One way to run guest code."""

    name: ClassVar[str]
    # The module whose `main` a vCPU's process runs.
    worker_module: ClassVar[str]

    @abstractmethod
    def check(self) -> None:
        """Raise `StartError` when this host can't run it; must be quick and leave nothing behind."""


def accelerator(name: str) -> Accelerator:
    """A new accelerator of the type `name`-accel; `ObjectTypeError` when there is none."""
    instance: Accelerator = object_new(name + ACCEL_SUFFIX, "accelerator", Accelerator.type_name)
    return instance
