"""The machine class `microvm`: nothing but what a kernel needs to run and talk (QEMU's hw/i386/microvm.c)."""

from mpvm.hw.acpi.pm import ResetControl
from mpvm.machine.base import register_machine
from mpvm.machine.pc import pc_basic_device_init, pc_memory_init
from mpvm.machine.x86 import X86Machine, gsi_init, x86_cpus_init


@register_machine("microvm", description="minimal board without PCI")
class MicroVm(X86Machine):
    """The x86 board with no PCI."""

    def init(self) -> None:
        """Make the board. The reset control has a port of its own, for there is no host bridge around it."""
        x86_cpus_init(self)
        pc_memory_init(self)
        gsi_init(self)
        pc_basic_device_init(self)
        self.add(ResetControl)
