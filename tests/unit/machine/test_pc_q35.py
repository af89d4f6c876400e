"""The machine class q35: what firmware leaves, and an IOMMU between its PCI bus and the rest."""

from collections.abc import Callable

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.machine import DeviceSpec, machine_class, machine_names
from mpvm.memory.ram import SAME_RAM_LIMIT, ram_slots
from tests.unit.machine.test_boards import Board, make
from tests.unit.machine.test_pci_setup import BAR0, COMMAND, LINE, VENDOR, boot, config

__all__ = ["make"]

Make = Callable[..., Board]
IOMMU, EDU = DeviceSpec("intel-iommu"), DeviceSpec("edu")
ROOT, VTD = 0xFED90020, 0xFED90000
COMMAND_REGISTER, STATUS = VTD + 0x18, VTD + 0x1C
TRANSLATE, SET_ROOT = 1 << 31, 1 << 30


def copy_out(board: Board, address: int) -> None:
    """Have the device 01.0 store its buffer, which is zeros, at `address`."""
    board.out(0xCF8, 4, 0x80000000 | 1 << 11 | COMMAND)
    board.out(0xCFC, 2, 6)
    edu = config(board, 1, BAR0)
    for offset, value in ((0x80, 0x40000), (0x88, address), (0x90, 4), (0x98, 3)):
        board.machine.memory.write(edu + offset, 4, value)


def test_its_name_is_that_of_the_newest_version() -> None:
    assert machine_class("q35") is machine_class("pc-q35-1.1")


def test_firmware_routes_interrupts_and_gives_addresses(make: Make) -> None:
    board = boot(make, EDU, DeviceSpec("edu"), name="q35")
    assert [config(board, device, VENDOR) for device in (0, 1, 2, 31)] == [
        *(0x29C08086, 0x11E81234, 0x11E81234, 0x29188086),
    ]
    assert [config(board, 31, route) for route in (0x60, 0x68)] == [0x0B0B0A0A] * 2
    assert board.read(0x4D0, 2) == 0x0C00
    assert [config(board, device, LINE) & 0xFFFF for device in (1, 2)] == [0x010A, 0x010B]
    assert [config(board, device, BAR0) for device in (1, 2)] == [0xFEA00000, 0xFEB00000]


def test_an_iommu_refuses_what_it_has_no_translation_for(make: Make) -> None:
    board = boot(make, IOMMU, EDU, name="q35")
    board.ram[0x8000:0x8004] = b"data"
    copy_out(board, 0x8000)
    assert bytes(board.ram[0x8000:0x8004]) == bytes(4)
    board.ram[0x8000:0x8004] = b"data"
    board.machine.memory.write(ROOT, 8, 0x10000)
    board.machine.memory.write(COMMAND_REGISTER, 4, SET_ROOT)
    board.machine.memory.write(COMMAND_REGISTER, 4, TRANSLATE)
    assert board.machine.memory.read(STATUS, 4) == TRANSLATE | SET_ROOT
    copy_out(board, 0x8000)
    assert bytes(board.ram[0x8000:0x8004]) == b"data"


def test_there_is_one_iommu_and_on_this_board_alone(make: Make) -> None:
    with pytest.raises(ConfigError, match="device intel-iommu: there is one already"):
        make("q35", devices=(IOMMU, IOMMU))
    with pytest.raises(
        ConfigError, match="device intel-iommu: this machine has no place for it, q35 is right"
    ):
        make("pc", devices=(IOMMU,))


@pytest.mark.parametrize(
    ("mib", "low", "high"),
    [(2048, 2048, 0), (2815, 2815, 0), (2816, 2048, 768), (5120, 2048, 3072)],
)
def test_its_ram_leaves_configuration_space_free(mib: int, low: int, high: int) -> None:
    slots = machine_class("q35").ram_slots(mib << 20)
    assert max(slot.gpa + slot.size for slot in slots if slot.gpa < 1 << 32) == low << 20
    assert sum(slot.size for slot in slots if slot.gpa >= 1 << 32) == high << 20


def test_every_class_of_machine_has_as_little_ram_at_one_place() -> None:
    for name in machine_names():
        assert machine_class(name).ram_slots(SAME_RAM_LIMIT) == ram_slots(SAME_RAM_LIMIT)


def test_gpe0_is_where_an_ich9_has_it(make: Make) -> None:
    board = make("q35")
    board.out(0x628, 2, 0x8)
    board.machine.power_management.signal_gpe(3)
    assert [board.read(port, 2) for port in (0x620, 0x628)] == [0x8, 0x8]
    board.out(0x620, 2, 0x8)
    assert board.read(0x620, 2) == 0
    assert board.read(0x60C, 4) == 0


def test_firmware_tells_of_configuration_space_and_of_an_iommu(make: Make) -> None:
    board = make("q35").machine.describe_board()
    assert board.mmconfig == (0xB0000000, 256 << 20)
    assert [(entry.base, entry.size, entry.type) for entry in board.reserved] == [(0xB0000000, 256 << 20, 2)]
    assert board.tables == []
    width = DeviceSpec("intel-iommu", None, {"aw-bits": 48, "intremap": "off"})
    for device, head in ((IOMMU, bytes((38, 1))), (width, bytes((47, 0)))):
        (dmar,) = make("q35", devices=(device,)).machine.describe_board().tables
        assert (dmar.signature, dmar.body[:12]) == (b"DMAR", head + bytes(10))
        assert dmar.body[12:28] == bytes((0, 0, 24, 0, 1, 0, 0, 0)) + VTD.to_bytes(8, "little")
        assert dmar.body[28:] == bytes((3, 8, 0, 0, 0, 0xFF, 0, 0))


def test_pcis_memory_begins_behind_configuration_space(make: Make) -> None:
    guest = boot(make, name="q35").areas[0].control.guest
    assert guest.mtrr_variable[0] == 0xC0000000
