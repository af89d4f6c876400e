"""What the engine can't do exactly: an entry that asks for it fails, and says why (docs/control-block.md)."""

from collections.abc import Callable
from typing import Final

from mpvm.abi.control_block import ControlBlock

# control_registers.c: what a guest's own MOV to CR4 may set.
_CR4_VALID: Final = 0x1751FFF

#: What it is, why not, and whether the control block asks for it.
UNSUPPORTED: Final[tuple[tuple[str, str, Callable[[ControlBlock], bool]], ...]] = (
    (
        "CR4",
        "the engine has no PCID, SMX, VMX and CET",
        lambda control: bool(control.guest.cr4 & ~_CR4_VALID),
    ),
)


def unsupported(control: ControlBlock) -> str | None:
    """What `control` asks for and the engine can't do, in one line."""
    for name, why, asked in UNSUPPORTED:
        if asked(control):
            return f"{name}: {why}"
    return None
