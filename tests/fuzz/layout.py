"""Where things are in the address space of both the host's process and the guest's program; a case's record.

A *case* is a short sequence of instructions with the state it starts from. A record is that state; what has
become of it, a *result*, has the same form. Code and data are below 2 GiB, so that every kind of address can
reach them; the rest is where no address of 32-bit code leads, and others hardly ever.
"""

import struct
from typing import Final, NamedTuple

PAGE: Final = 0x1000

# The runner's code, which `tests.fuzz.runner` assembles, with its variables and stack in the pages behind.
RUNNER: Final = 0x712345678000
RUNNER_BYTES: Final = 4 * PAGE
RECORDS: Final = RUNNER + 0x1000000
RESULTS: Final = RUNNER + 0x2000000
# A slot a case; in the first is the way from the others to the runner.
CODE: Final = 0x21000000
GATE: Final = CODE
# Two pages that instructions address, nothing behind them, and before them one that is only read.
DATA: Final = 0x24000000
CONSTANTS: Final = DATA - PAGE
CONSTANT_BYTES: Final = bytes(range(1, 256, 2)) * (PAGE // 128)
DATA_BYTES: Final = 2 * PAGE
DATA_END: Final = DATA + DATA_BYTES

MAX_CASES: Final = 1023
SLOTS: Final = MAX_CASES + 1
SLOT_BYTES: Final = 256

# What a case finds in memory and leaves there: around the boundary of the pages, and before their end.
WINDOW: Final = DATA + PAGE - 256
WINDOW_BYTES: Final = 512
EDGE_BYTES: Final = 64
EDGE: Final = DATA_END - EDGE_BYTES

# Linux's selectors of user mode.
CS32, USER_SS, CS64 = 0x23, 0x2B, 0x33

# A record: FXSAVE's image, the general registers in the order of their numbers, and so on.
REGISTERS_AT: Final = 512
FLAGS_AT: Final = 640
VECTOR_AT, ERROR_AT, RIP_AT, CR2_AT = 648, 656, 664, 672
ENTRY_AT, CS_AT = 648, 656
MEMORY_AT: Final = 704
RECORD_BYTES: Final = MEMORY_AT + WINDOW_BYTES + EDGE_BYTES
NO_EXCEPTION: Final = 0xFF

FXSAVE_MXCSR: Final = 24
FXSAVE_ST: Final = 32
FXSAVE_XMM: Final = 160

REGISTER_NAMES: Final = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)


class Region(NamedTuple):
    """What a run shares with whoever runs it, in this order in one file: name, address, size."""

    name: str
    address: int
    size: int


REGIONS: Final = (
    Region("code", CODE, SLOTS * SLOT_BYTES),
    Region("records", RECORDS, SLOTS * RECORD_BYTES),
    Region("results", RESULTS, SLOTS * RECORD_BYTES),
    Region("data", DATA, DATA_BYTES),
    Region("constants", CONSTANTS, PAGE),
)
REGIONS_BYTES: Final = sum(region.size for region in REGIONS)


def slot(index: int) -> int:
    """The address of a case's code."""
    return CODE + (1 + index) * SLOT_BYTES


def field(record: bytes, at: int) -> int:
    """A number of 8 bytes in a record."""
    value: int = struct.unpack_from("<Q", record, at)[0]
    return value
