"""Configuration mechanism #1 and the i440FX behind it."""

import msgpack
import pytest

from mpvm.hw.acpi.pm import ResetControl
from mpvm.hw.clock import ManualClock
from mpvm.hw.pci.function import Register
from mpvm.hw.pci.host import PciHost
from mpvm.hw.pci.i440fx import I440fx
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.pci.function import Function
from tests.unit.hw.plug import FakeSystem, plug

ADDRESS, DATA, RESET = 0xCF8, 0xCFC, 0xCF9
ENABLE = 0x80000000


class Rig:
    def __init__(self, with_reset_control: bool = True) -> None:
        self.resets = 0
        system = FakeSystem(ManualClock(), request_reset=self.request_reset)
        control = plug(ResetControl(own_port=False), system) if with_reset_control else None
        self.host = plug(PciHost(reset_control=control), system)
        self.host.bus.add(I440fx(), 0)
        self.space = AddressSpace("io", 0x10000)
        for base, region in self.host.ports():
            self.space.map(base, region)

    def request_reset(self) -> None:
        self.resets += 1

    def select(self, register: int, device: int = 0, function: int = 0, bus: int = 0) -> None:
        self.space.write(ADDRESS, 4, ENABLE | bus << 16 | device << 11 | function << 8 | register)

    def config(self, register: int, size: int = 4, **where: int) -> int:
        self.select(register & ~3, **where)
        return self.space.read(DATA + (register & 3), size)

    def set_config(self, register: int, size: int, value: int, **where: int) -> None:
        self.select(register & ~3, **where)
        self.space.write(DATA + (register & 3), size, value)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_config_address_reads_back_without_its_reserved_bits(rig: Rig) -> None:
    rig.space.write(ADDRESS, 4, 0xFFFFFFFF)
    assert rig.space.read(ADDRESS, 4) == 0x80FFFFFC


def test_linux_finds_mechanism_1(rig: Rig) -> None:
    rig.space.write(0xCFB, 1, 0x01)
    rig.space.write(ADDRESS, 4, ENABLE)
    assert rig.space.read(ADDRESS, 4) == ENABLE
    assert rig.config(0x0A, 2) == 0x0600


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (0, 2), (1, 1), (2, 2), (3, 1)])
def test_only_a_dword_reaches_config_address(rig: Rig, offset: int, size: int) -> None:
    rig.select(0x40)
    rig.space.write(ADDRESS + offset, size, 0)
    assert rig.space.read(ADDRESS, 4) == ENABLE | 0x40


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (2, 1), (2, 2), (3, 1)])
def test_a_narrow_read_beside_the_reset_register_is_nobodys(rig: Rig, offset: int, size: int) -> None:
    assert rig.space.read(ADDRESS + offset, size) == (1 << 8 * size) - 1


def test_the_host_bridge_is_an_82441fx(rig: Rig) -> None:
    assert rig.config(0x00) == 0x12378086
    assert rig.config(0x08) == 0x06000002
    assert rig.config(0x0E, 1) == 0x00


@pytest.mark.parametrize(
    ("register", "size", "value"), [(0x00, 2, 0x8086), (0x02, 2, 0x1237), (0x03, 1, 0x12), (0x01, 2, 0x3780)]
)
def test_config_data_takes_bytes_and_words_at_their_offset(
    rig: Rig, register: int, size: int, value: int
) -> None:
    assert rig.config(register, size) == value


def test_the_bridges_command_register_keeps_what_is_hardwired(rig: Rig) -> None:
    rig.set_config(0x04, 2, 0x0000)
    assert rig.config(0x04, 2) == 0x0006
    rig.set_config(0x04, 2, 0xFFFF)
    assert rig.config(0x04, 2) == 0x0146
    assert rig.config(0x06, 2) == 0x0280


def test_the_bridge_tells_that_ram_is_open_and_smram_is_locked(rig: Rig) -> None:
    rig.set_config(0x58, 4, 0)
    rig.set_config(0x5C, 4, 0)
    rig.set_config(0x72, 1, 0x4A)
    assert [rig.config(register, 1) for register in range(0x59, 0x60)] == [0x30, *[0x33] * 6]
    assert rig.config(0x72, 1) == 0x12


@pytest.mark.parametrize(
    "where", [{"device": 1}, {"device": 31}, {"function": 1}, {"bus": 1}, {"bus": 255}], ids=str
)
def test_nobody_else_answers(rig: Rig, where: dict[str, int]) -> None:
    assert rig.config(0x00, **where) == 0xFFFFFFFF
    assert rig.config(0x0E, 1, **where) == 0xFF
    rig.set_config(0x04, 2, 0x0140, **where)
    assert rig.config(0x04, 2) == 0x0006


def test_without_the_enable_bit_nothing_answers(rig: Rig) -> None:
    rig.space.write(ADDRESS, 4, 0x04)
    assert rig.space.read(DATA, 4) == 0xFFFFFFFF
    rig.space.write(DATA, 2, 0x0140)
    assert rig.config(0x04, 2) == 0x0006


def test_a_function_plugged_into_the_bus_answers(rig: Rig) -> None:
    rig.host.bus.add(Function((Register(0, 4, 0x10001AF4),)), 3)
    assert rig.config(0, device=3) == 0x10001AF4


def test_a_byte_at_0xcf9_is_the_reset_register(rig: Rig) -> None:
    rig.select(0x40)
    rig.space.write(RESET, 1, 0x02)
    assert (rig.space.read(RESET, 1), rig.resets) == (0x02, 0)
    rig.space.write(RESET, 1, 0x06)
    assert rig.resets == 1
    assert rig.space.read(ADDRESS, 4) == ENABLE | 0x40


def test_a_dword_at_0xcf8_never_resets(rig: Rig) -> None:
    rig.space.write(ADDRESS, 4, ENABLE | 0x0600)
    assert (rig.resets, rig.space.read(RESET, 1)) == (0, 0)


def test_without_a_reset_register_0xcf9_is_nobodys() -> None:
    rig = Rig(with_reset_control=False)
    rig.space.write(RESET, 1, 0x06)
    assert rig.space.read(RESET, 1) == 0xFF


def test_no_write_is_posted(rig: Rig) -> None:
    assert [region.posted for _, region in rig.host.ports()] == [frozenset(), frozenset()]


def test_reset_clears_the_address_and_the_functions(rig: Rig) -> None:
    rig.set_config(0x0D, 1, 0x40)
    assert rig.config(0x0D, 1) == 0x40
    rig.host.reset()
    assert rig.space.read(ADDRESS, 4) == 0
    assert rig.config(0x0D, 1) == 0


def test_state_goes_to_another_host(rig: Rig) -> None:
    rig.set_config(0x04, 2, 0x0100)
    state = msgpack.unpackb(msgpack.packb(rig.host.state()))
    other = Rig()
    other.host.load(state)
    assert other.host.state() == state
    assert other.space.read(DATA, 2) == 0x0106
