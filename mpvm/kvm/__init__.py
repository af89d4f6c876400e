"""KVM's three-level interface in Python, on the kernel's KVM and on this project's own accelerators.

A *system* handle makes VMs, a *VM* handle has memory slots and makes vCPUs, a *vCPU* handle has registers and
`run`. Names, structures and errors are those of Documentation/virt/kvm/api.rst, without the prefix KVM;
docs/kvm-api.md has the table. Every error is an `OSError` with KVM's errno.
"""

from typing import Final, Literal

from mpvm.abi.errors import ConfigError
from mpvm.abi.exits import ExitReason
from mpvm.abi.kvm import structs
from mpvm.abi.kvm.constants import API_VERSION, Cap, GuestDebug, IoeventfdFlag, MemFlag, MpState
from mpvm.kvm import kernel, system

__all__ = [
    "ACCELERATORS",
    "API_VERSION",
    "Cap",
    "ExitReason",
    "GuestDebug",
    "IoeventfdFlag",
    "MemFlag",
    "MpState",
    "open",
    "structs",
]

ACCELERATORS: Final = ("unicorn", "kvm")


def open(  # noqa: A001 - as the open of /dev/kvm
    accel: Literal["unicorn", "kvm"] = "unicorn", *, processes: bool = False
) -> "kernel.System | system.System":
    """The system handle of an accelerator.

    `kvm` is the kernel's own, by `/dev/kvm`; `OSError` as open(2). With `unicorn` each vCPU runs in the
    thread that calls its `run` or, with `processes`, in a worker process of its own, as under `mpvm run`:
    the memory of such a VM's slots comes from `allocate_memory`.
    """
    if accel == "kvm":
        if processes:
            raise ConfigError("accelerator kvm: its VM has one process; processes=False is right")
        return kernel.System.open()
    if accel != "unicorn":
        raise ConfigError(f"accelerator {accel!r}: {' or '.join(ACCELERATORS)} is right")
    return system.System(processes=processes)
