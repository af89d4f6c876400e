"""The ACPI tables that firmware would leave in memory (ACPI 6.5, chapter 5.2; section numbers are its).

RSDP, FACS, DSDT, FADT, MADT, HPET, RSDT and XSDT, one behind the other in the BIOS read-only memory space
from 0xe0000 on, where kernels without a better pointer look for the RSDP's signature.
"""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from mpvm.hw.acpi import aml, pm
from mpvm.hw.acpi.madt import MADT_REVISION, SCI_INT, madt_body
from mpvm.hw.intc import ioapic
from mpvm.hw.nvram.fw_cfg import FW_CFG_PORT, FW_CFG_PORTS
from mpvm.hw.timer.mc146818 import CENTURY
from mpvm.memory.ram import LOW_RAM_LIMIT, GuestRam

if TYPE_CHECKING:
    from mpvm.hw.acpi.mcfg import MmConfig

TABLES_START: Final = 0xE0000
TABLES_END: Final = 0xF0000

OEM_ID: Final = b"MPVM  "
OEM_REVISION: Final = 1
CREATOR_ID: Final = b"MPVM"
HYPERVISOR_VENDOR: Final = b"mpvm\0\0\0\0"

_HEADER: Final = struct.Struct("<4sIBB6s8sI4sI")
_CHECKSUM_OFFSET: Final = 9
_RSDP: Final = struct.Struct("<8sB6sBIIQB3x")
_RSDP_CHECKSUM_OFFSET, _RSDP_EXTENDED_CHECKSUM_OFFSET = 8, 32
_RSDP_V1_BYTES: Final = 20
# FACS: Firmware_Waking_Vector (5.2.10).
FACS_WAKING_VECTOR: Final = 12
_FACS: Final = struct.Struct("<4sIIIIIQB3xI24x")
_FACS_ALIGN, _TABLE_ALIGN, _RSDP_ALIGN = 64, 8, 16

# Fixed feature flags (table 5.10) and IA-PC boot architecture flags (table 5.11).
WBINVD, PROC_C1, SLP_BUTTON, TMR_VAL_EXT, RESET_REG_SUP = 1 << 0, 1 << 2, 1 << 5, 1 << 8, 1 << 10
LEGACY_DEVICES, HAS_8042, VGA_NOT_PRESENT = 1 << 0, 1 << 1, 1 << 2

# Latencies beyond these say that C2 and C3 do not exist.
C2_NOT_SUPPORTED, C3_NOT_SUPPORTED = 0xFFF, 0xFFF

_ADDRESS_SPACE_MEMORY, _ADDRESS_SPACE_IO = 0, 1
_ACCESS_BYTE, _ACCESS_WORD, _ACCESS_DWORD = 1, 2, 3

# The FADT behind its header (table 5.9), field by field; what is not set below is 0.
FADT_REVISION, FADT_MINOR_REVISION = 6, 3
FADT_FIELDS: Final = (
    *(("FIRMWARE_CTRL", "I"), ("DSDT", "I"), ("INT_MODEL", "B"), ("PREFERRED_PM_PROFILE", "B")),
    *(("SCI_INT", "H"), ("SMI_CMD", "I"), ("ACPI_ENABLE", "B"), ("ACPI_DISABLE", "B"), ("S4BIOS_REQ", "B")),
    *(("PSTATE_CNT", "B"), ("PM1a_EVT_BLK", "I"), ("PM1b_EVT_BLK", "I"), ("PM1a_CNT_BLK", "I")),
    *(("PM1b_CNT_BLK", "I"), ("PM2_CNT_BLK", "I"), ("PM_TMR_BLK", "I"), ("GPE0_BLK", "I"), ("GPE1_BLK", "I")),
    *(("PM1_EVT_LEN", "B"), ("PM1_CNT_LEN", "B"), ("PM2_CNT_LEN", "B"), ("PM_TMR_LEN", "B")),
    *(("GPE0_BLK_LEN", "B"), ("GPE1_BLK_LEN", "B"), ("GPE1_BASE", "B"), ("CST_CNT", "B")),
    *(("P_LVL2_LAT", "H"), ("P_LVL3_LAT", "H"), ("FLUSH_SIZE", "H"), ("FLUSH_STRIDE", "H")),
    *(("DUTY_OFFSET", "B"), ("DUTY_WIDTH", "B"), ("DAY_ALRM", "B"), ("MON_ALRM", "B"), ("CENTURY", "B")),
    *(("IAPC_BOOT_ARCH", "H"), ("RESERVED", "B"), ("FLAGS", "I"), ("RESET_REG", "12s"), ("RESET_VALUE", "B")),
    *(("ARM_BOOT_ARCH", "H"), ("FADT_MINOR", "B"), ("X_FIRMWARE_CTRL", "Q"), ("X_DSDT", "Q")),
    *(("X_PM1a_EVT_BLK", "12s"), ("X_PM1b_EVT_BLK", "12s"), ("X_PM1a_CNT_BLK", "12s")),
    *(("X_PM1b_CNT_BLK", "12s"), ("X_PM2_CNT_BLK", "12s"), ("X_PM_TMR_BLK", "12s"), ("X_GPE0_BLK", "12s")),
    *(("X_GPE1_BLK", "12s"), ("SLEEP_CONTROL_REG", "12s"), ("SLEEP_STATUS_REG", "12s"), ("HYPERVISOR", "8s")),
)


HPET_REVISION: Final = 1
HPET_BASE: Final = 0xFED00000

# Device status, what _STA gives (6.3.7).
PRESENT, ENABLED, SHOWN_IN_UI, FUNCTIONING = 1 << 0, 1 << 1, 1 << 2, 1 << 3


class IsaDevice(NamedTuple):
    """A device of the DSDT: its name there, hardware ID, unique ID, ports, interrupt and status."""

    name: str
    hid: str
    uid: int
    ports: tuple[tuple[int, int], ...]
    irq: int | None  # None: it has none
    status: int = PRESENT | ENABLED | SHOWN_IN_UI | FUNCTIONING


RTC: Final = IsaDevice("RTC", "PNP0B00", 0, ((0x70, 2),), 8)
KEYBOARD: Final = IsaDevice("KBD", "PNP0303", 0, ((0x60, 1), (0x64, 1)), 1)
# No driver of a person's choice, so it is not shown.
FW_CFG: Final = IsaDevice(
    "FWCF", "QEMU0002", 0, ((FW_CFG_PORT, FW_CFG_PORTS),), None, PRESENT | ENABLED | FUNCTIONING
)
UART_PORTS: Final = 8


class AcpiMachine(NamedTuple):
    """What the tables describe. `serial`: base port and ISA interrupt of each UART that is there.

    `apic_ids` are those of all CPUs that can be, by index; the CPUs in `absent` are not there. With
    `cpu_hotplug`, CPUs come and go. `hpet_block_id` is the low half of the HPET's capabilities, `gpe0` the
    first port of GPE0 and how many there are, `mmconfig` where PCI configuration space is in memory. `others`
    are more tables.
    """

    apic_ids: Sequence[int]
    absent: frozenset[int] = frozenset()
    cpu_hotplug: bool = False
    serial: Sequence[tuple[int, int]] = ()
    pci: bool = False
    ioapic_id: int = 0
    hpet_block_id: int | None = None
    gpe0: tuple[int, int] = (pm.GPE0_BLK, pm.GPE0_LEN)
    mmconfig: "MmConfig | None" = None
    others: "Sequence[Table]" = ()


class Table(NamedTuple):
    """A system description table without its header."""

    signature: bytes
    revision: int
    body: bytes


class AcpiTables(NamedTuple):
    """The tables: `blocks` are pairs of an address and what belongs there."""

    rsdp_address: int
    facs_address: int
    blocks: tuple[tuple[int, bytes], ...]

    def write(self, ram: GuestRam) -> None:
        """Put every table into RAM."""
        for address, data in self.blocks:
            ram.write(address, data)


def build_tables(machine: AcpiMachine, start: int = TABLES_START) -> AcpiTables:
    """The tables of `machine`, laid out from `start` on."""
    layout = _Layout(start)
    rsdp_address = layout.reserve(_RSDP.size, _RSDP_ALIGN)
    facs = layout.put(_facs(), _FACS_ALIGN)
    dsdt = layout.put(_dsdt(machine))
    fadt = layout.put(_fadt(machine, facs, dsdt))
    madt = layout.put(_table(b"APIC", MADT_REVISION, _madt(machine)))
    found = [fadt, madt]
    if machine.hpet_block_id is not None:
        found.append(layout.put(_table(b"HPET", HPET_REVISION, _hpet(machine.hpet_block_id))))
    if machine.mmconfig is not None:
        found.append(layout.put(_table(*machine.mmconfig.table())))
    found += [layout.put(_table(*other)) for other in machine.others]
    rsdt = layout.put(_table(b"RSDT", 1, struct.pack(f"<{len(found)}I", *found)))
    xsdt = layout.put(_table(b"XSDT", 1, struct.pack(f"<{len(found)}Q", *found)))
    return AcpiTables(rsdp_address, facs, ((rsdp_address, _rsdp(rsdt, xsdt)), *layout.blocks))


class _Layout:
    """Puts tables one behind the other."""

    def __init__(self, start: int) -> None:
        self._next = start
        self.blocks: list[tuple[int, bytes]] = []

    def reserve(self, size: int, align: int) -> int:
        address = -(-self._next // align) * align
        self._next = address + size
        return address

    def put(self, data: bytes, align: int = _TABLE_ALIGN) -> int:
        address = self.reserve(len(data), align)
        self.blocks.append((address, data))
        return address


def _checksum(data: bytes | bytearray) -> int:
    """The byte that makes the sum of all bytes 0."""
    return -sum(data) & 0xFF


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    """A system description table: header (5.2.6) and body."""
    header = _HEADER.pack(
        signature,
        _HEADER.size + len(body),
        revision,
        0,
        OEM_ID,
        b"MPVM" + signature,
        OEM_REVISION,
        CREATOR_ID,
        OEM_REVISION,
    )
    table = bytearray(header + body)
    table[_CHECKSUM_OFFSET] = _checksum(table)
    return bytes(table)


def _rsdp(rsdt: int, xsdt: int) -> bytes:
    """The root system description pointer (5.2.5.3), revision 2."""
    rsdp = bytearray(_RSDP.pack(b"RSD PTR ", 0, OEM_ID, 2, rsdt, _RSDP.size, xsdt, 0))
    rsdp[_RSDP_CHECKSUM_OFFSET] = _checksum(rsdp[:_RSDP_V1_BYTES])
    rsdp[_RSDP_EXTENDED_CHECKSUM_OFFSET] = _checksum(rsdp)
    return bytes(rsdp)


def _facs() -> bytes:
    """The firmware ACPI control structure (5.2.10), version 2: no waking vector, no global lock owner."""
    return _FACS.pack(b"FACS", _FACS.size, 0, 0, 0, 0, 0, 2, 0)


def _io_register(port: int, length: int, access: int) -> bytes:
    """A generic address structure (5.2.3.2) for `length` bytes of ports."""
    return struct.pack("<BBBBQ", _ADDRESS_SPACE_IO, 8 * length, 0, access, port)


def _fadt(machine: AcpiMachine, facs: int, dsdt: int) -> bytes:
    values: dict[str, int | bytes] = {
        "FIRMWARE_CTRL": facs,
        "DSDT": dsdt,
        "X_DSDT": dsdt,
        "SCI_INT": SCI_INT,
        "PM1a_EVT_BLK": pm.PM1A_EVT_BLK,
        "PM1a_CNT_BLK": pm.PM1A_CNT_BLK,
        "PM_TMR_BLK": pm.PM_TMR_BLK,
        "GPE0_BLK": machine.gpe0[0],
        "PM1_EVT_LEN": pm.PM1_EVT_LEN,
        "PM1_CNT_LEN": pm.PM1_CNT_LEN,
        "PM_TMR_LEN": pm.PM_TMR_LEN,
        "GPE0_BLK_LEN": machine.gpe0[1],
        "P_LVL2_LAT": C2_NOT_SUPPORTED,
        "P_LVL3_LAT": C3_NOT_SUPPORTED,
        "CENTURY": CENTURY,
        "IAPC_BOOT_ARCH": LEGACY_DEVICES | HAS_8042 | VGA_NOT_PRESENT,
        # SLP_BUTTON set: there is no fixed sleep button. PWR_BUTTON and FIX_RTC clear: those are there.
        "FLAGS": WBINVD
        | PROC_C1
        | SLP_BUTTON
        | RESET_REG_SUP
        | (TMR_VAL_EXT if pm.PM_TIMER_BITS == 32 else 0),
        "RESET_REG": _io_register(pm.RESET_PORT, 1, _ACCESS_BYTE),
        "RESET_VALUE": pm.RESET_VALUE,
        "FADT_MINOR": FADT_MINOR_REVISION,
        "X_PM1a_EVT_BLK": _io_register(pm.PM1A_EVT_BLK, pm.PM1_EVT_LEN, _ACCESS_WORD),
        "X_PM1a_CNT_BLK": _io_register(pm.PM1A_CNT_BLK, pm.PM1_CNT_LEN, _ACCESS_WORD),
        "X_PM_TMR_BLK": _io_register(pm.PM_TMR_BLK, pm.PM_TMR_LEN, _ACCESS_DWORD),
        "X_GPE0_BLK": _io_register(*machine.gpe0, _ACCESS_BYTE),
        "HYPERVISOR": HYPERVISOR_VENDOR,
    }
    body = b"".join(
        struct.pack(f"<{layout}", values.get(name, b"" if layout.endswith("s") else 0))
        for name, layout in FADT_FIELDS
    )
    return _table(b"FACP", FADT_REVISION, body)


def _hpet(block_id: int) -> bytes:
    """The HPET description table (IA-PC HPET 1.0a, 3.2.4): where it is, without a least number of ticks."""
    where = struct.pack("<BBBBQ", _ADDRESS_SPACE_MEMORY, 0, 0, 0, HPET_BASE)
    return struct.pack("<I12sBHB", block_id, where, 0, 0, 0)


def _madt(machine: AcpiMachine) -> bytes:
    return madt_body(machine.apic_ids, machine.absent, machine.ioapic_id)


def _dsdt(machine: AcpiMachine) -> bytes:
    """The differentiated system description table: sleep states, devices of the board, the PCI root."""
    uarts = [
        IsaDevice(f"COM{number}", "PNP0501", number, ((base, UART_PORTS),), irq)
        for number, (base, irq) in enumerate(machine.serial, 1)
    ]
    devices = [_isa_device(device) for device in (RTC, KEYBOARD, *uarts, FW_CFG)]
    if machine.pci:
        devices.insert(0, _pci_root())
    if machine.mmconfig is not None:
        devices.append(machine.mmconfig.device())
    cpus = b""
    if machine.cpu_hotplug:
        # Imported here: few machines have it.
        from mpvm.hw.acpi.cpus_aml import cpus_aml

        cpus = cpus_aml(machine.apic_ids)
    sleep_states = (("\\_S3", pm.SLP_TYP_S3), ("\\_S4", pm.SLP_TYP_S4), ("\\_S5", pm.SLP_TYP_S5))
    return _table(
        b"DSDT",
        2,
        b"".join(
            aml.name(path, aml.package(aml.integer(kind), aml.integer(kind), aml.integer(0), aml.integer(0)))
            for path, kind in sleep_states
        )
        + aml.scope("\\_SB", *devices)
        + cpus,
    )


def _isa_device(device: IsaDevice) -> bytes:
    resources = [aml.io(base, length) for base, length in device.ports]
    if device.irq is not None:
        resources.append(aml.irq(device.irq))
    return aml.device(
        device.name,
        aml.name("_HID", aml.hardware_id(device.hid)),
        aml.name("_UID", aml.integer(device.uid)),
        aml.name("_STA", aml.integer(device.status)),
        aml.name("_CRS", aml.resource_template(*resources)),
    )


def _pci_root() -> bytes:
    """The PCI host bridge: bus numbers, its own configuration ports, ports and memory that it hands on."""
    return aml.device(
        "PCI0",
        aml.name("_HID", aml.eisa_id("PNP0A03")),
        aml.name("_UID", aml.integer(0)),
        aml.name("_BBN", aml.integer(0)),
        aml.name(
            "_CRS",
            aml.resource_template(
                aml.word_bus_number(0, 0xFF),
                aml.io(0xCF8, 8),
                aml.word_io(0, 0xCF7),
                aml.word_io(0xD00, 0xFFFF),
                aml.dword_memory(LOW_RAM_LIMIT, ioapic.BASE_ADDRESS - 1),
            ),
        ),
    )
