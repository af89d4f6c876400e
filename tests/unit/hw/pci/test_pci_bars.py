"""Base address registers: sizing, decoding, and where a function answers."""

import pytest

from mpvm.abi.errors import DeviceError, PropertyError
from mpvm.hw.bus import Wiring
from mpvm.hw.clock import ManualClock
from mpvm.hw.device import IrqLine
from mpvm.hw.pci.bar import Bar
from mpvm.hw.pci.bus import PciBus
from mpvm.hw.pci.function import Header, PciFunction, Register
from mpvm.memory.region import Region
from mpvm.qom.qdev import qdev_realize, qdev_unrealize
from mpvm.qom.type_info import register_type
from tests.unit.hw.plug import FakeSystem

COMMAND, BAR0, BAR1, BAR2 = 0x04, 0x10, 0x14, 0x18
IO, MEMORY = 1, 2


def region(name: str, size: int, value: int) -> Region:
    return Region(name, size, lambda offset, width: value, lambda offset, width, data: None)


@register_type("test-function-with-bars")
class Decoder(PciFunction):
    def realize(self) -> None:
        self.set_registers(
            (Register(Header.COMMAND, 2, 0, writable=0x407),),
            (
                Bar(0, 0x1000, region("memory", 0x1000, 0xAA)),
                Bar(1, 0x100, region("ports", 0x100, 0xBB), io=True),
                Bar(2, 1 << 20, region("memory64", 1 << 20, 0xCC), is_64_bit=True, prefetchable=True),
            ),
        )


class Rig:
    def __init__(self) -> None:
        self.wiring = Wiring(FakeSystem(ManualClock()), lambda irq: IrqLine())
        self.bus = PciBus()
        self.bus.wiring = self.wiring
        self.function = Decoder()
        self.bus.add(self.function, 3)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        self.bus.write(3, 0, offset, size, value)

    def read(self, offset: int) -> int:
        return self.bus.read(3, 0, offset, 4)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_all_ones_read_back_as_the_size_and_the_kind(rig: Rig) -> None:
    for offset in range(BAR0, 0x28, 4):
        rig.write(offset, 0xFFFFFFFF)
    assert [rig.read(offset) for offset in range(BAR0, 0x28, 4)] == [
        *(0xFFFFF000, 0xFFFFFF01, 0xFFF0000C, 0xFFFFFFFF, 0, 0),
    ]


def test_sizing_while_it_decodes_maps_nothing(rig: Rig) -> None:
    rig.write(COMMAND, IO | MEMORY, 2)
    for offset in (BAR0, BAR1, BAR2, BAR2 + 4):
        rig.write(offset, 0xFFFFFFFF)
    assert not rig.wiring.memory.regions()
    assert not rig.wiring.ports.regions()


def test_it_answers_where_its_register_says_while_the_command_register_allows_it(rig: Rig) -> None:
    rig.write(BAR0, 0xFEBF0000)
    rig.write(BAR1, 0xC000)
    assert rig.wiring.memory.read(0xFEBF0004, 1) == 0xFF
    rig.write(COMMAND, MEMORY, 2)
    assert rig.wiring.memory.read(0xFEBF0004, 1) == 0xAA
    assert rig.wiring.ports.read(0xC004, 1) == 0xFF
    rig.write(COMMAND, IO, 2)
    assert rig.wiring.memory.read(0xFEBF0004, 1) == 0xFF
    assert rig.wiring.ports.read(0xC004, 1) == 0xBB


def test_it_moves_with_its_register(rig: Rig) -> None:
    rig.write(COMMAND, MEMORY, 2)
    rig.write(BAR0, 0xFEBF0000)
    rig.write(BAR0, 0xE0000000)
    assert rig.wiring.memory.read(0xFEBF0000, 1) == 0xFF
    assert rig.wiring.memory.read(0xE0000FFF, 1) == 0xAA
    assert rig.wiring.memory.read(0xE0001000, 1) == 0xFF


def test_a_64_bit_register_reaches_above_4_gib(rig: Rig) -> None:
    rig.write(COMMAND, MEMORY, 2)
    rig.write(BAR2, 0x00100000)
    rig.write(BAR2 + 4, 0x12)
    assert rig.wiring.memory.read(0x1200100000, 1) == 0xCC
    assert rig.wiring.memory.read(0x00100000, 1) == 0xFF


@pytest.mark.parametrize("address", [0, 0x10000, 0xFFFFFF00])
def test_ports_that_there_are_not_are_nowhere(rig: Rig, address: int) -> None:
    rig.write(COMMAND, IO, 2)
    rig.write(BAR1, address)
    assert not rig.wiring.ports.regions()


def test_the_board_goes_before_a_function(rig: Rig) -> None:
    rig.wiring.ports.map(0xC010, region("board", 1, 0x11))
    rig.write(COMMAND, IO, 2)
    rig.write(BAR1, 0xC000)
    assert [rig.wiring.ports.read(port, 1) for port in (0xC00F, 0xC010, 0xC011)] == [0xBB, 0x11, 0xBB]


def test_a_reset_and_an_unplugging_end_the_decoding(rig: Rig) -> None:
    def unplug() -> None:
        qdev_unrealize(rig.function)

    for end in (rig.bus.reset, unplug):
        rig.write(COMMAND, IO | MEMORY, 2)
        rig.write(BAR0, 0xFEBF0000)
        rig.write(BAR1, 0xC000)
        assert rig.wiring.memory.regions()
        end()
        assert not rig.wiring.memory.regions()
        assert not rig.wiring.ports.regions()
    assert rig.bus.find(3, 0) is None


def test_state_brings_the_decoding_along(rig: Rig) -> None:
    rig.write(COMMAND, MEMORY, 2)
    rig.write(BAR0, 0xFEBF0000)
    other = Rig()
    other.bus.load(rig.bus.state())
    assert other.wiring.memory.read(0xFEBF0000, 1) == 0xAA


@pytest.mark.parametrize(
    "bar",
    [
        Bar(0, 0x1001, None),
        Bar(0, 8, None),
        Bar(5, 0x1000, None, is_64_bit=True),
        Bar(6, 0x1000, None),
        Bar(0, 0x10000, None, io=True),
        Bar(0, 1 << 32, None),
    ],
)
def test_a_register_that_can_not_be_is_an_error(bar: Bar) -> None:
    with pytest.raises(DeviceError, match=f"BAR {bar.number}: "):
        bar.check()


def test_a_function_without_a_number_gets_the_next_free_device() -> None:
    bus = PciBus()
    bus.wiring = Wiring(FakeSystem(ManualClock()), lambda irq: IrqLine())
    bus.add(Decoder(), 0)
    bus.add(Decoder(multifunction=True), 1)
    bus.add(Decoder(), 1, 3)
    for expected in (2, 3):
        function = Decoder()
        qdev_realize(function, bus)
        assert (function.device, function.function) == (expected, 0)


@pytest.mark.parametrize(
    ("text", "devfn"), [("06.0", 0x30), ("6", 0x30), ("1f.7", 0xFF), (0x12, 0x12), ("0x2", 0x10)]
)
def test_an_address_is_read_as_qemu_reads_it(text: object, devfn: int) -> None:
    function = Decoder()
    function.set_property("addr", text)
    assert function.addr == devfn


@pytest.mark.parametrize("text", ["20", "1.8", "x", "1.2.3", -2, 256])
def test_an_address_that_there_is_not_is_an_error(text: object) -> None:
    with pytest.raises(PropertyError, match="a device and function such as"):
        Decoder().set_property("addr", text)
