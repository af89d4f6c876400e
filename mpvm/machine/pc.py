"""The machine class `pc`: the x86 board with an i440FX host bridge."""

from typing import ClassVar

from mpvm.hw.pci.host import PciHost
from mpvm.machine import irq
from mpvm.machine.x86 import X86Machine
from mpvm.qom.type_info import register_type


@register_type("pc-i440fx-1.0-machine", description="PC with an i440FX host bridge")
class Pc(X86Machine):
    """The PC of 1996: what stock kernels expect to find."""

    alias: ClassVar[str | None] = "pc"
    has_pci: ClassVar[bool] = True

    def add_devices(self, router: irq.IrqRouter) -> None:
        """The common devices and the PCI host bridge."""
        super().add_devices(router)
        # It hands port 0xcf9, in the middle of its own, on to the reset control.
        self.add(PciHost(self.power_management.reset_control))
