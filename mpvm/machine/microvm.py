"""The machine class `microvm`: the x86 board with no PCI."""

from typing import ClassVar

from mpvm.machine import irq
from mpvm.machine.base import MACHINES
from mpvm.machine.x86 import X86Machine


@MACHINES.register("microvm")
class MicroVm(X86Machine):
    """Nothing but what a kernel needs to run and talk."""

    name: ClassVar[str] = "microvm"
    description: ClassVar[str] = "minimal board without PCI"

    def add_devices(self, router: irq.IrqRouter) -> None:
        """The common devices, and the reset control, which no host bridge answers for."""
        super().add_devices(router)
        for base, region in self.power_management.reset_control.ports():
            self.ports.map(base, region)
