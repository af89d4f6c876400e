"""Machine classes: which devices a board has and how they are wired. Importing the package registers them."""

from mpvm.machine import microvm, none, pc_piix
from mpvm.machine.base import (
    MACHINE_SUFFIX,
    BootSpec,
    DeviceSpec,
    Host,
    Machine,
    MachineSpec,
    machine_class,
    machine_names,
)

__all__ = [
    "MACHINE_SUFFIX",
    "BootSpec",
    "DeviceSpec",
    "Host",
    "Machine",
    "MachineSpec",
    "machine_class",
    "machine_names",
    "microvm",
    "none",
    "pc_piix",
]
