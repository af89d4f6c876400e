"""A PCI bus: who answers, and what may be plugged in."""

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.hw.pci.bus import PciBus
from mpvm.hw.pci.function import Register
from tests.unit.hw.pci.function import Function


def function(header_type: int = 0) -> Function:
    return Function(
        (Register(0, 2, 0x1234), Register(0x0E, 1, header_type), Register(0x3C, 1, 0, writable=0xFF))
    )


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF)])
def test_an_absent_function_reads_all_ones(size: int, ones: int) -> None:
    assert PciBus().read(3, 0, 0, size) == ones


def test_a_write_to_an_absent_function_reaches_nobody_else() -> None:
    bus = PciBus()
    bus.add(function(), 1)
    bus.write(2, 0, 0x3C, 1, 0x0B)
    bus.write(1, 1, 0x3C, 1, 0x0B)
    assert bus.read(1, 0, 0x3C, 1) == 0


def test_functions_of_a_multi_function_device_answer_apart() -> None:
    bus = PciBus()
    bus.add(function(header_type=0x80), 1)
    bus.add(function(), 1, 3)
    bus.write(1, 3, 0x3C, 1, 0x0B)
    assert (bus.read(1, 0, 0x3C, 1), bus.read(1, 3, 0x3C, 1)) == (0, 0x0B)
    assert bus.find(1, 2) is None


@pytest.mark.parametrize(("device", "number"), [(32, 0), (-1, 0), (0, 8), (0, -1)])
def test_a_number_that_does_not_exist_is_an_error(device: int, number: int) -> None:
    with pytest.raises(DeviceError, match="devices are 0 to 31"):
        PciBus().add(function(), device, number)


def test_a_place_that_is_taken_is_an_error_that_names_who_is_there() -> None:
    bus = PciBus()
    bus.add(function(), 4)
    with pytest.raises(DeviceError, match=r"00:04\.0: test-function is there already"):
        bus.add(function(), 4)


def test_a_function_that_no_guest_would_find_is_an_error() -> None:
    bus = PciBus()
    with pytest.raises(DeviceError, match="function 0 must be there"):
        bus.add(function(), 5, 1)
    bus.add(function(), 5)
    with pytest.raises(DeviceError, match="multi-function"):
        bus.add(function(), 5, 1)


def test_reset_reaches_every_function() -> None:
    bus = PciBus()
    for device in (1, 31):
        bus.add(function(), device)
        bus.write(device, 0, 0x3C, 1, 9)
    bus.reset()
    assert [bus.read(device, 0, 0x3C, 1) for device in (1, 31)] == [0, 0]


def test_state_goes_to_a_bus_with_the_same_functions_only() -> None:
    bus, same, other = PciBus(), PciBus(), PciBus()
    bus.add(function(), 31)
    same.add(function(), 31)
    other.add(function(), 30)
    bus.write(31, 0, 0x3C, 1, 9)
    assert list(bus.state()) == ["1f.0"]
    same.load(bus.state())
    assert same.read(31, 0, 0x3C, 1) == 9
    with pytest.raises(DeviceError, match=r"state has functions 1f\.0, the machine has 1e\.0"):
        other.load(bus.state())
