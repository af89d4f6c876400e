"""The machine class `none`: no board at all (QEMU's hw/core/null-machine.c).

It is there to be asked, over QMP, what there is: types, CPU models, properties. It has RAM, vCPUs and a
boot image if they are given, and nothing that answers at a port.
"""

from typing import ClassVar

from mpvm.abi.errors import CommandError
from mpvm.boot.e820 import e820_map
from mpvm.boot.loader import load as load_image
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.hw.bus import IO_PORTS, PHYSICAL_ADDRESS_BITS
from mpvm.machine import cpus
from mpvm.machine.base import Host, Machine, MachineSpec, register_machine
from mpvm.machine.x86 import x86_cpus_init
from mpvm.memory.address_space import AddressSpace
from mpvm.memory.ram import GuestRam


@register_machine("none", description="empty machine")
class NoneMachine(Machine):
    """RAM and vCPUs, or not even these."""

    min_cpus: ClassVar[int] = 0

    def __init__(self, spec: MachineSpec, host: Host) -> None:
        super().__init__(spec, host)
        self.ports = AddressSpace("I/O ports", IO_PORTS)
        self.memory = AddressSpace("memory", 1 << PHYSICAL_ADDRESS_BITS)
        self.ram = GuestRam(host.ram_block, self.ram_slots(spec.memory_bytes) if spec.memory_bytes else ())

    def init(self) -> None:
        """The vCPUs, if there are any."""
        x86_cpus_init(self)

    def reset_hold(self) -> None:
        """The vCPUs' areas as after power-up."""
        cpus.reset(self.host.areas)

    def load_boot_image(self) -> None:
        """The boot image, without any table; a vCPU without one has nothing to run, so there is none then."""
        if not self.host.areas:
            return
        boot = self.boot
        request = BootRequest(
            protocol=boot.protocol,
            kernel=boot.kernel,
            initrd=boot.initrd,
            append=boot.append,
            modules=boot.modules,
            argv0=boot.argv0,
        )
        state = load_image(request, BootMachine(self.ram, e820_map(self.ram.slots), 0))
        state.store(self.host.areas[0].control.guest)

    def acknowledge_interrupt(self) -> int | None:
        """There is no interrupt controller."""
        return None

    def end_of_interrupt(self, vector: int) -> None:
        """Nobody waits for it."""

    def inject_nmi(self) -> None:
        """There is no line for it."""
        raise CommandError(f"inject-nmi: the machine {self.type} has no NMI line")

    def press_power_button(self) -> None:
        """There is none."""
