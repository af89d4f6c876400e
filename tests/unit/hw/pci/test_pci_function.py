"""Configuration space: what each bit does when it is written."""

import pytest

from mpvm.abi.errors import DeviceError
from mpvm.hw.pci.function import Register
from mpvm.qom.type_info import register_type
from tests.unit.hw.pci.function import Function


@register_type("test-recorder")
class Recorder(Function):
    """Remembers what it was told of."""

    def __init__(self) -> None:
        super().__init__(
            (
                Register(0x04, 2, 0x0006, writable=0x0140),
                Register(0x06, 2, 0xF280, write_1_clears=0xF900),
                Register(0x10, 4, 0x00000001, writable=0xFFFFFFE0),
            ),
        )
        self.changes: list[tuple[int, int]] = []

    def config_changed(self, offset: int, size: int) -> None:
        self.changes.append((offset, size))


@pytest.fixture
def function() -> Recorder:
    return Recorder()


def test_writable_bits_take_the_value_and_others_keep_theirs(function: Recorder) -> None:
    function.write(0x04, 2, 0xFFFF)
    assert function.read(0x04, 2) == 0x0146
    function.write(0x04, 2, 0x0000)
    assert function.read(0x04, 2) == 0x0006


def test_a_one_clears_a_status_bit_and_a_zero_does_not(function: Recorder) -> None:
    function.write(0x06, 2, 0x0000)
    assert function.read(0x06, 2) == 0xF280
    function.write(0x06, 2, 0x8280)
    assert function.read(0x06, 2) == 0x7280


def test_a_bar_is_sized_by_writing_ones(function: Recorder) -> None:
    function.write(0x10, 4, 0xFFFFFFFF)
    assert function.read(0x10, 4) == 0xFFFFFFE1


def test_a_byte_write_leaves_its_neighbours_alone(function: Recorder) -> None:
    function.write(0x10, 4, 0xAABBCCE0)
    function.write(0x12, 1, 0x55)
    assert function.read(0x10, 4) == 0xAA55CCE1
    assert function.read(0x11, 2) == 0x55CC


def test_what_no_register_names_is_zero_and_stays_so(function: Recorder) -> None:
    function.write(0x40, 4, 0xFFFFFFFF)
    assert function.read(0x40, 4) == 0


def test_the_device_hears_of_every_write(function: Recorder) -> None:
    function.write(0x10, 4, 0)
    function.write(0x05, 1, 0)
    assert function.changes == [(0x10, 4), (0x05, 1)]


def test_reset_brings_every_register_back(function: Recorder) -> None:
    function.write(0x10, 4, 0xFFFFFFFF)
    function.write(0x06, 2, 0xFFFF)
    function.reset()
    assert (function.read(0x10, 4), function.read(0x06, 2)) == (1, 0xF280)


def test_state_goes_to_another_function_which_hears_of_it(function: Recorder) -> None:
    function.write(0x10, 4, 0x1000)
    other = Recorder()
    other.load(function.state())
    assert (other.read(0x10, 4), other.changes) == (0x1001, [(0, 256)])


@pytest.mark.parametrize(
    "registers",
    [(Register(0, 4, 0), Register(3, 1, 0)), (Register(0xFE, 4, 0),), (Register(-1, 1, 0),)],
    ids=["overlap", "beyond the end", "before the start"],
)
def test_a_table_that_does_not_fit_is_an_error(registers: tuple[Register, ...]) -> None:
    with pytest.raises(DeviceError, match="test-function: register at"):
        Function(registers)
