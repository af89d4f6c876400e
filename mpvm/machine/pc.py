"""What boards of the PC kind are made of (QEMU's hw/i386/pc.c)."""

import functools
from typing import TYPE_CHECKING, ClassVar, Final

from mpvm.hw.char.debugcon import DebugCon
from mpvm.hw.char.serial import Uart16550A
from mpvm.hw.intc.message import msi_message
from mpvm.hw.misc.ferr import FerrLatch
from mpvm.hw.misc.i8042 import I8042
from mpvm.hw.misc.isa_debug_exit import IsaDebugExit
from mpvm.hw.misc.port92 import Port92
from mpvm.hw.nvram.fw_cfg import FwCfg, Key
from mpvm.hw.system import WakeupReason
from mpvm.hw.timer.i8254 import Pit
from mpvm.hw.timer.mc146818 import Rtc
from mpvm.machine import cpus, firmware, firmware_registers, fw_cfg, irq
from mpvm.machine.pci_setup import memory_start, pci_setup
from mpvm.machine.x86 import X86Machine
from mpvm.memory.region import Region
from mpvm.qom.type_info import register_type

if TYPE_CHECKING:
    from mpvm.hw.pci.bus import PciBus
    from mpvm.hw.timer.hpet import Hpet

# Where test guests expect `isa_debug_exit`, which is not where the device is by itself.
DEBUG_EXIT_PORT: Final = 0xF4
DEBUG_EXIT_PORTS: Final = 4

# Which GSIs the HPET's timers can be routed to.
HPET_ROUTES: Final = 1 << irq.PIT_GSI

# What the local APIC's timer counts, before its divider; and CPUID.1:ECX.x2APIC.
APIC_BUS_HZ: Final = 1_000_000_000
CPUID_X2APIC: Final = 1 << 21

# Of a CPU that does not say (SDM vol. 3, 4.1.4).
PHYSICAL_BITS: Final = 36

# Kernels write here to wait the time of a bus cycle; on a PC it shows firmware's progress.
POST_CODE_PORT: Final = 0x80


@register_type("generic-pc-machine", abstract=True, description="PC with PCI")
class PcMachine(X86Machine):
    """The x86 board with PCI, which firmware has set up."""

    has_pci: ClassVar[bool] = True
    has_hpet: ClassVar[bool] = True
    has_vmport: ClassVar[bool] = True
    # Whether firmware has set up the 8259s, the 8254, the MTRRs and the BIOS data area.
    has_firmware_registers: ClassVar[bool] = True

    def load_boot_image(self) -> None:
        """What firmware does before it boots: it sets PCI up, and what every x86 board's does."""
        pci_setup(self.pci_bus, self.ports, self.ram, self.pci_memory_start)
        super().load_boot_image()
        self._leave_registers()

    @property
    def pci_memory_start(self) -> int:
        """Where the memory of PCI below 4 GiB may begin."""
        return memory_start(self.ram)

    @property
    def leaves_firmware(self) -> bool:
        """In the versions that have it."""
        return self.has_firmware_registers

    def wake(self, reason: WakeupReason) -> None:
        """See X86Machine.wake: firmware sets up again what a reset has undone."""
        super().wake(reason)
        self._leave_registers()

    def _leave_registers(self) -> None:
        if not self.has_firmware_registers:
            return
        features, sizes = cpus.leaf(self.bsp, 1).edx, cpus.leaf(self.bsp, 0x80000008).eax
        firmware_registers.program_timers_and_interrupts(self.ports)
        firmware_registers.set_mtrrs(
            self.host.areas, self.pci_memory_start, features, sizes & 0xFF or PHYSICAL_BITS
        )
        words = firmware_registers.bios_data_area([uart.iobase for uart in self.uarts()])
        for address, word in words.items():
            self.ram.write(address, word.to_bytes(2, "little"))


def pc_memory_init(machine: X86Machine) -> None:
    """What says where RAM is: fw_cfg, with the memory map and what is to be booted."""
    device = machine.new(FwCfg)
    fw_cfg.add_items(device, machine.spec, machine.ram)
    if machine.has_hpet:
        device.items[Key.HPET] = functools.partial(_hpet_item, machine)
    machine.add_child("fw_cfg", device)
    machine.realize(device)


def _hpet_item(machine: X86Machine) -> bytes:
    # The device comes after fw_cfg.
    return fw_cfg.hpet_item(None if machine.hpet is None else machine.hpet.block_id)


def pc_basic_device_init(machine: X86Machine) -> None:
    """The devices beside the interrupt controllers and the buses."""
    spec = machine.spec
    if machine.has_hpet and spec.hpet:
        machine.hpet = hpet_init(machine)
    if spec.pit:
        machine.add(Pit, irq=irq.PIT_IRQ)
    rtc = machine.add(Rtc, irq=irq.RTC_IRQ)
    pc_cmos_init(machine, rtc)
    for index, chardev in enumerate(spec.serial):
        if chardev is not None:
            machine.add(Uart16550A, index=index, chardev=chardev)
    machine.ports.map(POST_CODE_PORT, _post_code())
    machine.power_management = machine.add(machine.pm_class, sci_int=irq.SCI_IRQ)
    keyboard = machine.new(I8042)
    keyboard.set_a20 = machine.a20.input()
    machine.realize(keyboard)
    port92 = machine.new(Port92)
    port92.set_a20 = machine.a20.input()
    machine.realize(port92)
    machine.ferr = machine.add(FerrLatch, irq=irq.FERR_IRQ)
    if spec.debugcon is not None:
        machine.add(DebugCon, chardev=spec.debugcon)
    if machine.has_vmport and spec.vmport:
        vmport_init(machine)
    if spec.isa_debug_exit:
        machine.add(IsaDebugExit, iobase=DEBUG_EXIT_PORT, iosize=DEBUG_EXIT_PORTS)


def pci_bus_init(machine: X86Machine, bus: "PciBus") -> None:
    """The board's PCI bus: its interrupt messages go to the local APICs."""
    machine.pci_bus = bus
    bus.deliver = lambda requester, address, data: machine.apic_bus.send(msi_message(address, data))


def hpet_init(machine: X86Machine) -> "Hpet":
    """The event timers, which can take the PIT and the RTC off their interrupts."""
    # Imported here: older versions and boards without PCI have none.
    from mpvm.hw.timer.hpet import Hpet

    device = machine.new(Hpet)
    device.hpet_intcap = HPET_ROUTES
    device.set_legacy = machine.irqs.replace_legacy
    device.deliver = machine.apic_bus.send
    machine.realize(device)
    return device


def vmport_init(machine: X86Machine) -> None:
    """VMware's port, which needs the registers of the vCPU that asks there."""
    # Imported here: older versions and boards without PCI have none.
    from mpvm.hw.misc.vmport import VMPORT, VmPort

    device = machine.new(VmPort)
    device.control = lambda: machine.host.areas[machine.current_vcpu].control
    device.ram_bytes, device.uuid = machine.spec.memory_bytes, machine.spec.uuid
    device.tsc_hz, device.apic_bus_hz = 1000 * machine.host.tsc_khz, APIC_BUS_HZ
    device.has_x2apic = bool(cpus.leaf(machine.bsp, 1).ecx & CPUID_X2APIC)
    machine.realize(device)
    machine.host.page.state_port = VMPORT


def pc_cmos_init(machine: X86Machine, rtc: Rtc) -> None:
    """What firmware leaves in CMOS."""
    rtc.set_cmos_data(firmware.cmos(machine.ram))


def _post_code() -> Region:
    return Region(
        "POST code", 1, lambda offset, size: 0xFF, lambda offset, size, value: None, ignored=frozenset({0})
    )
