"""The interrupt message: what an I/O APIC or an MSI sends to local APICs (SDM vol. 3, 10.11.2)."""

from enum import IntEnum
from typing import NamedTuple


class DeliveryMode(IntEnum):
    """What the local APIC is to do (82093AA 3.2.4, DELMOD); 3 and 6 are reserved."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    NMI = 4
    INIT = 5
    EXTINT = 7


class InterruptMessage(NamedTuple):
    """One message.

    `destination` is an APIC ID (physical mode) or a logical destination (`logical`). `level_triggered`:
    the local APIC sets its TMR bit and broadcasts an EOI for `vector`.
    """

    vector: int
    delivery_mode: DeliveryMode
    destination: int
    logical: bool
    level_triggered: bool
