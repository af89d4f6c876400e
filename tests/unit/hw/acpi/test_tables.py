"""The ACPI tables, read by their offsets in the specification, and by Intel's own compiler `iasl`."""

import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpvm.hw.acpi import pm
from mpvm.hw.acpi.mcfg import MmConfig
from mpvm.hw.acpi.tables import TABLES_END, TABLES_START, AcpiMachine, AcpiTables, Table, build_tables
from mpvm.memory.ram import GuestRam, ram_slots

PC = AcpiMachine(range(4), serial=((0x3F8, 4), (0x2F8, 3)), pci=True)
Q35 = PC._replace(gpe0=(0x620, 16), mmconfig=MmConfig(0xB0000000, 256 << 20))
MICROVM = AcpiMachine(range(1), serial=((0x3F8, 4),))
LARGE = AcpiMachine(range(64), serial=((0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3)), pci=True)
HOTPLUG = AcpiMachine((0, 1, 4, 5), absent=frozenset({1, 3}), cpu_hotplug=True, pci=True)
LARGE_HOTPLUG = AcpiMachine(range(64), absent=frozenset(range(1, 64)), cpu_hotplug=True, pci=True)
MACHINES = pytest.mark.parametrize(
    "machine",
    [PC, Q35, MICROVM, LARGE, HOTPLUG, LARGE_HOTPLUG],
    ids=["pc", "q35", "microvm", "64 vCPUs", "hot-plug", "63 hot-pluggable vCPUs"],
)


def in_memory(tables: AcpiTables) -> bytes:
    ram = GuestRam(memoryview(bytearray(1 << 20)), ram_slots(1 << 20))
    tables.write(ram)
    return bytes(0xC0000) + ram.read(0xC0000, 0x40000)


def u32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def u64(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "little")


def table_at(memory: bytes, address: int) -> bytes:
    return memory[address : address + u32(memory, address + 4)]


class Firmware:
    """Finds the tables as a kernel does: by the RSDP's signature, then from pointer to pointer."""

    def __init__(self, machine: AcpiMachine) -> None:
        self.memory = in_memory(build_tables(machine))
        self.rsdp_address = next(
            address
            for address in range(0xE0000, 0x100000, 16)
            if self.memory[address:].startswith(b"RSD PTR ")
        )
        self.rsdp = self.memory[self.rsdp_address : self.rsdp_address + 36]
        self.rsdt = table_at(self.memory, u32(self.rsdp, 16))
        self.xsdt = table_at(self.memory, u64(self.rsdp, 24))
        pointed = [table_at(self.memory, u64(self.xsdt, offset)) for offset in range(36, len(self.xsdt), 8)]
        self.tables = {table[:4]: table for table in pointed}
        self.fadt = self.tables[b"FACP"]
        self.madt = self.tables[b"APIC"]
        self.dsdt = table_at(self.memory, u32(self.fadt, 40))
        self.facs = table_at(self.memory, u32(self.fadt, 36))


@pytest.fixture
def firmware() -> Firmware:
    return Firmware(PC)


@MACHINES
def test_a_scan_for_the_rsdp_finds_it_where_the_tables_say(machine: AcpiMachine) -> None:
    assert Firmware(machine).rsdp_address == build_tables(machine).rsdp_address


@MACHINES
def test_every_checksum_is_right(machine: AcpiMachine) -> None:
    firmware = Firmware(machine)
    assert sum(firmware.rsdp[:20]) & 0xFF == 0
    assert sum(firmware.rsdp) & 0xFF == 0
    for table in (firmware.rsdt, firmware.xsdt, firmware.fadt, firmware.madt, firmware.dsdt):
        assert sum(table) & 0xFF == 0


@MACHINES
def test_tables_do_not_overlap_and_stay_in_their_segment(machine: AcpiMachine) -> None:
    blocks = sorted(build_tables(machine).blocks)
    ends = [address + len(data) for address, data in blocks]
    assert blocks[0][0] >= TABLES_START
    assert ends[-1] <= TABLES_END
    assert all(end <= address for end, (address, _) in zip(ends, blocks[1:], strict=False))


def test_the_rsdp_is_of_revision_2_and_points_to_both_root_tables(firmware: Firmware) -> None:
    assert firmware.rsdp[15] == 2
    assert u32(firmware.rsdp, 20) == 36
    assert firmware.rsdt[:4] == b"RSDT"
    assert firmware.xsdt[:4] == b"XSDT"


def test_both_root_tables_hold_the_same_pointers(firmware: Firmware) -> None:
    short = [u32(firmware.rsdt, offset) for offset in range(36, len(firmware.rsdt), 4)]
    long = [u64(firmware.xsdt, offset) for offset in range(36, len(firmware.xsdt), 8)]
    assert short == long
    assert set(firmware.tables) == {b"FACP", b"APIC"}


def test_headers_name_us(firmware: Firmware) -> None:
    for table in (firmware.rsdt, firmware.xsdt, firmware.fadt, firmware.madt, firmware.dsdt):
        assert table[10:24] == b"MPVM  MPVM" + table[:4]


def test_the_facs_is_64_bytes_at_a_multiple_of_64(firmware: Firmware) -> None:
    assert u32(firmware.fadt, 36) % 64 == 0
    assert firmware.facs[:4] == b"FACS"
    assert len(firmware.facs) == 64
    assert firmware.facs[32] == 2


def test_the_fadt_has_the_length_of_its_revision(firmware: Firmware) -> None:
    assert (firmware.fadt[8], firmware.fadt[131], len(firmware.fadt)) == (6, 3, 276)


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (46, 2, 9),
        (48, 4, 0),
        (56, 4, pm.PM1A_EVT_BLK),
        (60, 4, 0),
        (64, 4, pm.PM1A_CNT_BLK),
        (68, 4, 0),
        (72, 4, 0),
        (76, 4, pm.PM_TMR_BLK),
        (80, 4, pm.GPE0_BLK),
        (84, 4, 0),
        (88, 1, 4),
        (89, 1, 2),
        (90, 1, 0),
        (91, 1, 4),
        (92, 1, 4),
        (96, 2, 0xFFF),
        (98, 2, 0xFFF),
        (108, 1, 0x32),
        (109, 2, 0b111),
        (128, 1, 6),
        (132, 8, 0),
    ],
    ids=lambda value: hex(value),
)
def test_a_fadt_field_has_its_value_at_its_offset(
    firmware: Firmware, offset: int, size: int, value: int
) -> None:
    assert int.from_bytes(firmware.fadt[offset : offset + size], "little") == value


def test_the_fadt_points_to_the_dsdt_twice(firmware: Firmware) -> None:
    assert u64(firmware.fadt, 140) == u32(firmware.fadt, 40)
    assert firmware.dsdt[:4] == b"DSDT"


def test_the_fadt_flags_tell_what_the_board_has(firmware: Firmware) -> None:
    flags = u32(firmware.fadt, 112)
    assert flags & 1 << 0, "WBINVD works"
    assert flags & 1 << 2, "C1 works"
    assert not flags & 1 << 4, "the power button is fixed hardware"
    assert flags & 1 << 5, "there is no fixed sleep button"
    assert bool(flags & 1 << 8) == (pm.PM_TIMER_BITS == 32), "the timer's width"
    assert flags & 1 << 10, "there is a reset register"
    assert not flags & 1 << 20, "fixed hardware exists"


@pytest.mark.parametrize(
    ("offset", "width", "access", "port"),
    [
        (116, 8, 1, 0xCF9),
        (148, 32, 2, pm.PM1A_EVT_BLK),
        (172, 16, 2, pm.PM1A_CNT_BLK),
        (208, 32, 3, pm.PM_TMR_BLK),
        (220, 32, 1, pm.GPE0_BLK),
    ],
    ids=["RESET_REG", "X_PM1a_EVT", "X_PM1a_CNT", "X_PM_TMR", "X_GPE0"],
)
def test_a_generic_address_names_a_port(
    firmware: Firmware, offset: int, width: int, access: int, port: int
) -> None:
    assert struct.unpack_from("<BBBBQ", firmware.fadt, offset) == (1, width, 0, access, port)


@pytest.mark.parametrize("offset", [160, 184, 196, 232, 244, 256])
def test_a_register_that_does_not_exist_has_no_address(firmware: Firmware, offset: int) -> None:
    assert firmware.fadt[offset : offset + 12] == bytes(12)


def madt_entries(madt: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 44
    while offset < len(madt):
        kind, length = madt[offset], madt[offset + 1]
        yield kind, madt[offset + 2 : offset + length]
        offset += length
    assert offset == len(madt)


@pytest.mark.parametrize("smp", [1, 2, 64])
def test_the_madt_has_an_enabled_local_apic_for_each_vcpu(smp: int) -> None:
    madt = Firmware(AcpiMachine(range(smp))).madt
    apics = [struct.unpack("<BBI", data) for kind, data in madt_entries(madt) if kind == 0]
    assert apics == [(number, number, 1) for number in range(smp)]


def test_a_cpu_that_may_come_is_online_capable_and_not_enabled() -> None:
    entries = madt_entries(Firmware(HOTPLUG).madt)
    apics = [struct.unpack("<BBI", data) for kind, data in entries if kind == 0]
    assert apics == [(0, 0, 1), (1, 1, 2), (2, 4, 1), (3, 5, 2)]


def test_the_madt_says_where_the_apics_are(firmware: Firmware) -> None:
    assert u32(firmware.madt, 36) == 0xFEE00000
    assert u32(firmware.madt, 40) == 1, "there are 8259s to be masked"
    assert [data for kind, data in madt_entries(firmware.madt) if kind == 1] == [
        struct.pack("<BBII", 0, 0, 0xFEC00000, 0)
    ]


def test_the_madt_tells_which_interrupts_are_not_isa_like(firmware: Firmware) -> None:
    overrides = [struct.unpack("<BBIH", data) for kind, data in madt_entries(firmware.madt) if kind == 2]
    assert overrides == [(0, 0, 2, 0), (0, 9, 9, 0xD)]


def test_lint1_is_nmi_on_every_cpu(firmware: Firmware) -> None:
    assert [data for kind, data in madt_entries(firmware.madt) if kind == 4] == [b"\xff\0\0\1"]


def test_the_ioapic_id_is_the_machines() -> None:
    madt = Firmware(AcpiMachine(range(2), ioapic_id=5)).madt
    assert [data[0] for kind, data in madt_entries(madt) if kind == 1] == [5]


@pytest.fixture
def disassemble(tmp_path: Path) -> Callable[[bytes], str]:
    """Disassembles with `iasl -d` (Debian package acpica-tools, which the tests need)."""

    def run(table: bytes) -> str:
        binary = tmp_path / "table.dat"
        binary.write_bytes(table)
        result = subprocess.run(["iasl", "-d", binary], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        source = binary.with_suffix(".dsl").read_text()
        assert "Invalid" not in result.stderr + source
        assert "incorrect checksum" not in result.stderr
        return source

    return run


@MACHINES
def test_iasl_compiles_the_dsdt_again_without_a_complaint(
    machine: AcpiMachine, disassemble: Callable[[bytes], str], tmp_path: Path
) -> None:
    source = tmp_path / "again.dsl"
    source.write_text(disassemble(Firmware(machine).dsdt))
    result = subprocess.run(["iasl", source], capture_output=True, text=True, check=False)
    assert "0 Errors, 0 Warnings, 0 Remarks" in result.stdout, result.stdout


@pytest.mark.parametrize("name", [b"FACP", b"APIC"])
def test_iasl_reads_a_table_to_its_end(
    firmware: Firmware, disassemble: Callable[[bytes], str], name: bytes
) -> None:
    source = disassemble(firmware.tables[name])
    assert "Unknown" not in source
    assert f"Raw Table Data: Length {len(firmware.tables[name])}" in source


def squeezed(source: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"//.*|/\*.*?\*/", "", source))


def test_the_dsdt_has_the_sleep_types_that_the_hardware_knows(
    firmware: Firmware, disassemble: Callable[[bytes], str]
) -> None:
    source = squeezed(disassemble(firmware.dsdt))
    for state, kind in (("S3", pm.SLP_TYP_S3), ("S4", pm.SLP_TYP_S4), ("S5", pm.SLP_TYP_S5)):
        value = f"0x{kind:02X}" if kind > 1 else ("Zero", "One")[kind]
        assert f"Name (\\_{state}, Package (0x04) {{ {value}, {value}, Zero, Zero }})" in source


def test_the_dsdt_has_a_device_for_each_uart(firmware: Firmware, disassemble: Callable[[bytes], str]) -> None:
    source = squeezed(disassemble(firmware.dsdt))
    for number, port, irq in ((1, 0x3F8, 4), (2, 0x2F8, 3)):
        device = source[source.index(f"Device (COM{number})") :]
        assert device.index('EisaId ("PNP0501")') < device.index(f"0x{port:04X}, 0x{port:04X}, 0x01, 0x08")
        assert f"IRQNoFlags () {{{irq}}}" in device
    assert "COM3" not in source


def test_the_dsdt_has_the_clock_and_the_keyboard(
    firmware: Firmware, disassemble: Callable[[bytes], str]
) -> None:
    source = squeezed(disassemble(firmware.dsdt))
    assert 'Device (RTC) { Name (_HID, EisaId ("PNP0B00") )' in source
    assert 'Device (KBD) { Name (_HID, EisaId ("PNP0303") )' in source


@MACHINES
def test_the_dsdt_has_fw_cfg_where_drivers_look_for_it(
    machine: AcpiMachine, disassemble: Callable[[bytes], str]
) -> None:
    source = squeezed(disassemble(Firmware(machine).dsdt))
    device = source[source.index('Device (FWCF) { Name (_HID, "QEMU0002")') :]
    assert "Name (_STA, 0x0B)" in device
    assert "IO (Decode16, 0x0510, 0x0510, 0x01, 0x0C, )" in device
    assert "IRQ" not in device


def test_only_a_machine_with_pci_has_a_pci_root(disassemble: Callable[[bytes], str]) -> None:
    assert 'EisaId ("PNP0A03")' in disassemble(Firmware(PC).dsdt)
    assert "PCI" not in disassemble(Firmware(MICROVM).dsdt)


def test_the_pci_root_hands_on_all_ports_but_its_own(
    firmware: Firmware, disassemble: Callable[[bytes], str]
) -> None:
    source = squeezed(disassemble(firmware.dsdt))
    assert "IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08, )" in source
    assert "0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8" in source
    assert "0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300" in source
    assert "0x00000000, 0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000" in source


def test_tables_can_be_put_elsewhere() -> None:
    tables = build_tables(PC, start=0xF8004)
    assert tables.rsdp_address == 0xF8010
    assert min(address for address, _ in tables.blocks) == 0xF8010


def test_every_processor_but_the_boot_processor_can_be_ejected(disassemble: Callable[[bytes], str]) -> None:
    source = disassemble(Firmware(HOTPLUG).dsdt)
    _, *processors = re.split(r"Device \(C0", source)
    assert [text[:2] for text in processors] == ["00", "01", "02", "03"]
    assert ["_EJ0" in text for text in processors] == [False, True, True, True]
    for uid, (text, apic_id) in enumerate(zip(processors, HOTPLUG.apic_ids, strict=True)):
        assert '"ACPI0007"' in text
        assert all(f"Method ({name}" in text for name in ("_STA", "_OST"))
        assert f"0x00, 0x08, 0x{uid:02X}, 0x{apic_id:02X}, 0x01," in text, "_MAT"
    assert re.search(r"Method \(\\_GPE\._E02.*?\\_SB\.CPUS\.CSCN \(\)", source, re.DOTALL)


def test_a_machine_whose_cpus_stay_has_no_processor_devices(disassemble: Callable[[bytes], str]) -> None:
    assert "ACPI0007" not in disassemble(Firmware(PC).dsdt)


def test_configuration_space_in_memory_has_a_table_and_a_device() -> None:
    firmware = Firmware(Q35)
    mcfg = firmware.tables[b"MCFG"]
    assert (len(mcfg), u64(mcfg, 44), mcfg[52:60]) == (60, 0xB0000000, bytes((0, 0, 0, 0xFF, 0, 0, 0, 0)))
    dsdt = table_at(firmware.memory, u32(firmware.fadt, 40))
    assert b"DRAC" in dsdt
    assert b"MCFG" not in Firmware(PC).tables


def test_the_fadt_has_gpe0_where_the_board_has_it() -> None:
    fadt = Firmware(Q35).fadt
    assert (u32(fadt, 80), fadt[92], u64(fadt, 224)) == (0x620, 16, 0x620)


def test_a_board_has_tables_of_its_own() -> None:
    tables = Firmware(PC._replace(others=[Table(b"TEST", 3, b"body")])).tables
    assert (tables[b"TEST"][8], tables[b"TEST"][36:]) == (3, b"body")
