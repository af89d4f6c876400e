"""Messages and DMA of a function, as far as its command register lets it be a bus master."""

import pytest

from mpvm.hw.bus import Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.pci.bus import PciBus
from mpvm.hw.pci.function import PciFunction, header
from mpvm.hw.pci.msi import Msi
from mpvm.memory.dma import DmaMemory
from mpvm.memory.ram import GuestRam, ram_slots
from mpvm.qom.type_info import register_type
from tests.unit.hw.plug import FakeSystem

MIB = 1 << 20
MSI, CONTROL, ADDRESS, DATA = 0x50, 0x52, 0x54, 0x5C
COMMAND, STATUS = 4, 6
MASTER, INTX_DISABLE = 4, 0x400
REQUESTER = 3 << 3


@register_type("test-msi-function")
class MsiFunction(PciFunction):
    def realize(self) -> None:
        self.msi = Msi(self, MSI)
        self.set_registers((*header(0x1234, 1, 0, pin=1), *self.msi.registers()))


class Rig:
    def __init__(self) -> None:
        self.ram = GuestRam(memoryview(bytearray(MIB)), ram_slots(MIB))
        self.sent: list[tuple[int, int, int]] = []
        self.line = IrqLine()
        dma = DmaMemory(self.ram, lambda offset, data: self.ram.write(offset, data))
        bus = PciBus()
        bus.wiring = Wiring(FakeSystem(ManualClock()), lambda irq: IrqLine(), dma)
        bus.intx = lambda device, pin: self.line
        bus.deliver = lambda *message: self.sent.append(message)
        self.function = MsiFunction()
        bus.add(self.function, 3)
        self.function.write(COMMAND, 2, MASTER)

    def enable(self, address: int = 0xFEE01004, data: int = 0x143) -> None:
        for register, size, value in ((ADDRESS, 4, address), (DATA, 2, data), (CONTROL, 2, 1)):
            self.function.write(register, size, value)

    def notify(self) -> None:
        assert self.function.msi is not None
        self.function.msi.notify()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_message_is_what_software_has_written(rig: Rig) -> None:
    rig.enable()
    rig.notify()
    assert rig.sent == [(REQUESTER, 0xFEE01004, 0x143)]


def test_a_message_elsewhere_is_a_store_of_a_dword(rig: Rig) -> None:
    rig.enable(address=0x1000)
    rig.ram.write(0x1000, b"\xff" * 8)
    rig.notify()
    assert (rig.sent, rig.ram.read(0x1000, 8)) == ([], b"\x43\x01\0\0\xff\xff\xff\xff")


def test_messages_take_the_place_of_the_interrupt_pin(rig: Rig) -> None:
    rig.function.set_intx(1)
    assert (rig.line.level, rig.function.read(STATUS, 2) & 8) == (1, 8)
    rig.enable()
    assert (rig.line.level, rig.function.read(STATUS, 2) & 8) == (0, 0)


def test_the_status_register_shows_an_interrupt_that_is_disabled(rig: Rig) -> None:
    rig.function.set_intx(1)
    rig.function.write(COMMAND, 2, INTX_DISABLE)
    assert (rig.line.level, rig.function.read(STATUS, 2) & 8) == (0, 8)


def test_a_bus_master_reads_and_writes_over_the_end_of_a_page(rig: Rig) -> None:
    rig.function.dma_write(0x9FFE, b"\1\2\3\4")
    assert rig.ram.read(0x9FFE, 2) == b"\1\2"
    rig.function.dma_write(0x1FFE, b"\1\2\3\4")
    assert rig.function.dma_read(0x1FFF, 2) == b"\2\3"


def test_pages_where_nobody_answers_read_as_zeros_and_lose_writes(rig: Rig) -> None:
    rig.function.dma_write(MIB - 2, b"\1\2\3\4")
    assert rig.ram.read(MIB - 2, 2) == b"\1\2"
    assert rig.function.dma_read(MIB - 2, 4) == b"\1\2\0\0"


def test_without_the_command_registers_leave_there_is_neither(rig: Rig) -> None:
    rig.enable()
    rig.function.write(COMMAND, 2, 0)
    rig.ram.write(0x1000, b"\7")
    rig.function.dma_write(0x1000, b"\1")
    rig.notify()
    assert (rig.sent, rig.ram.read(0x1000, 1), rig.function.dma_read(0x1000, 1)) == ([], b"\7", b"\0")


def test_a_dword_written_to_the_local_apics_is_a_message_and_nothing_else_is(rig: Rig) -> None:
    rig.function.dma_write(0xFEE00000, (0x31).to_bytes(4, "little"))
    rig.function.dma_write(0xFEE00000, b"\x32")
    assert rig.sent == [(REQUESTER, 0xFEE00000, 0x31)]
    assert rig.function.dma_read(0xFEE00000, 4) == bytes(4)
