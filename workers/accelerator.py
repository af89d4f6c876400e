"""What an accelerator's vCPU side offers: the Protocol that `workers.<accelerator>.vcpu.Vcpu` fulfils.

A worker process drives one of them, `mpvm.kvm` in one process drives several, each in its own thread. The
module also has `VERSION`, what the accelerator is, in a few words.
"""

from typing import Protocol

from workers.symbols import Symbols


class Accelerator(Protocol):
    """One vCPU over the VM block and the RAM block; made with their addresses, its index and the doorbell."""

    def reset(self, *, load_state: bool) -> None:
        """Power-on reset; the boot processor then takes over the control block's guest state if asked."""
        ...

    def run(self) -> int:
        """Run until the next exit; its `ExitReason`. What it is about is in the control block."""
        ...

    def kick(self) -> None:
        """From another thread: make `run` look at the vCPU's requests and its inbox."""
        ...

    def save_state(self) -> None:
        """Write all architectural registers to the control block. Between two instructions only."""
        ...

    def leave_firmware(self) -> None:
        """After a reset: the local APIC as firmware leaves it, a secondary CPU's MSRs as told."""
        ...

    def load_state(self) -> None:
        """Take over all architectural registers from the control block. Between two instructions only."""
        ...

    def apply_controls(self) -> None:
        """Take over the execution, exit and entry controls of the control block, which the owner has written.

        What `mpvm.abi.entry_checks` finds wrong with them or with the guest state, here and in `load_state`,
        and what the accelerator can't do exactly, makes the next `run` a FAIL_ENTRY exit: `error` says why.
        """
        ...

    def log(self, fd: int, mask: int) -> None:
        """Log the categories in `mask` (`mpvm.abi.log.LogItem`) to `fd`, which appends.

        Raises `StartError` for one that it can't see.
        """
        ...

    def write_perf_map(self, fd: int, symbols: Symbols) -> None:
        """Name translated code in the file `fd` (`workers.perf_map`)."""
        ...

    def error(self) -> str:
        """What an INTERNAL_ERROR or FAIL_ENTRY exit was about."""
        ...

    def close(self) -> None:
        """Free it."""
        ...
