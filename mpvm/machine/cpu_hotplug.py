"""CPUs that come and go on an x86 board (QEMU's pc_cpu_plug and its kin, hw/i386/x86.c)."""

from mpvm.hw.acpi.cpu_hotplug import CPU_HOTPLUG_GPE, CpuHotplug
from mpvm.machine import cpus
from mpvm.machine.x86 import X86Machine, x86_cpu_new
from mpvm.machine.x86_cpu import X86Cpu
from mpvm.qom.qdev import qdev_unrealize


def cpu_hotplug_init(machine: X86Machine) -> None:
    """The hot-plug registers, which tell the guest of what the functions below do."""
    host = machine.host
    device = machine.new(CpuHotplug)
    device.apic_ids = machine.apic_ids
    device.present = range(machine.spec.smp)
    device.signal_event = lambda: machine.power_management.signal_gpe(CPU_HOTPLUG_GPE)
    device.eject = host.eject_cpu
    device.report = host.report_ost
    machine.cpu_hotplug = device
    machine.realize(device)


def cpu_reset(machine: X86Machine, index: int) -> None:
    """Put the area of CPU `index`, which is about to be plugged, into the power-on state."""
    cpus.reset([machine.host.areas[index]])


def cpu_plug(machine: X86Machine, index: int, identity: str | None) -> X86Cpu:
    """CPU `index`, whose vCPU is ready, is there: its local APIC is on the bus, and the guest is told.

    Its object is /machine/peripheral/`identity`; without one it has a place like a CPU of the start.
    """
    area = machine.host.areas[index]
    cpu = x86_cpu_new(machine, area, identity)
    machine.apic_bus.plug(area)
    _registers(machine).plug(index)
    return cpu


def cpu_unplug_request(machine: X86Machine, index: int) -> None:
    """Ask the guest to let go of CPU `index`; if it does, `Host.eject_cpu` is called."""
    _registers(machine).request_unplug(index)


def cpu_unplug(machine: X86Machine, index: int) -> None:
    """CPU `index`, which the guest has let go of, is not there any more."""
    machine.apic_bus.unplug(machine.host.areas[index])
    qdev_unrealize(machine.cpus.pop(index))


def _registers(machine: X86Machine) -> CpuHotplug:
    assert machine.cpu_hotplug is not None
    return machine.cpu_hotplug
