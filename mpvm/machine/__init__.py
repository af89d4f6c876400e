"""Machine classes: which devices a board has and how they are wired. Importing the package registers them."""

from mpvm.machine import microvm, pc
from mpvm.machine.base import BootSpec, Host, Machine, MachineSpec, machine_class, machine_names

__all__ = ["BootSpec", "Host", "Machine", "MachineSpec", "machine_class", "machine_names", "microvm", "pc"]
