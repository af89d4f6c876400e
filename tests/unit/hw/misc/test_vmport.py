"""VMware's port: commands in registers, and answers in registers."""

import pytest

from mpvm.abi.control_bits import Answer
from mpvm.abi.control_block import ControlBlock
from mpvm.hw.misc.vmport import MAGIC, RAX, RBX, RCX, RDX, VMPORT, VmPort
from tests.unit.hw.plug import plug

VERSION, UUID, RAM_SIZE, HZ, VCPU_INFO = 10, 19, 20, 45, 68


class Rig:
    def __init__(self, **properties: object) -> None:
        self.block = ControlBlock()
        device = VmPort(**properties)
        device.control = lambda: self.block
        device.ram_bytes = 128 << 20
        device.uuid = bytes(range(16))
        device.tsc_hz, device.apic_bus_hz = 0x1_2345_6789, 1_000_000_000
        device.has_x2apic = True
        self.ports = plug(device).wiring.ports

    def command(self, number: int, magic: int = MAGIC, *, write: bool = False) -> int:
        self.block.guest.gpr[:] = [0xDEAD] * 16
        self.block.guest.gpr[RAX], self.block.guest.gpr[RCX] = magic, number
        self.block.exit.answer = 0
        if write:
            self.ports.write(VMPORT, 4, magic)
            return 0
        return self.ports.read(VMPORT, 4)

    def registers(self) -> tuple[int, ...]:
        return tuple(self.block.guest.gpr[each] for each in (RAX, RBX, RCX, RDX))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_version_is_told_with_the_magic_and_the_product(rig: Rig) -> None:
    assert rig.command(VERSION) == 6
    assert rig.registers() == (6, MAGIC, 2, 0xDEAD)
    assert rig.block.exit.answer == Answer.STATE


def test_the_size_of_ram_and_the_frequencies(rig: Rig) -> None:
    assert rig.command(RAM_SIZE) == 128 << 20
    assert rig.registers()[1] == 0x1177
    rig.command(HZ)
    assert rig.registers()[:3] == (0x23456789, 1, 1_000_000_000)


def test_the_uuid_and_the_cpu(rig: Rig) -> None:
    rig.command(UUID)
    assert rig.registers() == (0x03020100, 0x07060504, 0x0B0A0908, 0x0F0E0D0C)
    assert rig.command(VCPU_INFO) == 8


@pytest.mark.parametrize(("number", "magic"), [(VERSION, 1), (99, MAGIC), (11, MAGIC)])
def test_what_is_no_command_gives_ones(rig: Rig, number: int, magic: int) -> None:
    assert rig.command(number, magic) == 0xFFFFFFFF
    assert rig.registers() == (0xFFFFFFFF, 0xDEAD, number, 0xDEAD)


def test_the_upper_bits_of_ecx_do_not_count(rig: Rig) -> None:
    assert rig.command(0x12345600 | VERSION) == 6


def test_a_write_is_a_command_too(rig: Rig) -> None:
    rig.command(VERSION, write=True)
    assert rig.registers()[:2] == (6, MAGIC)


def test_the_instruction_is_over_where_its_length_is_known(rig: Rig) -> None:
    rig.block.exit.instruction_length, rig.block.guest.rip = 2, 0x1000
    rig.command(UUID)
    assert rig.block.guest.rip == 0x1002
    assert rig.block.exit.answer == Answer.STATE | Answer.DONE
    assert rig.registers()[3] == 0x0F0E0D0C


@pytest.mark.parametrize(("size", "rax"), [(1, 0x564D5806), (2, 0x564D0006), (4, 6)])
def test_a_narrow_read_changes_a_part_of_rax_alone(size: int, rax: int) -> None:
    rig = Rig(read_set_eax=False)
    rig.block.exit.instruction_length = 1
    rig.block.guest.gpr[RAX], rig.block.guest.gpr[RCX] = MAGIC, VERSION
    rig.ports.read(VMPORT, size)
    assert rig.registers()[0] == rax


def test_an_older_one_knows_less_and_leaves_eax() -> None:
    rig = Rig(commands_2=False, signal_unsupported=False, read_set_eax=False, report_vmx_type=False)
    assert rig.command(UUID) == MAGIC
    assert rig.block.exit.answer == 0
    assert rig.command(VERSION) == 6
    assert rig.registers() == (MAGIC, MAGIC, VERSION, 0xDEAD)
