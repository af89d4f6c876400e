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


# Where writes are messages (SDM vol. 3, 10.11.1).
MESSAGE_BASE = 0xFEE00000
MESSAGE_MASK = 0x000FFFFF

_MSI_DESTINATION_SHIFT = 12
_MSI_REDIRECTION_HINT = 1 << 3
_MSI_LOGICAL = 1 << 2
_MSI_LEVEL = 1 << 15


def msi_message(address: int, data: int) -> InterruptMessage:
    """The message that a device's write of `data` to `address`, in FEExxxxxh, is (SDM vol. 3, 10.11)."""
    mode = data >> 8 & 7
    known = DeliveryMode(mode) if mode in frozenset(DeliveryMode) else DeliveryMode.FIXED
    if known is DeliveryMode.FIXED and address & _MSI_REDIRECTION_HINT:
        known = DeliveryMode.LOWEST_PRIORITY
    return InterruptMessage(
        vector=data & 0xFF,
        delivery_mode=known,
        destination=address >> _MSI_DESTINATION_SHIFT & 0xFF,
        logical=bool(address & _MSI_LOGICAL),
        level_triggered=bool(data & _MSI_LEVEL),
    )
