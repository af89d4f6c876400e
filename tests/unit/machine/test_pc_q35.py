"""The machine class q35: what firmware leaves, and an IOMMU between its PCI bus and the rest."""

from collections.abc import Callable

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.machine import DeviceSpec, machine_class
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
