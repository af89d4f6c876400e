"""The MP configuration table (Intel MultiProcessor Specification 1.4, chapter 4).

For kernels that do not use ACPI.
"""

import struct
from collections.abc import Sequence
from typing import Final

from mpvm.hw.intc import ioapic

MP_TABLE_ADDRESS: Final = 0xF0000

OEM_ID: Final = b"MPVM    "
PRODUCT_ID: Final = b"MPVM        "
SPEC_REVISION: Final = 4
LOCAL_APIC_ADDRESS: Final = 0xFEE00000
LOCAL_APIC_VERSION: Final = 0x14

_POINTER: Final = struct.Struct("<4sIBBB5s")
_POINTER_CHECKSUM_OFFSET: Final = 10
_HEADER: Final = struct.Struct("<4sHBB8s12sIHHIHBx")
_HEADER_CHECKSUM_OFFSET: Final = 7

PROCESSOR, BUS, IO_APIC, IO_INTERRUPT, LOCAL_INTERRUPT = range(5)
_PROCESSOR: Final = struct.Struct("<BBBBII8x")
_BUS: Final = struct.Struct("<BB6s")
_IO_APIC: Final = struct.Struct("<BBBBI")
_INTERRUPT: Final = struct.Struct("<BBHBBBB")

PROCESSOR_ENABLED, PROCESSOR_BOOTSTRAP = 1, 2
IO_APIC_ENABLED: Final = 1
INT, NMI, SMI, EXTINT = range(4)
CONFORMS, LEVEL_HIGH = 0x0, 0xD
ALL_LOCAL_APICS: Final = 0xFF

ISA_IRQS: Final = 16
PIT_IRQ, CASCADE_IRQ, SCI_IRQ = 0, 2, 9
PIT_PIN: Final = 2


def build_mp_table(
    apic_ids: Sequence[int],
    signature: int,
    features: int,
    *,
    pci: bool = False,
    ioapic_id: int = 0,
    address: int = MP_TABLE_ADDRESS,
) -> bytes:
    """The floating pointer structure and, behind it, the table, to be stored at `address`.

    `apic_ids` begin with the bootstrap processor's. `signature` and `features` are CPUID.1's EAX and EDX.
    `address` must be one where kernels look (4.1):
    a multiple of 16 in the EBDA, the last KiB of base memory or 0xf0000-0xfffff.
    """
    isa_bus = 1 if pci else 0
    entries = [
        _PROCESSOR.pack(
            PROCESSOR,
            apic_id,
            LOCAL_APIC_VERSION,
            PROCESSOR_ENABLED | (0 if number else PROCESSOR_BOOTSTRAP),
            signature,
            features,
        )
        for number, apic_id in enumerate(apic_ids)
    ]
    if pci:
        entries.append(_BUS.pack(BUS, 0, b"PCI   "))
    entries.append(_BUS.pack(BUS, isa_bus, b"ISA   "))
    entries.append(_IO_APIC.pack(IO_APIC, ioapic_id, ioapic.VERSION, IO_APIC_ENABLED, ioapic.BASE_ADDRESS))
    for irq in range(ISA_IRQS):
        if irq != CASCADE_IRQ:
            pin = PIT_PIN if irq == PIT_IRQ else irq
            flags = LEVEL_HIGH if irq == SCI_IRQ else CONFORMS
            entries.append(_INTERRUPT.pack(IO_INTERRUPT, INT, flags, isa_bus, irq, ioapic_id, pin))
    for lint, kind in ((0, EXTINT), (1, NMI)):
        entries.append(_INTERRUPT.pack(LOCAL_INTERRUPT, kind, CONFORMS, isa_bus, 0, ALL_LOCAL_APICS, lint))
    body = b"".join(entries)
    header = _HEADER.pack(
        b"PCMP",
        _HEADER.size + len(body),
        SPEC_REVISION,
        0,
        OEM_ID,
        PRODUCT_ID,
        0,
        0,
        len(entries),
        LOCAL_APIC_ADDRESS,
        0,
        0,
    )
    pointer = _POINTER.pack(b"_MP_", address + _POINTER.size, _POINTER.size // 16, SPEC_REVISION, 0, bytes(5))
    return _sealed(pointer, _POINTER_CHECKSUM_OFFSET) + _sealed(header + body, _HEADER_CHECKSUM_OFFSET)


def _sealed(data: bytes, checksum_offset: int) -> bytes:
    """`data` with the byte at `checksum_offset` set so that the sum of all bytes is 0."""
    sealed = bytearray(data)
    sealed[checksum_offset] = -sum(sealed) & 0xFF
    return bytes(sealed)
