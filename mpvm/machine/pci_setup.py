"""What firmware does with PCI before it boots anything: addresses, interrupts, and decoding switched on.

Where everything goes is SeaBIOS's (src/fw/pciinit.c), so that a guest finds a device where it is under QEMU.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from mpvm.hw.intc import ioapic
from mpvm.hw.intc.i8259 import ELCR_PORT
from mpvm.hw.pci.bar import Bar
from mpvm.hw.pci.bus import PciBus
from mpvm.hw.pci.function import Command, Header, PciFunction
from mpvm.hw.pci.pirq import PirqBridge
from mpvm.memory.address_space import AddressSpace
from mpvm.memory.ram import HIGH_RAM_START, GuestRam

PORTS_START: Final = 0xC000
# Where ports go when that is too little.
PORTS_LOW_START: Final = 0x1000
_PORTS_ROOM: Final = 0x4000
MEMORY_END: Final = ioapic.BASE_ADDRESS
_PAGE: Final = 0x1000
_HIGH_ALIGN: Final = 1 << 30
_LOW_STARTS: Final = (0x80000000, 0xC0000000)

# ISA interrupts of PIRQA# to PIRQD#, and of PIRQE# to PIRQH#, level triggered; and the SCI's, of function 3
# of the PIIX.
PIRQ_IRQS: Final = (10, 10, 11, 11)
_PIIX4_PM_ID: Final = 0x71138086
_SCI_IRQ: Final = 9
_HOST_BRIDGE_DEVICE: Final = 0
_EITHER: Final = (False, True)


class Claim(NamedTuple):
    """A base address register that wants an address, and how many bytes it takes."""

    function: PciFunction
    bar: Bar
    size: int

    def assign(self, base: int) -> None:
        """Write the address."""
        for half in range(0, self.bar.bytes, 4):
            self.function.write(self.bar.offset + half, 4, base >> 8 * half & 0xFFFFFFFF)


def pci_setup(bus: PciBus, ports: AddressSpace, ram: GuestRam, start: int) -> None:
    """Give every function on `bus` but the host bridge its addresses and interrupt, and have it decode.

    From `start` on, memory below 4 GiB is PCI's.
    """
    functions = [each for each in bus.functions() if each.device != _HOST_BRIDGE_DEVICE]
    if not functions:
        return
    _assign(functions, ram, start)
    bridge = next((each for each in functions if isinstance(each, PirqBridge)), None)
    if bridge is not None:
        _route(bridge, ports)
    for function in functions:
        command = function.read(Header.COMMAND, 2)
        function.write(Header.COMMAND, 2, command | Command.IO | Command.MEMORY | Command.SERR)
        pin = function.read(Header.INTERRUPT_PIN, 1)
        if pin and bridge is not None:
            line = PIRQ_IRQS[bridge.pirq_of(function.device, pin - 1) % len(PIRQ_IRQS)]
            is_sci = function.read(Header.VENDOR_ID, 4) == _PIIX4_PM_ID
            function.write(Header.INTERRUPT_LINE, 1, _SCI_IRQ if is_sci else line)


def _route(bridge: PirqBridge, ports: AddressSpace) -> None:
    for pirq, route in enumerate(bridge.routes):
        bridge.write(route, 1, PIRQ_IRQS[pirq % len(PIRQ_IRQS)])
    levels = sum({1 << irq for irq in PIRQ_IRQS})
    for chip in range(2):
        ports.write(ELCR_PORT + chip, 1, levels >> 8 * chip & 0xFF)


def _assign(functions: Iterable[PciFunction], ram: GuestRam, start: int) -> None:
    kinds: dict[tuple[bool, bool], list[Claim]] = {
        (io, prefetch): [] for io in _EITHER for prefetch in _EITHER
    }
    for function in functions:
        for bar in function.bars:
            size = bar.size if bar.io else max(bar.size, _PAGE)
            kinds[bar.io, bar.prefetchable].append(Claim(function, bar, size))
    # The largest first, so that what follows is aligned, too.
    for claims in kinds.values():
        claims.sort(key=lambda claim: -claim.size)
    ports = kinds[True, False]
    _place(ports, PORTS_START if _sum(ports) < _PORTS_ROOM else PORTS_LOW_START)
    _assign_memory(kinds[False, False], kinds[False, True], ram, start)


def memory_start(ram: GuestRam) -> int:
    """Where the memory of PCI below 4 GiB may begin where nothing but RAM is below it."""
    low_ram = max(slot.gpa + slot.size for slot in ram.slots if slot.gpa < HIGH_RAM_START)
    return next((each for each in _LOW_STARTS if low_ram <= each), low_ram)


def _assign_memory(plain: list[Claim], prefetchable: list[Claim], ram: GuestRam, start: int) -> None:
    """Downwards from the I/O APIC; when that is too little, what can be goes behind the RAM above 4 GiB."""
    bases = _downwards(plain, prefetchable)
    if min(bases) < start:
        high = sorted(
            (claim for claim in plain + prefetchable if claim.bar.is_64_bit), key=lambda claim: -claim.size
        )
        plain, prefetchable = ([c for c in each if not c.bar.is_64_bit] for each in (plain, prefetchable))
        ram_end = max(slot.gpa + slot.size for slot in ram.slots)
        _place(high, _up(max(ram_end, HIGH_RAM_START), max(_HIGH_ALIGN, _align(high))))
        bases = _downwards(plain, prefetchable)
    for claims, base in zip((plain, prefetchable), bases, strict=True):
        if base >= start:
            _place(claims, base)


def _downwards(plain: list[Claim], prefetchable: list[Claim]) -> tuple[int, int]:
    """Where both kinds start: the one that needs the smaller alignment is on top."""
    top, below = (plain, prefetchable) if _align(plain) < _align(prefetchable) else (prefetchable, plain)
    top_base = _down(MEMORY_END - _sum(top), _align(top))
    below_base = _down(top_base - _sum(below), _align(below))
    return (top_base, below_base) if top is plain else (below_base, top_base)


def _place(claims: Iterable[Claim], base: int) -> None:
    for claim in claims:
        claim.assign(base)
        base += claim.size


def _sum(claims: Iterable[Claim]) -> int:
    return sum(claim.size for claim in claims)


def _align(claims: Iterable[Claim]) -> int:
    return max((claim.size for claim in claims), default=1)


def _down(address: int, align: int) -> int:
    return address // align * align


def _up(address: int, align: int) -> int:
    return -(-address // align) * align
