"""What x86 boards have in common: CPUs, buses, the local APICs' bus, A20, and what a vCPU asks of its board
(QEMU's hw/i386/x86.c).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from mpvm.abi.errors import ConfigError
from mpvm.abi.layout import VcpuArea
from mpvm.hw.acpi.pm import AcpiPm
from mpvm.hw.bus import IoBus, IsaBus, SystemBus, Wiring
from mpvm.hw.char.chardev import Chardev
from mpvm.hw.char.serial import Uart16550A
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.i8259 import PicPair
from mpvm.hw.intc.ioapic import IoApic
from mpvm.hw.misc.a20 import A20Gate
from mpvm.hw.misc.ferr import FerrLatch
from mpvm.hw.system import WakeupReason
from mpvm.machine import cpus, firmware
from mpvm.machine.apic_bus import ApicBus
from mpvm.machine.base import Host, Machine, MachineSpec
from mpvm.machine.irq import IrqRouter
from mpvm.machine.publish import PublishedWindow, Publisher
from mpvm.machine.x86_cpu import X86Cpu, x86_cpu_class
from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam
from mpvm.qom.qdev import Device, qdev_realize
from mpvm.qom.resettable import Resettable
from mpvm.qom.type_info import register_type

if TYPE_CHECKING:
    from mpvm.hw.acpi.cpu_hotplug import CpuHotplug
    from mpvm.hw.pci.bus import PciBus
    from mpvm.hw.timer.hpet import Hpet

D = TypeVar("D", bound=Device)

A20_ON: Final = 0xFFFFFFFF
A20_OFF: Final = A20_ON & ~(1 << 20)


@register_type("x86-machine", abstract=True, description="what x86 boards have in common")
class X86Machine(Machine):
    """An x86 board. Its class's `init` calls the functions of this module and of `pc`, in order."""

    has_pci: ClassVar[bool] = False
    has_hpet: ClassVar[bool] = False
    has_vmport: ClassVar[bool] = False
    pm_class: ClassVar[type[AcpiPm]] = AcpiPm

    pic: PicPair
    ioapic: IoApic
    power_management: AcpiPm
    ferr: FerrLatch | None = None
    # Of a board with PCI.
    pci_bus: "PciBus"

    def __init__(self, spec: MachineSpec, host: Host) -> None:
        super().__init__(spec, host)
        if spec.topology.maxcpus > spec.smp and not self.has_hotpluggable_cpus:
            raise ConfigError(
                f"machine.smp: {self.type} has no hot-pluggable CPUs, "
                f"a maxcpus that is cpus ({spec.smp}) is right"
            )
        self.apic_bus = ApicBus(host.areas[: spec.smp], host.kick)
        self.cpu_hotplug: CpuHotplug | None = None
        self.hpet: Hpet | None = None
        self.a20 = A20Gate(self._set_a20)
        self.pic = self.new(PicPair)
        self.ioapic = self.new(IoApic)
        self.ram = GuestRam(host.ram_block, self.ram_slots(spec.memory_bytes))
        self.irqs = router = IrqRouter(self.pic.set_irq, self.ioapic.set_irq)
        wiring = Wiring(host, router.line, DmaMemory(self.ram, host.dma_store), router.gsi)
        self.ports, self.memory = wiring.ports, wiring.memory
        self.system_bus, self.isa_bus = SystemBus(), IsaBus()
        for name, bus in (("main-system-bus", self.system_bus), ("isa.0", self.isa_bus)):
            bus.wiring = wiring
            self.container("unattached").add_child(name, bus)

    def new(self, cls: type[D]) -> D:
        """A new device of the board, with the defaults that its version has."""
        device = cls()
        self.globals.apply(device)
        return device

    def realize(self, device: Device) -> None:
        """Place and realize a device of the board on the bus of its kind."""
        self.place(device)
        buses: Iterable[IoBus] = (self.system_bus, self.isa_bus)
        qdev_realize(device, next((bus for bus in buses if bus.is_a(device.bus_type or "")), None))

    def add(self, cls: type[D], **values: object) -> D:
        """Make, set up and realize a device of the board; `values` are properties by attribute."""
        device = self.new(cls)
        for attribute, value in values.items():
            setattr(device, attribute, value)
        self.realize(device)
        return device

    def init_done(self) -> None:
        """Publish what the devices declare about their ports."""
        publisher = Publisher(self.host.page)
        publisher.publish(self.ports)
        publisher.publish_memory(self.memory)
        publisher.publish_ram(self.memory, self.host.ram_block, self.host.dma_store)

    def reset_children(self) -> Iterable[Resettable]:
        """Both buses with their devices."""
        return (self.system_bus, self.isa_bus)

    def reset_hold(self) -> None:
        """No interrupt is on its way, and the vCPUs' areas are as after power-up; RAM stays."""
        self.apic_bus.clear()
        self.host.page.pic_intr = 0
        cpus.reset(self.host.areas)

    def describe_board(self) -> firmware.Board:
        """What firmware's tables say of it."""
        leaf1 = cpus.leaf(self.bsp, 1)
        return firmware.Board(
            apic_ids=self.apic_ids,
            absent=frozenset(range(len(self.apic_ids))) - self.cpus.keys(),
            cpu_hotplug=self.cpu_hotplug is not None,
            pci=self.has_pci,
            serial=[(uart.iobase, uart.irq) for uart in self.uarts()],
            hpet_block_id=None if self.hpet is None else self.hpet.block_id,
            signature=leaf1.eax,
            features=leaf1.edx,
            gpe0=self.power_management.gpe0_block,
        )

    def load_boot_image(self) -> None:
        """ACPI and MP tables, then the boot protocol; the BSP's area gets the state that it starts with."""
        self._facs, state = firmware.load(self.boot, self.ram, self.describe_board())
        state.store(self.bsp.control.guest)

    def wake(self, reason: WakeupReason) -> None:
        """What firmware does when it finds RAM kept: it goes to the waking vector, or boots without one."""
        self.power_management.wake(reason)
        state = firmware.waking_state(self.ram, self._facs)
        if state is None:
            self.load_boot_image()
        else:
            state.store(self.bsp.control.guest)

    def uarts(self) -> list[Uart16550A]:
        """Every UART, the user's, too."""
        return [device for device in self.isa_bus.devices if isinstance(device, Uart16550A)]

    @property
    def apic_ids(self) -> Sequence[int]:
        """Those of all CPUs that can be, by index."""
        return self.spec.topology.apic_ids

    @property
    def bsp(self) -> VcpuArea:
        """The bootstrap processor's area."""
        return self.host.areas[0]

    @property
    def console(self) -> Chardev | None:
        """The backend of COM1."""
        return self.spec.serial[0] if self.spec.serial else None

    def acknowledge_interrupt(self) -> int | None:
        """The 8259s' vector; None when INTR has gone low again."""
        return self.pic.acknowledge() if self.host.page.pic_intr else None

    def end_of_interrupt(self, vector: int) -> None:
        """The EOI message on the APIC bus."""
        self.ioapic.eoi(vector)

    def floating_point_error(self) -> None:
        """To the latch that a PC has for it."""
        if self.ferr is not None:
            self.ferr.assert_error()

    def inject_nmi(self) -> None:
        """An edge at LINT1 of every local APIC (QEMU's x86_nmi)."""
        self.apic_bus.raise_nmi()

    def press_power_button(self) -> None:
        """Sets PWRBTN_STS, which the guest sees as an SCI."""
        self.power_management.press_power_button()

    def set_intr(self, level: int) -> None:
        """The 8259s' output, an input of the local APICs' LINT0."""
        self.host.page.pic_intr = level
        if level:
            self.apic_bus.raise_intr()

    def _set_a20(self, enabled: bool) -> None:
        self.host.page.a20_mask = A20_ON if enabled else A20_OFF
        for area in self.host.areas:
            self.host.kick(area.index)


def x86_cpus_init(machine: Machine) -> None:
    """Tell the vCPUs' areas which CPU they are, and give each vCPU its object."""
    host = machine.host
    cpus.describe(host.areas, machine.spec.cpu, machine.spec.topology, host.tsc_khz)
    host.page.tsc_khz = host.tsc_khz
    for area in host.areas[: machine.spec.smp]:
        x86_cpu_new(machine, area)


def x86_cpu_new(machine: Machine, area: VcpuArea, identity: str | None = None) -> X86Cpu:
    """The object of the vCPU of `area`: /machine/peripheral/`identity`, without it in /machine/unattached."""
    cpu = x86_cpu_class(machine.spec.cpu.name)()
    cpu.area = area
    cpu.cpu_model, cpu.place = machine.spec.cpu, machine.spec.topology.place(area.index)
    if identity is not None:
        machine.container("peripheral").add_child(identity, cpu)
    machine.place(cpu)
    qdev_realize(cpu)
    machine.cpus[area.index] = cpu
    return cpu


def gsi_init(machine: X86Machine) -> None:
    """The interrupt controllers (pc_i8259_create, ioapic_init_gsi)."""
    machine.pic.intr = IrqLine(machine.set_intr)
    machine.ioapic.deliver = machine.apic_bus.send
    machine.ioapic.window = PublishedWindow(machine.host.page)
    machine.realize(machine.pic)
    machine.realize(machine.ioapic)
