"""The latch of floating-point errors."""

from mpvm.hw.device import IrqLine
from mpvm.hw.misc.ferr import FERR_PORT, FerrLatch
from mpvm.memory.address_space import AddressSpace
from tests.unit.hw.plug import plug


def board() -> tuple[FerrLatch, IrqLine, AddressSpace]:
    line = IrqLine()
    device = plug(FerrLatch(), lines={13: line})
    space = AddressSpace("io", 0x10000)
    for base, region in device.ports():
        space.map(base, region)
    return device, line, space


def test_an_error_raises_interrupt_13_until_port_f0_is_written() -> None:
    device, line, space = board()
    assert line.level == 0
    device.assert_error()
    assert line.level == 1
    assert space.read(FERR_PORT, 1) == 0xFF
    assert line.level == 1, "a read does nothing"
    space.write(FERR_PORT, 1, 0)
    assert line.level == 0


def test_a_reset_ends_it() -> None:
    device, line, _ = board()
    device.assert_error()
    device.reset_hold()
    assert line.level == 0


def test_the_line_is_state() -> None:
    device, _, _ = board()
    device.assert_error()
    other, line, _ = board()
    other.load(device.state())
    assert line.level == 1
