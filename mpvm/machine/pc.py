"""What boards of the PC kind are made of (QEMU's hw/i386/pc.c)."""

import functools
from typing import TYPE_CHECKING, Final

from mpvm.hw.acpi.pm import AcpiPm
from mpvm.hw.char.debugcon import DebugCon
from mpvm.hw.char.serial import Uart16550A
from mpvm.hw.intc.message import msi_message
from mpvm.hw.misc.ferr import FerrLatch
from mpvm.hw.misc.i8042 import I8042
from mpvm.hw.misc.isa_debug_exit import IsaDebugExit
from mpvm.hw.misc.port92 import Port92
from mpvm.hw.nvram.fw_cfg import FwCfg, Key
from mpvm.hw.timer.i8254 import Pit
from mpvm.hw.timer.mc146818 import Rtc
from mpvm.machine import cpus, firmware, fw_cfg, irq
from mpvm.machine.x86 import X86Machine
from mpvm.memory.region import Region

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

# Kernels write here to wait the time of a bus cycle; on a PC it shows firmware's progress.
POST_CODE_PORT: Final = 0x80


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
    machine.power_management = machine.add(AcpiPm, sci_int=irq.SCI_IRQ)
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
