"""Why a request is refused (Intel's VT-d specification, order D51397, 7.1.3 and appendix A)."""

from enum import IntEnum
from typing import NamedTuple


class Reason(IntEnum):
    """Fault reasons, as they are recorded."""

    ROOT_NOT_PRESENT = 0x01
    CONTEXT_NOT_PRESENT = 0x02
    CONTEXT_INVALID = 0x03
    ADDRESS_TOO_WIDE = 0x04
    NOT_WRITABLE = 0x05
    NOT_READABLE = 0x06
    NO_TABLE_THERE = 0x07
    NO_ROOT_TABLE_THERE = 0x08
    NO_CONTEXT_TABLE_THERE = 0x09
    ROOT_RESERVED = 0x0A
    CONTEXT_RESERVED = 0x0B
    ENTRY_RESERVED = 0x0C
    INTERRUPT_ADDRESS = 0x0E
    INDEX_TOO_LARGE = 0x21
    INTERRUPT_NOT_PRESENT = 0x22
    NO_INTERRUPT_TABLE_THERE = 0x23
    INTERRUPT_RESERVED = 0x24
    COMPATIBILITY_FORMAT = 0x25
    WRONG_SOURCE = 0x26


class Fault(NamedTuple):
    """A refusal, of which the guest does not want to hear where the entry is `silent`."""

    reason: Reason
    silent: bool = False
