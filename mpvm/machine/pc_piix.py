"""The machine class `pc`: the PC of 1996, what stock kernels expect to find (QEMU's hw/i386/pc_piix.c).

A version is a promise: a guest that runs on pc-i440fx-0.1 finds the same machine there for ever. What a new
version adds is a property of a device, and the version before gets the old default for it as a compat
property.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from mpvm.hw.acpi.pm import ResetControl
from mpvm.hw.misc.isa_debug_exit import IsaDebugExit
from mpvm.hw.pci.host import PciHost
from mpvm.hw.pci.i440fx import I440fx
from mpvm.machine.base import register_machine
from mpvm.machine.pc import PcMachine, pc_basic_device_init, pc_memory_init, pci_bus_init
from mpvm.machine.x86 import gsi_init, x86_cpus_init
from mpvm.qom.globals import GlobalProperty
from mpvm.qom.type_info import register_type

# Version 1.1 has the PIIX's functions, an HPET and VMware's port, and puts isa-debug-exit where QEMU has it.
PC_COMPAT_1_0: Final = (
    GlobalProperty(IsaDebugExit.type_name, "iobase", 0xF4),
    GlobalProperty(IsaDebugExit.type_name, "iosize", 4),
)
# Version 1.0 gave the host bridge subsystem IDs, and made CPUs hot-pluggable.
PC_COMPAT_0_1: Final = (
    GlobalProperty(I440fx.type_name, "subsystem-vendor-id", 0),
    GlobalProperty(I440fx.type_name, "subsystem-id", 0),
)


@register_type(
    "generic-pc-i440fx-machine", abstract=True, description="PC with an i440FX host bridge, any version"
)
class PcI440fxMachine(PcMachine):
    """The PC with an i440FX host bridge."""

    has_hotpluggable_cpus: ClassVar[bool] = True
    # Whether the PIIX's functions are there.
    has_piix: ClassVar[bool] = True

    def init(self) -> None:
        """See `pc_init1`."""
        pc_init1(self)


def pc_init1(machine: PcI440fxMachine) -> None:
    """Make the board: CPUs, then memory, then interrupt controllers, devices and the PCI host bridge."""
    x86_cpus_init(machine)
    pc_memory_init(machine)
    gsi_init(machine)
    pc_basic_device_init(machine)
    i440fx_init(machine)
    if len(machine.apic_ids) > machine.spec.smp:
        # Imported here: few machines have it.
        from mpvm.machine.cpu_hotplug import cpu_hotplug_init

        cpu_hotplug_init(machine)


def i440fx_init(machine: PcI440fxMachine) -> None:
    """The PCI host bridge, /machine/i440fx. It hands port 0xcf9, amid its own, on to the reset control."""
    control = machine.add(ResetControl, own_port=False)
    host = machine.new(PciHost)
    host.reset_control = control
    machine.add_child("i440fx", host)
    machine.realize(host)
    bridge = machine.new(I440fx)
    machine.place(bridge)
    host.bus.add(bridge, 0)
    pci_bus_init(machine, host.bus)
    if machine.has_piix:
        # Imported here, as older versions do without.
        from mpvm.hw.pci.piix import PIIX_DEVICE, PM_FUNCTION, Piix3, Piix4Pm

        for cls, function in ((Piix3, 0), (Piix4Pm, PM_FUNCTION)):
            part = machine.new(cls)
            machine.place(part)
            host.bus.add(part, PIIX_DEVICE, function)


@register_machine("pc-i440fx-1.1", description="PC with an i440FX host bridge")
class PcI440fx11Machine(PcI440fxMachine):
    """The newest version."""

    alias: ClassVar[str | None] = "pc"
    is_default: ClassVar[bool] = True


@register_machine("pc-i440fx-1.0", description="PC with an i440FX host bridge, as of mpvm 1.0")
class PcI440fx10Machine(PcI440fxMachine):
    """The version before."""

    has_hpet: ClassVar[bool] = False
    has_vmport: ClassVar[bool] = False
    has_piix: ClassVar[bool] = False
    has_firmware_registers: ClassVar[bool] = False
    compat_props: ClassVar[Sequence[GlobalProperty]] = PC_COMPAT_1_0


@register_machine("pc-i440fx-0.1", description="PC with an i440FX host bridge, as of mpvm 0.1")
class PcI440fx01Machine(PcI440fx10Machine):
    """The version before that."""

    has_hotpluggable_cpus: ClassVar[bool] = False
    compat_props: ClassVar[Sequence[GlobalProperty]] = PC_COMPAT_0_1
