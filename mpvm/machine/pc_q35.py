"""The machine class `q35`: the PC of 2007, with the Q35 host bridge and the ICH9 (QEMU's hw/i386/pc_q35.c).

Of the ICH9 it has what the `pc` has of the PIIX: the bridge to ISA, which routes PCI interrupts. An IOMMU
that the user adds comes between the PCI bus and memory.
"""

from typing import ClassVar, Final

from mpvm.boot.e820 import E820Entry, E820Type
from mpvm.hw.acpi.dmar import dmar
from mpvm.hw.acpi.mcfg import MmConfig
from mpvm.hw.acpi.pm import AcpiPm, Ich9Pm, ResetControl
from mpvm.hw.acpi.tables import Table
from mpvm.hw.iommu.intel_iommu import BASE_ADDRESS, IntelIommu
from mpvm.hw.pci.ich9 import LPC_DEVICE, Ich9Lpc
from mpvm.hw.pci.q35 import MMCONFIG_BASE, MMCONFIG_SIZE, Mch, Q35Host
from mpvm.machine import firmware
from mpvm.machine.base import register_machine
from mpvm.machine.pc import PcMachine, pc_basic_device_init, pc_memory_init, pci_bus_init
from mpvm.machine.x86 import gsi_init, x86_cpus_init
from mpvm.memory.ram import Slot, ram_slots
from mpvm.qom.object import cast
from mpvm.qom.qdev import Device

LOW_RAM_SPLIT: Final = 2 << 30


@register_machine("pc-q35-1.1", description="PC with a Q35 host bridge and an ICH9")
class PcQ35Machine(PcMachine):
    """The PC with a Q35 host bridge."""

    alias: ClassVar[str | None] = "q35"
    pm_class: ClassVar[type[AcpiPm]] = Ich9Pm

    @classmethod
    def ram_slots(cls, memory_bytes: int) -> list[Slot]:
        """RAM below 4 GiB ends before configuration space, or where there is more, at 2 GiB."""
        return ram_slots(memory_bytes, LOW_RAM_SPLIT if memory_bytes >= MMCONFIG_BASE else MMCONFIG_BASE)

    @property
    def pci_memory_start(self) -> int:
        """Behind configuration space."""
        return MMCONFIG_BASE + MMCONFIG_SIZE

    def init(self) -> None:
        """Make the board: CPUs, then memory, then interrupt controllers, devices and the PCI host bridge."""
        x86_cpus_init(self)
        pc_memory_init(self)
        gsi_init(self)
        pc_basic_device_init(self)
        q35_init(self)

    def pre_plug(self, device: Device) -> None:
        """An IOMMU gets what it stands in front of."""
        super().pre_plug(device)
        if device.is_a(IntelIommu.type_name):
            cast(device, IntelIommu).connect(self.pci_bus, self.ioapic, self.apic_bus.send)

    def describe_board(self) -> firmware.Board:
        """See X86Machine.describe_board: configuration space is in memory, and there may be an IOMMU."""
        window = E820Entry(MMCONFIG_BASE, MMCONFIG_SIZE, E820Type.RESERVED)
        return (
            super()
            .describe_board()
            ._replace(
                mmconfig=MmConfig(MMCONFIG_BASE, MMCONFIG_SIZE),
                reserved=[window],
                tables=[self._dmar(unit) for unit in self.system_bus.devices if isinstance(unit, IntelIommu)],
            )
        )

    def _dmar(self, unit: IntelIommu) -> Table:
        return dmar(
            BASE_ADDRESS, unit.aw_bits, self.ioapic.apic_id, remaps_interrupts=unit.can_remap_interrupts
        )


def q35_init(machine: PcQ35Machine) -> None:
    """The PCI host bridge, /machine/q35. It hands port 0xcf9, amid its own, on to the reset control."""
    host = machine.new(Q35Host)
    host.reset_control = machine.add(ResetControl, own_port=False)
    machine.add_child("q35", host)
    machine.realize(host)
    pci_bus_init(machine, host.bus)
    for cls, number in ((Mch, 0), (Ich9Lpc, LPC_DEVICE)):
        part = machine.new(cls)
        machine.place(part)
        host.bus.add(part, number)
