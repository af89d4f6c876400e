"""The board's devices as objects: where they are in the tree, what the user and a version change of them."""

from collections.abc import Callable
from typing import Any

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.hw.char.chardev import MemoryChardev
from mpvm.machine import DeviceSpec, machine_class, machine_names
from mpvm.machine.base import compat_properties
from mpvm.qom import qmp_cmds
from mpvm.qom.globals import GlobalProperties, GlobalProperty
from mpvm.qom.path import resolve_path
from tests.unit.machine.test_boards import Board, make

__all__ = ["make"]

Make = Callable[..., Board]
SUBSYSTEM = 0x2C


def config_space(board: Board, register: int) -> int:
    """A register of the function at 00:00.0."""
    board.out(0xCF8, 4, 0x80000000 | register)
    return int(board.read(0xCFC, 4))


def test_the_newest_version_has_the_alias() -> None:
    assert machine_class("pc") is machine_class("pc-i440fx-1.1")
    assert machine_class("") is machine_class("pc")
    assert machine_class("pc-i440fx-0.1") is not machine_class("pc")
    assert {"pc", "pc-i440fx-0.1", "pc-i440fx-1.0", "pc-i440fx-1.1", "microvm"} <= set(machine_names())


def test_an_older_version_keeps_its_old_properties(make: Make) -> None:
    assert config_space(make("pc-i440fx-0.1"), SUBSYSTEM) == 0
    assert config_space(make("pc"), SUBSYSTEM) == 0x11001AF4


def test_cpus_of_an_older_version_are_not_hot_pluggable() -> None:
    assert machine_class("pc").has_hotpluggable_cpus
    assert not machine_class("pc-i440fx-0.1").has_hotpluggable_cpus


@pytest.mark.parametrize("name", ["pc-i440fx-0.1", "pc-i440fx-1.0", "pc-i440fx-1.1", "microvm"])
def test_every_compat_property_is_one_that_there_is(name: str) -> None:
    GlobalProperties(compat_properties(machine_class(name))).check()


def test_a_users_global_goes_before_a_versions(make: Make) -> None:
    board = make("pc-i440fx-0.1", globals=[GlobalProperty("i440FX", "subsystem-id", "0x42")])
    assert config_space(board, SUBSYSTEM) == 0x42 << 16


def test_every_device_is_in_the_tree(make: Make) -> None:
    board = make("pc")
    paths = {node.canonical_path(): node.type_name for node in board.machine.root.descendants()}
    assert paths["/machine"] == "pc-i440fx-1.1-machine"
    assert paths["/machine/unattached/device[0]"] == "max-x86_64-cpu"
    assert paths["/machine/i440fx/pci.0"] == "PCI"
    assert "/objects" in paths
    devices = {"ioapic", "isa-i8259", "isa-pit", "mc146818rtc", "isa-serial", "PIIX4_PM", "i8042", "port92"}
    assert devices | {"fw_cfg_io", "i440FX-pcihost", "isa-debugcon", "isa-debug-exit"} <= set(paths.values())
    for path in paths:
        assert resolve_path(board.machine.root, path).canonical_path() == path


def test_every_property_of_every_object_can_be_read(make: Make) -> None:
    root = make("pc").machine.root
    for node in root.descendants():
        for prop in qmp_cmds.qom_list(root, node.canonical_path()):
            qmp_cmds.qom_get(root, node.canonical_path(), prop.name)
    assert qmp_cmds.qom_get(root, "/machine", "type") == "pc-i440fx-1.1"
    assert qmp_cmds.qom_get(root, "/machine/unattached/device[1]", "apic-id") == 1


def test_a_device_of_the_users_answers_and_is_in_peripheral(make: Make) -> None:
    chardev = MemoryChardev()
    com2 = DeviceSpec("isa-serial", "com2", {"iobase": "0x2f8", "irq": 3, "chardev": chardev})
    board = make("microvm", devices=[com2, DeviceSpec("isa-debugcon", None, {"iobase": 0x402})])
    board.out(0x2F8, 1, ord("A"))
    assert chardev.output == b"A"
    assert board.page.port_posted[0x2F8] == 1
    assert resolve_path(board.machine.root, "/machine/peripheral/com2").type_name == "isa-serial"
    assert resolve_path(board.machine.root, "/machine/peripheral-anon/device[0]").type_name == "isa-debugcon"
    board.machine.reset()
    board.machine.load_boot_image()
    assert [(uart.iobase, uart.irq) for uart in board.machine.uarts()][-1] == (0x2F8, 3)


def test_the_test_devices_lines_reach_both_controllers_or_the_io_apic_alone(make: Make) -> None:
    board = make("pc", devices=[DeviceSpec("pc-testdev")])
    board.route(20, 0x55)
    board.out(0x2014, 1, 1)
    assert board.areas[1].inbox.vector[0x55] == 1
    assert board.page.pic_intr == 0
    for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xDF)):
        board.out(port, 1, value)
    board.out(0x2005, 1, 1)
    assert board.page.pic_intr == 1
    assert board.machine.acknowledge_interrupt() == 0x25


def test_the_debug_console_is_amid_the_test_devices_ports(make: Make) -> None:
    board = make("pc", devices=[DeviceSpec("pc-testdev")])
    board.out(0xE0, 4, 0x44332211)
    board.out(0xE9, 1, ord("!"))
    assert board.debug.output == b"!"
    assert [board.read(port, 1) for port in (0xE8, 0xE9, 0xEA)] == [0x11, 0xE9, 0x33]


def test_the_hpet_is_there_with_its_table_unless_it_is_off_or_the_version_has_none(make: Make) -> None:
    counter = 0xFED000F0
    for name, more, there in (("pc", {}, True), ("pc", {"hpet": False}, False), ("pc-i440fx-1.0", {}, False)):
        board = make(name, **more)
        board.machine.load_boot_image()
        assert (board.machine.memory.find(counter) is not None) is there
        assert (b"HPET" in bytes(board.ram[0xE0000:0xF0000])) is there
        assert int(board.page.memory_shadow_count) == there


def test_the_hpet_takes_the_pit_off_its_interrupt(make: Make) -> None:
    board = make("pc")
    board.route(2, 0x55)
    board.machine.memory.write(0xFED00010, 4, 3)
    board.clock.advance(200_000_000)
    assert board.areas[1].inbox.vector[0x55] == 0
    board.machine.memory.write(0xFED00010, 4, 1)
    board.clock.advance(200_000_000)
    assert board.areas[1].inbox.vector[0x55] == 1


def test_a_board_may_be_without_a_pit(make: Make) -> None:
    board = make("pc", pit=False)
    assert [board.read(port, 1) for port in (0x40, 0x43, 0x61)] == [0xFF] * 3


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (DeviceSpec("isa-serail"), "device 'isa-serail' is unknown, isa-serial is right"),
        (DeviceSpec("isa-serial", "x", {"iobsae": 1}), "device x: isa-serial: there is no property iobsae"),
        (DeviceSpec("isa-serial", None, {"irq": "many"}), "device isa-serial: isa-serial.irq: many is not"),
        (
            DeviceSpec("isa-debug-exit", None, {"iobase": 0xF4}),
            "device isa-debug-exit: .* overlaps isa-debug-exit at 0xf4",
        ),
        (
            DeviceSpec("isa-serial", "x", {"irq": 99, "iobase": 0x100}),
            "device x: there is no ISA interrupt 99",
        ),
    ],
)
def test_a_device_that_can_not_be_is_refused(make: Make, device: DeviceSpec, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make("pc", devices=[device])


def test_a_refused_device_leaves_nothing_behind(make: Make) -> None:
    board = make("pc")
    before = [node.canonical_path() for node in board.machine.root.descendants()]
    bad: list[Any] = [
        DeviceSpec("isa-debug-exit", "again", {"iobase": 0xF4}),
        DeviceSpec("isa-serial", "x", {"irq": 99}),
    ]
    for spec in bad:
        with pytest.raises(ConfigError):
            board.machine.create_device(spec)
    assert [node.canonical_path() for node in board.machine.root.descendants()] == before
    board.machine.create_device(DeviceSpec("isa-debug-exit", "again", {"iobase": 0x500}))


def test_a_reset_reaches_every_device_and_the_cpus(make: Make) -> None:
    board = make("pc")
    board.out(0xCF8, 4, 0x80000004)
    board.out(0x3FF, 1, 0x5A)
    board.machine.reset()
    assert (board.read(0xCF8, 4), board.read(0x3FF, 1)) == (0, 0)


def test_four_uarts_talk_and_interrupt_at_once(make: Make) -> None:
    ports, vectors = (0x3F8, 0x2F8, 0x3E8, 0x2E8), (0x54, 0x53, 0x54, 0x53)
    backends = [MemoryChardev(), MemoryChardev()]
    # The board has the first and the third.
    devices = [
        DeviceSpec("isa-serial", None, {"index": n, "chardev": backend})
        for n, backend in zip((1, 3), backends, strict=True)
    ]
    board = make("pc", devices=devices)
    board.route(4, 0x54)
    board.route(3, 0x53)
    inbox = board.areas[1].inbox
    for port, vector in zip(ports, vectors, strict=True):
        board.out(port, 1, port >> 4 & 0xFF)
        board.out(port + 4, 1, 0x08)
        board.out(port + 1, 1, 0x02)
        assert inbox.vector[vector] == 1
        # Reading why takes the interrupt back, so that the next one on the wire is an edge.
        assert board.read(port + 2, 1) & 0x0F == 0x02
        inbox.vector[vector] = 0
    assert bytes(board.console.output) == b"\x3f"
    assert [bytes(backend.output) for backend in backends] == [b"\x2f", b"\x2e"]
