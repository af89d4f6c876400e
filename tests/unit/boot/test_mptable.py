"""The MP configuration table, found and read as a kernel does it."""

import struct

import pytest

from mpvm.boot.mptable import MP_TABLE_ADDRESS, build_mp_table

SIGNATURE, FEATURES = 0x30661, 0x0F8BFBFD
SIZES = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}


class MpTable:
    """Reads the floating pointer and splits the table into its entries."""

    def __init__(self, data: bytes) -> None:
        self.pointer = data[:16]
        self.table = data[16:]
        self.entries: dict[int, list[bytes]] = {kind: [] for kind in SIZES}
        kinds, offset = [], 44
        while offset < len(self.table):
            kind = self.table[offset]
            kinds.append(kind)
            self.entries[kind].append(self.table[offset : offset + SIZES[kind]])
            offset += SIZES[kind]
        self.kinds = kinds


@pytest.fixture
def table() -> MpTable:
    return MpTable(build_mp_table(range(4), SIGNATURE, FEATURES))


def test_the_pointer_leads_to_the_table(table: MpTable) -> None:
    signature, address, length, revision, _, features = struct.unpack("<4sIBBB5s", table.pointer)
    assert (signature, length, revision, features) == (b"_MP_", 1, 4, bytes(5))
    assert address == MP_TABLE_ADDRESS + 16
    assert MP_TABLE_ADDRESS % 16 == 0
    assert 0xF0000 <= MP_TABLE_ADDRESS < 0x100000


@pytest.mark.parametrize("smp", [1, 4, 64])
def test_the_checksums_are_right(smp: int) -> None:
    table = MpTable(build_mp_table(range(smp), SIGNATURE, FEATURES))
    assert sum(table.pointer) & 0xFF == 0
    assert sum(table.table) & 0xFF == 0


@pytest.mark.parametrize("smp", [1, 4, 64])
def test_the_header_counts_bytes_and_entries(smp: int) -> None:
    table = MpTable(build_mp_table(range(smp), SIGNATURE, FEATURES))
    signature, length, revision = struct.unpack_from("<4sHB", table.table)
    assert (signature, length, revision) == (b"PCMP", len(table.table), 4)
    assert struct.unpack_from("<H", table.table, 34)[0] == len(table.kinds)
    assert struct.unpack_from("<I", table.table, 36)[0] == 0xFEE00000
    assert table.table[8:28] == b"MPVM    MPVM        "


def test_entries_come_in_the_order_of_their_types(table: MpTable) -> None:
    assert table.kinds == sorted(table.kinds)


def test_each_vcpu_is_a_processor_and_the_first_is_the_bootstrap_one(table: MpTable) -> None:
    processors = [struct.unpack("<BBBBII8x", entry) for entry in table.entries[0]]
    assert [(apic_id, flags) for _, apic_id, _, flags, _, _ in processors] == [(0, 3), (1, 1), (2, 1), (3, 1)]
    assert {(version, sig, feat) for _, _, version, _, sig, feat in processors} == {
        (0x14, SIGNATURE, FEATURES)
    }


def test_64_vcpus_fit() -> None:
    table = MpTable(build_mp_table(range(64), SIGNATURE, FEATURES))
    assert [entry[1] for entry in table.entries[0]] == list(range(64))


def test_there_is_one_io_apic(table: MpTable) -> None:
    assert [struct.unpack("<BBBBI", entry) for entry in table.entries[2]] == [(2, 0, 0x20, 1, 0xFEC00000)]


def test_isa_interrupts_lead_to_their_pins_and_the_timer_to_pin_2(table: MpTable) -> None:
    routes = [struct.unpack("<BBHBBBB", entry) for entry in table.entries[3]]
    assert {(irq, pin) for _, _, _, _, irq, _, pin in routes} == {(0, 2)} | {
        (n, n) for n in (1, *range(3, 16))
    }
    assert {kind for _, kind, *_ in routes} == {0}
    assert [flags for _, _, flags, _, irq, _, _ in routes if irq == 9] == [0xD]
    assert {flags for _, _, flags, _, irq, _, _ in routes if irq != 9} == {0}


def test_lint0_is_extint_and_lint1_nmi_on_every_cpu(table: MpTable) -> None:
    assert [struct.unpack("<BBHBBBB", entry) for entry in table.entries[4]] == [
        (4, 3, 0, 0, 0, 0xFF, 0),
        (4, 1, 0, 0, 0, 0xFF, 1),
    ]


def test_without_pci_isa_is_the_only_bus(table: MpTable) -> None:
    assert [struct.unpack("<BB6s", entry) for entry in table.entries[1]] == [(1, 0, b"ISA   ")]


def test_with_pci_isa_is_the_second_bus_and_interrupts_come_from_it() -> None:
    table = MpTable(build_mp_table(range(2), SIGNATURE, FEATURES, pci=True))
    assert [entry[2:] for entry in table.entries[1]] == [b"PCI   ", b"ISA   "]
    assert {entry[4] for kind in (3, 4) for entry in table.entries[kind]} == {1}


def test_the_table_moves_with_its_pointer() -> None:
    moved = MpTable(build_mp_table(range(1), SIGNATURE, FEATURES, address=0x9FC00))
    assert struct.unpack_from("<I", moved.pointer, 4)[0] == 0x9FC10


def test_the_io_apic_id_is_the_same_everywhere() -> None:
    table = MpTable(build_mp_table(range(1), SIGNATURE, FEATURES, ioapic_id=7))
    assert table.entries[2][0][1] == 7
    assert {entry[6] for entry in table.entries[3]} == {7}
