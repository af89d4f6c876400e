"""The boards with all their devices: what answers where, and what a guest's requests lead to."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpvm.abi.layout import IO_PORTS, PortWrite, ShadowKind, VcpuArea, VmPage
from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.cpu.topology import single_socket
from mpvm.hw.char.chardev import MemoryChardev
from mpvm.hw.clock import NS_PER_SECOND, ManualClock
from mpvm.machine import BootSpec, Host, MachineSpec, machine_class
from mpvm.machine.apic_bus import SVR, SVR_APIC_ENABLED
from mpvm.machine.x86 import X86Machine

MEMORY = 16 << 20
SELECT, READ = 8, 2
PIC_MASTER, PIC_SLAVE = 0x20, 0xA0
IOREGSEL, IOWIN = 0xFEC00000, 0xFEC00010
# A boot sector that is never run.
BOOT_SECTOR = bytes(510) + b"\x55\xaa"


class Board:
    """A machine on a manual clock, with a record of what it asks its host for."""

    def __init__(self, name: str, folder: Path, smp: int = 2, **more: Any) -> None:
        self.clock = ManualClock(NS_PER_SECOND)
        self.page = VmPage(a20_mask=0xFFFFFFFF)
        self.areas = [VcpuArea(index=index, is_bsp=index == 0) for index in range(smp)]
        self.ram = memoryview(bytearray(MEMORY))
        self.asked: list[Any] = []
        self.kicked: list[int] = []
        self.console, self.debug = MemoryChardev(), MemoryChardev()
        kernel = folder / "boot.img"
        kernel.write_bytes(BOOT_SECTOR)
        spec = MachineSpec(
            topology=single_socket(smp),
            cpu=UnicornAccelerator().max_model(),
            memory_bytes=MEMORY,
            boot=BootSpec(kernel=kernel, protocol="flat"),
            serial=(self.console, None, MemoryChardev()),
            debugcon=self.debug,
            isa_debug_exit=True,
            **more,
        )
        host = Host(
            clock=self.clock,
            page=self.page,
            areas=self.areas,
            ram_block=self.ram,
            dma_store=lambda offset, data: self.ram.__setitem__(slice(offset, offset + len(data)), data),
            wall_clock=lambda: 1_700_000_000,
            tsc_khz=2_000_000,
            kick=self.kicked.append,
            power_off=lambda: self.asked.append("power off"),
            request_reset=lambda: self.asked.append("reset"),
            suspend=lambda: self.asked.append("suspend"),
            wakeup=self.asked.append,
            debug_exit=self.asked.append,
            eject_cpu=lambda index: self.asked.append(("eject", index)),
            report_ost=self.asked.append,
        )
        machine = machine_class(name)(spec, host)
        assert isinstance(machine, X86Machine)
        self.machine = machine
        self.machine.run_board_init()
        self.machine.reset()
        self.out, self.read = self.machine.ports.write, self.machine.ports.read

    def route(self, pin: int, vector: int) -> None:
        """Unmask `pin` of the I/O APIC: `vector`, edge, to APIC 1."""
        for register, value in ((0x11 + 2 * pin, 1 << 24), (0x10 + 2 * pin, vector)):
            self.machine.memory.write(IOREGSEL, 4, register)
            self.machine.memory.write(IOWIN, 4, value)
        self.areas[1].lapic.regs[SVR] = SVR_APIC_ENABLED


@pytest.fixture(params=["pc", "microvm"])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Board:
    return Board(request.param, tmp_path)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Board]:
    return lambda name, **more: Board(name, tmp_path, **more)


def test_a_byte_to_com1_is_on_the_console(board: Board) -> None:
    board.out(0x3F8, 1, ord("A"))
    assert board.console.output == b"A"
    assert board.page.port_posted[0x3F8] == 1


def test_only_the_configured_uarts_are_there(board: Board) -> None:
    board.out(0x2FF, 1, 0x5A)
    assert board.read(0x2FF, 1) == 0xFF
    board.out(0x3EF, 1, 0x5A)
    assert board.read(0x3EF, 1) == 0x5A


def test_com1s_line_status_is_read_without_an_exit(board: Board) -> None:
    shadow = board.page.shadow[board.page.port_shadow[0x3FD] - 1]
    assert (shadow.kind, shadow.value) == (ShadowKind.CONSTANT, board.read(0x3FD, 1))


def test_the_pm_timer_is_computed_by_the_workers(board: Board) -> None:
    shadow = board.page.shadow[board.page.port_shadow[0x608] - 1]
    assert (shadow.kind, shadow.hz) == (ShadowKind.COUNTER, 3_579_545)


def test_the_debug_console_has_its_own_chardev(board: Board) -> None:
    board.out(0xE9, 1, ord("!"))
    assert bytes(board.debug.output) == b"!"
    assert not board.console.output


def test_waiting_at_port_0x80_does_nothing_and_nobody_hears_of_it(board: Board) -> None:
    board.out(0x80, 1, 0x55)
    assert board.page.port_posted[0x80] == PortWrite.IGNORED
    assert board.asked == []


def test_the_guests_status_is_handed_on(board: Board) -> None:
    board.out(0xF4, 4, 3)
    assert board.asked == [7]
    assert board.page.port_posted[0xF4] == 0


def test_acpi_powers_off(board: Board) -> None:
    board.out(0x604, 2, 0x2000)
    assert board.asked == ["power off"]


@pytest.mark.parametrize(
    ("port", "value"), [(0xCF9, 0x06), (0x64, 0xFE), (0x92, 0x03)], ids=["0xcf9", "i8042", "port 0x92"]
)
def test_every_way_to_reset_asks_for_one(board: Board, port: int, value: int) -> None:
    board.out(port, 1, value)
    assert board.asked == ["reset"]


def test_a20_is_published_and_every_vcpu_told(board: Board) -> None:
    board.out(0x92, 1, 0x00)
    assert board.page.a20_mask == 0xFFFFFFFF
    board.kicked.clear()
    board.out(0x64, 1, 0xD1)
    board.out(0x60, 1, 0x01)
    assert board.page.a20_mask == 0xFFEFFFFF
    assert board.kicked == [0, 1]
    board.machine.reset()
    assert board.page.a20_mask == 0xFFFFFFFF


def test_a_pit_interrupt_reaches_a_local_apic_through_pin_2(board: Board) -> None:
    board.route(2, 0x30)
    board.kicked.clear()
    for port, value in ((0x43, 0x34), (0x40, 0xFF), (0x40, 0x00)):
        board.out(port, 1, value)
    board.clock.advance(NS_PER_SECOND // 1000)
    assert board.areas[1].inbox.vector[0x30] == 1
    assert 1 in board.kicked


def test_the_8259s_output_is_published_and_acknowledged(board: Board) -> None:
    for port, value in ((0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xEF)):
        board.out(port, 1, value)
    assert board.machine.acknowledge_interrupt() is None
    board.kicked.clear()
    board.out(0x3F9, 1, 0x02)
    board.out(0x3FC, 1, 0x08)
    board.clock.advance(1000)
    assert board.page.pic_intr == 1
    assert board.kicked == [0]
    assert board.machine.acknowledge_interrupt() == 0x0C
    assert board.page.pic_intr == 0
    assert board.machine.acknowledge_interrupt() is None


def test_the_power_button_is_an_sci(board: Board) -> None:
    board.route(9, 0x39)
    board.out(0x602, 2, 0x0100)
    board.machine.press_power_button()
    assert board.areas[1].inbox.vector[0x39]


def test_only_the_pc_has_a_host_bridge(make: Callable[..., Board]) -> None:
    found = {}
    for name in ("pc", "microvm"):
        board = make(name)
        board.out(0xCF8, 4, 0x80000000)
        found[name] = board.read(0xCFC, 4)
    assert found == {"pc": 0x12378086, "microvm": 0xFFFFFFFF}


def test_every_area_knows_its_cpu(board: Board) -> None:
    apic_ids = []
    for area in board.areas:
        (leaf1,) = [entry for entry in area.cpuid[: area.cpuid_count] if entry.function == 1]
        apic_ids.append(leaf1.ebx >> 24)
        assert area.features[0] == leaf1.edx & area.features[0] != 0
    assert apic_ids == [0, 1]


def test_a_reset_restores_the_reset_state_and_the_loader_the_start_state(board: Board) -> None:
    guest = board.areas[0].control.guest
    board.machine.load_boot_image()
    assert guest.rip == 0x7C00
    board.machine.reset()
    signature = next(entry.eax for entry in board.areas[0].cpuid if entry.function == 1)
    assert (guest.rip, guest.cs.base, guest.gpr[2]) == (0xFFF0, 0xFFFF0000, signature)
    assert not board.areas[1].control.guest.apic_base & 1 << 8
    board.machine.load_boot_image()
    assert guest.rip == 0x7C00


def test_the_boot_image_and_the_tables_are_in_ram(board: Board) -> None:
    board.machine.load_boot_image()
    assert board.machine.ram.read(0x7C00, 512) == BOOT_SECTOR
    firmware = board.machine.ram.read(0xE0000, 0x20000)
    assert b"RSD PTR " in firmware
    assert b"_MP_" in firmware
    assert firmware.count(b"APIC") >= 1


def pit_mode(board: Board) -> int:
    """Of counter 0, by the read-back command's status."""
    board.out(0x43, 1, 0xE2)
    return int(board.read(0x40, 1)) & 0x3F


def test_firmware_has_set_up_interrupts_memory_types_and_its_data_area(make: Callable[..., Board]) -> None:
    board = make("pc")
    board.machine.load_boot_image()
    assert board.machine.leaves_firmware
    assert (board.read(0x21, 1), board.read(0xA1, 1), pit_mode(board)) == (0xB8, 0x8E, 0x34)
    for area in board.areas:
        guest = area.control.guest
        assert guest.mtrr_fixed[0] == 0x0606060606060606
        assert guest.mtrr_variable[0] == 0x80000000
        assert guest.mtrr_variable[1] & 0xFFFFFFFFF == 0xF80000800
    ram = board.machine.ram
    assert [int.from_bytes(ram.read(at, 2), "little") for at in (0x400, 0x402, 0x40E, 0x410, 0x413)] == [
        *(0x3F8, 0x3E8, 0x9FC0, 0x402, 639)
    ]


def test_an_older_version_is_as_it_was_without_what_firmware_sets(make: Callable[..., Board]) -> None:
    board = make("pc-i440fx-1.0")
    board.machine.load_boot_image()
    assert not board.machine.leaves_firmware
    assert (board.read(0x21, 1), board.read(0xA1, 1), pit_mode(board)) == (0, 0, 0x36)
    assert board.areas[0].control.guest.mtrr_fixed[0] == 0
    assert board.machine.ram.read(0x40E, 2) == bytes(2)


def test_fw_cfg_stores_into_ram_by_the_hosts_hand(board: Board) -> None:
    board.machine.ram.write(0x1000, struct.pack(">IIQ", SELECT | READ, 4, 0x2000))
    board.out(0x518, 4, 0x00100000)
    assert board.machine.ram.read(0x2000, 4) == b"QEMU"
    assert board.machine.ram.read(0x1000, 4) == bytes(4)


def test_cmos_tells_the_memory(board: Board) -> None:
    def cmos(address: int) -> int:
        board.out(0x70, 1, address)
        return int(board.read(0x71, 1))

    assert cmos(0x15) | cmos(0x16) << 8 == 640
    assert cmos(0x30) | cmos(0x31) << 8 == MEMORY // 1024 - 1024
    assert cmos(0x34) | cmos(0x35) << 8 == 0


def test_a_write_is_nobodys_just_where_nobody_answers(board: Board) -> None:
    for port in range(IO_PORTS):
        nobodys = board.page.port_posted[port] == PortWrite.NOBODY
        assert nobodys == (board.machine.ports.find(port) is None)
