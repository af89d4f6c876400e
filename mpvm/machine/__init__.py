"""Machine classes: which devices a board has and how they are wired. Importing the package registers them."""

from mpvm.machine import microvm, pc
from mpvm.machine.base import MACHINES, BootSpec, Host, Machine, MachineSpec

__all__ = ["MACHINES", "BootSpec", "Host", "Machine", "MachineSpec", "microvm", "pc"]
