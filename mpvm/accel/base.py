"""Accelerators as the coordinator sees them: which module a vCPU's process runs.

What QEMU's AccelClass and AccelCPUClass are: the accelerator's own code is on the vCPU's side, in `workers`,
and is loaded there by name; here it says which CPUs it can be.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

from mpvm.abi.errors import ObjectTypeError
from mpvm.cpu.models import CpuModel
from mpvm.qom.object import Object
from mpvm.qom.type_info import object_class_get_list, object_new, register_type

# The accelerator NAME is the type NAME-accel (QEMU's ACCEL_CLASS_SUFFIX).
ACCEL_SUFFIX: Final = "-accel"


@register_type("accel", abstract=True, description="runs guest code")
class Accelerator(Object, ABC):
    """One way to run guest code."""

    name: ClassVar[str]
    # The module whose `main` a vCPU's process runs.
    worker_module: ClassVar[str]
    # What it switches on and off in every model of the table, unless the user says otherwise.
    default_features: ClassVar[Mapping[str, bool]] = {}
    # The only width of guest-physical addresses that it has; None: the model may choose.
    phys_bits: ClassVar[int | None] = None

    @abstractmethod
    def check(self) -> None:
        """Raise `StartError` when this host can't run it; must be quick and leave nothing behind."""

    @abstractmethod
    def supported_features(self) -> frozenset[str]:
        """Every feature (`mpvm.cpu.features.FEATURES`) that a guest can have under it on this host."""

    @abstractmethod
    def max_model(self) -> CpuModel:
        """The CPU model `max`: with all features that are worth having."""

    def host_model(self, host: CpuModel) -> CpuModel:
        """The CPU model `host`: `host` less what is not supported, with what is on by default."""
        default = {name for name, on in self.default_features.items() if on}
        features = host.features & self.supported_features() | default
        return host._replace(features=features, phys_bits=self.phys_bits or host.phys_bits)


def accelerator(name: str) -> Accelerator:
    """A new accelerator of the type `name`-accel; `ObjectTypeError` when there is none."""
    try:
        instance: Accelerator = object_new(name + ACCEL_SUFFIX, "accelerator", Accelerator.type_name)
    except ObjectTypeError:
        names = " or ".join(cls.name for cls in accelerator_classes())
        raise ObjectTypeError(f"accelerator {name!r} is unknown, {names} is right") from None
    return instance


def accelerator_classes() -> list[type[Accelerator]]:
    """Every accelerator that there is, plug-ins' too, sorted by name."""
    return object_class_get_list(Accelerator.type_name)
