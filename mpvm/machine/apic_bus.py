"""The interrupt messages' way from the I/O APIC to local APICs (SDM vol. 3, 10.6.2).

Destinations are matched against the local APICs' register pages in shared memory; the interrupt is
left in the target's inbox and the target is kicked.
"""

from collections.abc import Callable, Sequence
from typing import Final

from mpvm.abi.layout import MAX_VCPUS, Startup, VcpuArea
from mpvm.abi.log import LogItem
from mpvm.hw.intc.message import DeliveryMode, InterruptMessage
from mpvm.trace.log import log_mask

# Registers of the local APIC's page, offset / 4 (SDM vol. 3, table 10-1).
ID: Final = 0x020 // 4
TPR: Final = 0x080 // 4
LDR: Final = 0x0D0 // 4
DFR: Final = 0x0E0 // 4
SVR: Final = 0x0F0 // 4
LVT_LINT0: Final = 0x350 // 4
LVT_LINT1: Final = 0x360 // 4

SVR_APIC_ENABLED: Final = 1 << 8
LVT_MASKED: Final = 1 << 16
LVT_DELIVERY_MODE_SHIFT: Final = 8
LVT_LEVEL: Final = 1 << 15
APIC_BASE_X2APIC: Final = 1 << 10
APIC_BASE_ENABLE: Final = 1 << 11
DFR_FLAT: Final = 0xF
# An I/O APIC's 8-bit destination of all ones is everyone, to an x2APIC, too.
BROADCAST: Final = 0xFF

EDGE: Final = 1
LEVEL: Final = 2

_MODES: Final = frozenset(DeliveryMode)


def accepts(area: VcpuArea, destination: int, logical: bool) -> bool:
    """Whether `destination` (8 bits) names the local APIC of `area`."""
    if destination == BROADCAST:
        return True
    x2apic = area.control.guest.apic_base & APIC_BASE_X2APIC
    if not logical:
        return bool((area.apic_id if x2apic else area.lapic.regs[ID] >> 24) == destination)
    if x2apic:
        # LDR is derived from the id: cluster in the upper half, a bit in the lower (SDM vol. 3, 10.12.10.2).
        return not area.apic_id >> 4 and bool(1 << (area.apic_id & 0xF) & destination)
    ldr: int = area.lapic.regs[LDR] >> 24
    if area.lapic.regs[DFR] >> 28 == DFR_FLAT:
        return bool(ldr & destination)
    return ldr >> 4 == destination >> 4 and bool(ldr & destination & 0xF)


def _pin_mode(area: VcpuArea, lvt: int, without: DeliveryMode) -> DeliveryMode | None:
    """What an edge at the pin of a local vector table entry means, None: nothing; `without` a local APIC."""
    if not area.control.guest.apic_base & APIC_BASE_ENABLE:
        return without
    entry = area.lapic.regs[lvt]
    mode = entry >> LVT_DELIVERY_MODE_SHIFT & 7
    if mode == DeliveryMode.FIXED and not area.lapic.regs[SVR] & SVR_APIC_ENABLED:
        return None
    return None if entry & LVT_MASKED or mode not in _MODES else DeliveryMode(mode)


def _pin_message(area: VcpuArea, lvt: int, mode: DeliveryMode) -> InterruptMessage:
    entry = area.lapic.regs[lvt]
    # LINT1 is always an edge (SDM vol. 3, 10.5.1).
    level = lvt == LVT_LINT0 and mode is DeliveryMode.FIXED and bool(entry & LVT_LEVEL)
    return InterruptMessage(entry & 0xFF, mode, 0, logical=False, level_triggered=level)


def _clear(area: VcpuArea) -> None:
    for name, _type in area.inbox._fields_[1:]:
        setattr(area.inbox, name, 0)
    area.inbox.vector[:] = bytes(256)


class ApicBus:
    """Carries messages to the local APICs of `areas`; `kick(index)` makes a vCPU look into its inbox."""

    def __init__(self, areas: Sequence[VcpuArea], kick: Callable[[int], None]) -> None:
        self._areas = list(areas)
        self._kick = kick
        self._last_arbitrated = 0

    def plug(self, area: VcpuArea) -> None:
        """The local APIC of `area` is on the bus from now on, with an empty inbox."""
        _clear(area)
        self._areas.append(area)

    def unplug(self, area: VcpuArea) -> None:
        """The local APIC of `area` is not on the bus any more."""
        self._areas = [other for other in self._areas if other.index != area.index]

    def send(self, message: InterruptMessage) -> None:
        """Deliver `message` to every local APIC that it names, or to one of them by lowest priority."""
        targets = [a for a in self._areas if accepts(a, message.destination, message.logical)]
        mode = message.delivery_mode
        if mode in (DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY):
            # A software-disabled APIC takes only NMI, INIT, SMI and SIPI (SDM vol. 3, 10.4.7.2).
            targets = [a for a in targets if a.lapic.regs[SVR] & SVR_APIC_ENABLED]
            if mode == DeliveryMode.LOWEST_PRIORITY and targets:
                targets = [self._arbitrate(targets)]
        for area in targets:
            self._leave(area, message)

    def raise_intr(self) -> None:
        """The 8259s' INTR, every local APIC's LINT0, went high.

        What takes it as an ExtINT looks at the line itself; so does a CPU whose local APIC is off, for which
        the pin is INTR.
        """
        for area in self._areas:
            mode = _pin_mode(area, LVT_LINT0, DeliveryMode.EXTINT)
            if area.is_bsp or mode is DeliveryMode.EXTINT:
                self._kick(area.index)
            if mode is not None and mode is not DeliveryMode.EXTINT:
                self._leave(area, _pin_message(area, LVT_LINT0, mode))

    def raise_nmi(self) -> None:
        """The board's NMI, every local APIC's LINT1; the pin of a CPU whose local APIC is off is NMI."""
        for area in self._areas:
            mode = _pin_mode(area, LVT_LINT1, DeliveryMode.NMI)
            if mode is not None:
                self._leave(area, _pin_message(area, LVT_LINT1, mode))

    def clear(self) -> None:
        """Take every interrupt back that no vCPU has seen yet (at a reset)."""
        for area in self._areas:
            _clear(area)

    def _arbitrate(self, targets: list[VcpuArea]) -> VcpuArea:
        # Equal priorities take turns, as the arbitration priority makes them on hardware.
        chosen = min(
            targets,
            key=lambda a: (a.lapic.regs[TPR] >> 4 & 0xF, (a.index - self._last_arbitrated - 1) % MAX_VCPUS),
        )
        self._last_arbitrated = chosen.index
        return chosen

    def _leave(self, area: VcpuArea, message: InterruptMessage) -> None:
        inbox = area.inbox
        match message.delivery_mode:
            case DeliveryMode.FIXED | DeliveryMode.LOWEST_PRIORITY:
                inbox.vector[message.vector] = LEVEL if message.level_triggered else EDGE
            case DeliveryMode.SMI:
                inbox.smi = 1
                log_mask(LogItem.UNIMP, "vCPU %d: SMI, and there is no system-management mode", area.index)
            case DeliveryMode.NMI:
                # One that waits there already is delivered later than this moment, and stands for both.
                inbox.nmi = inbox.nmi or 1
            case DeliveryMode.INIT:
                inbox.startup = Startup.INIT
            case DeliveryMode.EXTINT:
                inbox.extint = 1
        # Last: x86 keeps stores in order, so that whoever sees `any` sees the interrupt.
        inbox.any = 1
        self._kick(area.index)
