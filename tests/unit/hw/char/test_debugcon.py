"""The debug console at port 0xe9."""

from mpvm.hw.char.chardev import MemoryChardev
from mpvm.hw.char.debugcon import DebugCon
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import plug


def make() -> tuple[DebugCon, AddressSpace, MemoryChardev]:
    chardev = MemoryChardev()
    device = plug(DebugCon(chardev=chardev))
    ports = AddressSpace("io", 0x10000)
    for base, region in device.ports():
        ports.map(base, region)
    return device, ports, chardev


def test_a_byte_written_comes_out_of_the_chardev() -> None:
    _, ports, chardev = make()
    ports.write(0xE9, 1, 0x41)
    ports.write(0xE9, 1, 0xFF)
    assert chardev.output == b"A\xff"


def test_a_wide_write_puts_out_its_lowest_byte_only() -> None:
    _, ports, chardev = make()
    ports.write(0xE9, 2, 0x4241)
    assert chardev.output == b"A"


def test_reading_tells_that_the_console_is_there() -> None:
    _, ports, _ = make()
    assert ports.read(0xE9, 1) == 0xE9


def test_nobody_waits_for_a_write() -> None:
    device, _, _ = make()
    assert device.ports()[0][1].posted == {0}


def test_it_has_no_state_to_lose() -> None:
    device, ports, chardev = make()
    device.load(device.state())
    device.reset()
    ports.write(0xE9, 1, 0x42)
    assert chardev.output == b"B"


def test_a_string_comes_out_whole() -> None:
    _, ports, chardev = make()
    ports.write_string(0xE9, b"hello")
    assert chardev.output == b"hello"
