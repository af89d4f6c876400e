"""What firmware would have done before the boot image runs: CMOS, ACPI and MP tables, the memory map."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from mpvm.boot.e820 import E820Entry, e820_map
from mpvm.boot.entry import real_mode
from mpvm.boot.loader import load as load_image
from mpvm.boot.mptable import MP_TABLE_ADDRESS, build_mp_table
from mpvm.boot.request import BootMachine, BootRequest
from mpvm.cpu.state import CpuState
from mpvm.hw.acpi.tables import FACS_WAKING_VECTOR, AcpiMachine, Table, build_tables
from mpvm.machine.base import BootSpec
from mpvm.memory.ram import HIGH_RAM_START, GuestRam

if TYPE_CHECKING:
    from mpvm.hw.acpi.mcfg import MmConfig

# CMOS bytes as AT and later firmware keep them (Ralf Brown's CMOS memory map).
_EQUIPMENT: Final = 0x14
_BASE_MEMORY: Final = 0x15
_EXTENDED_MEMORY: Final = (0x17, 0x30)
_MEMORY_ABOVE_16M: Final = 0x34
_MEMORY_ABOVE_4G: Final = 0x5B

EQUIPMENT_FPU: Final = 0x02
_BASE_MEMORY_KIB: Final = 640


def _field(address: int, size: int, value: int) -> dict[int, int]:
    """`value`, or the largest that fits, in `size` bytes from `address` on."""
    return dict(enumerate(min(value, (1 << 8 * size) - 1).to_bytes(size, "little"), address))


def cmos(ram: GuestRam) -> dict[int, int]:
    """The CMOS bytes that tell how much memory there is."""
    low = max(slot.gpa + slot.size for slot in ram.slots if slot.gpa < HIGH_RAM_START)
    high = sum(slot.size for slot in ram.slots if slot.gpa >= HIGH_RAM_START)
    above_16m = max(low - (16 << 20), 0) >> 16
    return {
        _EQUIPMENT: EQUIPMENT_FPU,
        **_field(_BASE_MEMORY, 2, _BASE_MEMORY_KIB),
        **_field(_EXTENDED_MEMORY[0], 2, (low >> 10) - 1024),
        **_field(_EXTENDED_MEMORY[1], 2, (low >> 10) - 1024),
        **_field(_MEMORY_ABOVE_16M, 2, above_16m),
        **_field(_MEMORY_ABOVE_4G, 3, high >> 16),
    }


class Board(NamedTuple):
    """What the tables say about the board. `serial`: base port and interrupt of every UART that is there.

    `apic_ids` are those of all CPUs that can be, by index; the CPUs in `absent` are not there. `signature`
    and `features` are EAX and EDX of CPUID leaf 1. `hpet_block_id` is the HPET's, None where there is none,
    `gpe0` is where the general-purpose events are, `mmconfig` where PCI configuration space is in memory.
    `reserved` is what the memory map has beside RAM, `tables` what ACPI has beside its own.
    """

    apic_ids: Sequence[int]
    absent: frozenset[int]
    cpu_hotplug: bool
    pci: bool
    serial: Sequence[tuple[int, int]]
    signature: int
    features: int
    gpe0: tuple[int, int]
    hpet_block_id: int | None = None
    mmconfig: "MmConfig | None" = None
    reserved: Sequence[E820Entry] = ()
    tables: Sequence[Table] = ()


def load(boot: BootSpec, ram: GuestRam, board: Board) -> tuple[int, CpuState]:
    """Write the tables and the boot image into `ram`; where the FACS is, and the first CPU's state."""
    machine = AcpiMachine(
        apic_ids=board.apic_ids,
        absent=board.absent,
        cpu_hotplug=board.cpu_hotplug,
        serial=board.serial,
        pci=board.pci,
        hpet_block_id=board.hpet_block_id,
        gpe0=board.gpe0,
        mmconfig=board.mmconfig,
        others=board.tables,
    )
    tables = build_tables(machine)
    tables.write(ram)
    present = [apic_id for index, apic_id in enumerate(board.apic_ids) if index not in board.absent]
    ram.write(MP_TABLE_ADDRESS, build_mp_table(present, board.signature, board.features, pci=board.pci))
    request = BootRequest(
        protocol=boot.protocol,
        kernel=boot.kernel,
        initrd=boot.initrd,
        append=boot.append,
        modules=boot.modules,
        argv0=boot.argv0,
    )
    machine_of_boot = BootMachine(ram, e820_map(ram.slots, board.reserved), tables.rsdp_address)
    return tables.facs_address, load_image(request, machine_of_boot)


def waking_state(ram: GuestRam, facs: int) -> CpuState | None:
    """How the first CPU goes on after S3: in real mode at the FACS's waking vector; None when it is 0.

    As SeaBIOS, without the X_Firmware_Waking_Vector, which would be protected mode (ACPI 6.4, 5.2.10).
    """
    vector = int.from_bytes(ram.read(facs + FACS_WAKING_VECTOR, 4), "little")
    return real_mode(vector >> 4, vector & 0xF) if vector else None
