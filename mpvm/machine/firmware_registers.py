"""What firmware leaves in registers and the BIOS data area: SeaBIOS's values, which kernels find under QEMU.

A kernel by Multiboot or PVH may not rely on them, and some do: on interrupts of the 8254 that nobody has
programmed, on the 8259s' vectors, on caches that are on.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mpvm.abi.layout import VcpuArea
from mpvm.boot.e820 import EBDA_START
from mpvm.hw.char.serial import UARTS
from mpvm.hw.intc.i8259 import MASTER_PORT, SLAVE_PORT
from mpvm.hw.timer.i8254 import CONTROL_WORD, PIT_PORT
from mpvm.machine.firmware import EQUIPMENT_FPU
from mpvm.memory.address_space import AddressSpace

_ICW1_WITH_ICW4, _ICW4_8086 = 0x11, 0x01
# ICW1 to ICW4 and the mask (8259A data sheet): the AT's vectors; timer, keyboard, slave, floppy disk, and of
# the slave clock, mouse, FPU, first disk.
_PIC: Final = {
    MASTER_PORT: (_ICW1_WITH_ICW4, 0x08, 0x04, _ICW4_8086, 0xB8),
    SLAVE_PORT: (_ICW1_WITH_ICW4, 0x70, 0x02, _ICW4_8086, 0x8E),
}
# Counter 0: both bytes, mode 2, 65536 pulses; 18.2 Hz.
_PIT_COUNTER_0: Final = ((PIT_PORT + CONTROL_WORD, 0x34), (PIT_PORT, 0), (PIT_PORT, 0))

# The fixed ranges (SDM vol. 3, 12.11.2.2): RAM, ROMs from 0xc0000 on, and between them uncached video memory.
_WRITE_BACK, _UNCACHED, _WRITE_PROTECTED = 6, 0, 5
_FIXED_TYPES: Final = (
    *(_WRITE_BACK, _WRITE_BACK, _UNCACHED),
    *(_WRITE_PROTECTED,) * 8,
)
_MTRR_VALID: Final = 1 << 11
_CPUID_MTRR: Final = 1 << 12

# The BIOS data area: ports of COM1 to COM4, the EBDA's segment, equipment (FPU, serial lines), base memory.
_BDA_COM_PORTS, _BDA_EBDA, _BDA_EQUIPMENT, _BDA_BASE_MEMORY = 0x400, 0x40E, 0x410, 0x413
_EQUIPMENT_COM_SHIFT: Final = 9


def program_timers_and_interrupts(ports: AddressSpace) -> None:
    """Set up the 8259s and counter 0 of the 8254, where there is one, as for real mode."""
    for base, (icw1, *rest) in _PIC.items():
        ports.write(base, 1, icw1)
        for value in rest:
            ports.write(base + 1, 1, value)
    for port, value in _PIT_COUNTER_0:
        ports.write(port, 1, value)


def set_mtrrs(areas: Iterable[VcpuArea], start: int, features: int, physical_bits: int) -> None:
    """Set the MTRRs of all `areas`: memory is write-back, what is from `start`, PCI's, to 4 GiB uncached.

    `features` is EDX of CPUID leaf 1.
    """
    if not features & _CPUID_MTRR:
        return
    mask = (1 << physical_bits) - start
    for area in areas:
        guest = area.control.guest
        for index, kind in enumerate(_FIXED_TYPES):
            guest.mtrr_fixed[index] = int.from_bytes(bytes((kind,)) * 8, "little")
        guest.mtrr_variable[0], guest.mtrr_variable[1] = start | _UNCACHED, mask | _MTRR_VALID


def bios_data_area(serial: Sequence[int]) -> Mapping[int, int]:
    """The words of the BIOS data area by address; `serial` are the base ports of the UARTs that are there."""
    found = [port for port, _ in UARTS if port in serial]
    return {
        **{_BDA_COM_PORTS + 2 * index: port for index, port in enumerate(found)},
        _BDA_EBDA: EBDA_START >> 4,
        _BDA_EQUIPMENT: EQUIPMENT_FPU | len(found) << _EQUIPMENT_COM_SHIFT,
        _BDA_BASE_MEMORY: EBDA_START >> 10,
    }
