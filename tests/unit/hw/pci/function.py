"""A function whose registers a test gives."""

from collections.abc import Iterable

from mpvm.hw.pci.function import PciFunction, Register
from mpvm.qom.type_info import register_type


@register_type("test-function")
class Function(PciFunction):
    def __init__(self, registers: Iterable[Register]) -> None:
        super().__init__()
        self.set_registers(registers)
