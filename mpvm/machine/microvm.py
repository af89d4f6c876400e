"""The machine class `microvm`: the x86 board with no PCI."""

from mpvm.machine import irq
from mpvm.machine.x86 import X86Machine
from mpvm.qom.type_info import register_type


@register_type("microvm-machine", description="minimal board without PCI")
class MicroVm(X86Machine):
    """Nothing but what a kernel needs to run and talk."""

    def add_devices(self, router: irq.IrqRouter) -> None:
        """The common devices, and the reset control, which no host bridge answers for."""
        super().add_devices(router)
        for base, region in self.power_management.reset_control.ports():
            self.ports.map(base, region)
