"""PCI as firmware leaves it: functions are where SeaBIOS puts them under QEMU 7.2."""

from collections.abc import Callable

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.machine import DeviceSpec
from mpvm.memory.ram import GuestRam, Slot
from tests.unit.machine.test_boards import Board, make

__all__ = ["make"]

Make = Callable[..., Board]
VENDOR, COMMAND, BAR0, BAR1, BAR2, LINE = 0x00, 0x04, 0x10, 0x14, 0x18, 0x3C


def config(board: Board, device: int, register: int, function: int = 0) -> int:
    board.out(0xCF8, 4, 0x80000000 | device << 11 | function << 8 | register)
    return int(board.read(0xCFC, 4))


def boot(make: Make, *devices: DeviceSpec, name: str = "pc") -> Board:
    board = make(name, devices=devices)
    board.machine.load_boot_image()
    return board


def testdev(**properties: object) -> DeviceSpec:
    return DeviceSpec("pci-testdev", None, properties)


testdev.__test__ = False  # type: ignore[attr-defined]


def test_two_test_devices_have_the_addresses_that_seabios_gives_them(make: Make) -> None:
    board = boot(make, testdev(membar="64k"), testdev())
    assert [config(board, 2, register) for register in (VENDOR, BAR0, BAR1, BAR2, BAR2 + 4)] == [
        *(0x00051B36, 0xFEBFE000, 0xC001, 0xFEBE000C, 0),
    ]
    assert [config(board, 3, register) for register in (VENDOR, BAR0, BAR1, BAR2)] == [
        *(0x00051B36, 0xFEBFF000, 0xC101, 0),
    ]
    assert config(board, 2, COMMAND) & 0xFFFF == 0x103


def test_the_test_device_answers_where_it_is(make: Make) -> None:
    board = boot(make, testdev())
    board.machine.memory.write(0xFEBFF000, 1, 0)
    assert board.machine.memory.read(0xFEBFF004, 4) == 2048
    board.out(0xC000, 1, 0)
    assert board.read(0xC004, 4) == 131


def test_a_bar_too_large_for_the_hole_is_above_4_gib(make: Make) -> None:
    board = boot(make, testdev(membar="4G"))
    assert (config(board, 2, BAR2), config(board, 2, BAR2 + 4)) == (0x0000000C, 1)
    assert config(board, 2, BAR0) == 0xFEBFF000


def test_a_reset_and_a_boot_later_it_is_there_again(make: Make) -> None:
    board = boot(make, testdev())
    board.machine.reset()
    assert config(board, 2, BAR0) == 0
    assert board.machine.memory.read(0xFEBFF000, 1) == 0xFF
    board.machine.load_boot_image()
    assert config(board, 2, BAR0) == 0xFEBFF000


def test_the_piix_is_device_1_and_routes_to_10_and_11(make: Make) -> None:
    board = boot(make)
    assert [config(board, 1, VENDOR, function) for function in range(4)] == [
        *(0x70008086, 0xFFFFFFFF, 0xFFFFFFFF, 0x71138086),
    ]
    assert config(board, 1, 0x60) == 0x0B0B0A0A
    assert board.read(0x4D0, 2) == 0x0C00
    assert config(board, 1, LINE, 3) == 0x0109


def test_isa_debug_exit_is_where_qemu_has_it_but_in_older_versions(make: Make) -> None:
    board = boot(make, DeviceSpec("isa-debug-exit"))
    board.out(0x501, 1, 7)
    assert board.asked == [15]
    for name in ("pc-i440fx-1.0", "pc-i440fx-0.1"):
        with pytest.raises(ConfigError, match="overlaps isa-debug-exit at 0xf4"):
            boot(make, DeviceSpec("isa-debug-exit"), name=name)


@pytest.mark.parametrize("name", ["pc-i440fx-1.0", "pc-i440fx-0.1"])
def test_an_older_version_has_no_piix(make: Make, name: str) -> None:
    board = boot(make, name=name)
    assert config(board, 1, VENDOR) == 0xFFFFFFFF
    assert board.read(0x4D0, 2) == 0


def test_a_device_goes_to_the_number_and_the_bus_that_are_named(make: Make) -> None:
    board = boot(make, testdev(addr="1f.0", bus="pci.0"), testdev(addr="3", multifunction="on"))
    board.machine.create_device(testdev(addr="03.1"))
    assert config(board, 0x1F, VENDOR) == config(board, 3, VENDOR, 1) == 0x00051B36
    for wrong, text in (
        (testdev(bus="pci.7"), "bus 'pci.7' is unknown, isa.0 or main-system-bus or pci.0 is right"),
        (testdev(addr="1f"), "is there already"),
        (testdev(bus="isa.0"), "needs a bus of type PCI"),
    ):
        with pytest.raises(ConfigError, match=text):
            board.machine.create_device(wrong)


def test_a_board_without_pci_takes_no_pci_device(make: Make) -> None:
    with pytest.raises(ConfigError, match="needs a bus of type PCI, this machine has none"):
        make("microvm", devices=[testdev()])


def test_ram_above_4_gib_comes_before_what_is_behind_it(make: Make) -> None:
    from mpvm.machine import pci_setup

    board = boot(make, testdev(membar="8G"))
    machine = board.machine
    slots = [Slot(0, 0x1000, 0), Slot(4 << 30, 0x1000, 0)]
    bus = machine.pci_bus
    ram = GuestRam(memoryview(bytearray(0x1000)), slots)
    pci_setup.pci_setup(bus, machine.ports, ram, pci_setup.memory_start(ram))
    assert (config(board, 2, BAR2), config(board, 2, BAR2 + 4)) == (0xC, 2)
