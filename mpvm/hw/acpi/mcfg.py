"""Where PCI configuration space is in memory (PCI Firmware Specification 3.0, 4.1.2 and 4.1.3)."""

import struct
from typing import Final, NamedTuple

from mpvm.hw.acpi import aml
from mpvm.hw.acpi.tables import Table

MCFG_REVISION: Final = 1
_SEGMENT: Final = 0
# 8 bytes reserved; base, segment, first and last bus.
_BODY: Final = struct.Struct("<8xQHBB4x")
BUS_BYTES: Final = 1 << 20


class MmConfig(NamedTuple):
    """`size` bytes at `base`, 1 MiB for each bus."""

    base: int
    size: int

    def table(self) -> Table:
        """The table that says so."""
        return Table(b"MCFG", MCFG_REVISION, _BODY.pack(self.base, _SEGMENT, 0, self.size // BUS_BYTES - 1))

    def device(self) -> bytes:
        """The motherboard device that has the addresses, without which kernels do not trust the table."""
        return aml.device(
            "DRAC",
            aml.name("_HID", aml.eisa_id("PNP0C01")),
            aml.name("_CRS", aml.resource_template(aml.dword_memory(self.base, self.base + self.size - 1))),
        )
