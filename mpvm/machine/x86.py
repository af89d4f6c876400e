"""What every x86 board has: local APICs' bus, I/O APIC, 8259s, PIT, RTC, UARTs, ACPI, A20, reset ports."""

from typing import Any, ClassVar, Final

from mpvm.abi.layout import VcpuArea
from mpvm.hw.acpi.pm import AcpiPm
from mpvm.hw.char.chardev import Chardev
from mpvm.hw.char.debugcon import DebugCon
from mpvm.hw.char.serial import Uart16550A
from mpvm.hw.device import IrqLine
from mpvm.hw.intc.i8259 import PicPair
from mpvm.hw.intc.ioapic import IoApic
from mpvm.hw.misc.a20 import A20Gate
from mpvm.hw.misc.i8042 import I8042
from mpvm.hw.misc.isa_debug_exit import IsaDebugExit
from mpvm.hw.misc.port92 import Port92
from mpvm.hw.timer.i8254 import Pit
from mpvm.hw.timer.mc146818 import Rtc
from mpvm.machine import cpus, firmware, irq
from mpvm.machine.apic_bus import ApicBus
from mpvm.machine.base import Host, Machine, MachineSpec
from mpvm.machine.fw_cfg import fw_cfg
from mpvm.machine.publish import Publisher
from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam, ram_slots
from mpvm.memory.region import Region
from mpvm.qom.type_info import register_type

# COM1 to COM4: base port and ISA interrupt, as on a PC.
UARTS: Final = ((0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3))

# Kernels write here to wait the time of a bus cycle; on a PC it shows firmware's progress.
POST_CODE_PORT: Final = 0x80

A20_ON: Final = 0xFFFFFFFF
A20_OFF: Final = A20_ON & ~(1 << 20)


def _post_code() -> Region:
    return Region(
        "POST code", 1, lambda offset, size: 0xFF, lambda offset, size, value: None, posted=frozenset({0})
    )


@register_type("x86-machine", abstract=True, description="the common x86 board")
class X86Machine(Machine):
    """The common board. Subclasses add their buses in `add_devices`."""

    has_pci: ClassVar[bool] = False

    def __init__(self, spec: MachineSpec, host: Host) -> None:
        super().__init__(spec, host)
        self.ram = GuestRam(host.ram_block, ram_slots(spec.memory_bytes))
        self.dma = DmaMemory(self.ram, host.dma_store)
        self.apic_bus = ApicBus(host.areas, host.kick)
        self.devices: list[Any] = []
        self._uarts: list[tuple[int, int]] = []
        self.power_management: AcpiPm
        self.pic: PicPair
        self.ioapic: IoApic

    def realize(self) -> None:
        """Make and map the devices, publish their ports, describe the CPUs."""
        self.pic = self.add(PicPair(IrqLine(self._set_intr)))
        self.ioapic = self.add(IoApic(self.apic_bus.send))
        router = irq.IrqRouter(self.pic.set_irq, self.ioapic.set_irq)
        self.add_devices(router)
        Publisher(self.host.page).publish(self.ports)
        cpus.describe(self.host.areas, self.spec.cpu_model, self.host.tsc_khz)
        self.host.page.tsc_khz = self.host.tsc_khz

    def add(self, device: Any) -> Any:
        """Take `device` into the board: map its ports and its memory, reset it with the board."""
        self.devices.append(device)
        for base, region in getattr(device, "ports", list)():
            self.ports.map(base, region)
        for base, region in getattr(device, "memory", list)():
            self.memory.map(base, region)
        return device

    def add_devices(self, router: irq.IrqRouter) -> None:
        """The devices beside the interrupt controllers and the buses."""
        host, clock = self.host, self.host.clock
        self.add(Pit(clock, router.line(irq.PIT_IRQ)))
        self.add(Rtc(clock, router.line(irq.RTC_IRQ), host.wall_clock, firmware.cmos(self.ram)))
        for (base, line), chardev in zip(UARTS, self.spec.serial, strict=False):
            if chardev is not None:
                self.add(Uart16550A(clock, router.line(line), chardev, base))
                self._uarts.append((base, line))
        self.ports.map(POST_CODE_PORT, _post_code())
        sci = router.line(irq.SCI_IRQ)
        self.power_management = self.add(AcpiPm(clock, sci, host.power_off, host.request_reset))
        keyboard, mouse = router.line(irq.KEYBOARD_IRQ), router.line(irq.MOUSE_IRQ)
        a20 = A20Gate(self._set_a20)
        self.add(I8042(keyboard, mouse, host.request_reset, a20.input()))
        self.add(Port92(host.request_reset, a20.input()))
        self.add(fw_cfg(self.spec, self.ram, self.dma))
        if self.spec.debugcon is not None:
            self.add(DebugCon(self.spec.debugcon))
        if self.spec.isa_debug_exit:
            self.add(IsaDebugExit(host.debug_exit))

    def reset(self) -> None:
        """Devices, inboxes and the vCPUs' areas as after power-up; RAM stays."""
        for device in self.devices:
            device.reset()
        self.apic_bus.clear()
        self.host.page.pic_intr = 0
        cpus.reset(self.host.areas)

    def load_boot_image(self) -> None:
        """ACPI and MP tables, then the boot protocol; the BSP's area gets the state that it starts with."""
        leaf1 = cpus.leaf(self.bsp, 1)
        board = firmware.Board(
            smp=self.spec.smp,
            pci=self.has_pci,
            serial=self._uarts,
            signature=leaf1.eax,
            features=leaf1.edx,
        )
        state = firmware.load(self.spec.boot, self.ram, board)
        state.store(self.bsp.control.guest)

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

    def press_power_button(self) -> None:
        """Sets PWRBTN_STS, which the guest sees as an SCI."""
        self.power_management.press_power_button()

    def _set_a20(self, enabled: bool) -> None:
        self.host.page.a20_mask = A20_ON if enabled else A20_OFF
        for area in self.host.areas:
            self.host.kick(area.index)

    def _set_intr(self, level: int) -> None:
        self.host.page.pic_intr = level
        if level:
            self.apic_bus.raise_intr()
