"""Which execution controls KVM's user space interface can enforce (docs/kvm.md).

The rest is refused with the reason: a control that is set and does nothing would be worse.
"""

from enum import IntFlag
from typing import Final, NamedTuple

from mpvm.abi.control_bits import PinBased, ProcessorBased, Secondary, Unconditional
from mpvm.abi.control_block import IO_BITMAP_BYTES, ExecutionControls
from mpvm.abi.layout import IO_PORTS

_PB: Final = ProcessorBased
#: HLT is an exit anyway, ports are served by the worker, single step is KVM_SET_GUEST_DEBUG.
_ENFORCED: Final = (
    _PB.HLT_EXITING
    | _PB.UNCONDITIONAL_IO_EXITING
    | _PB.USE_IO_BITMAPS
    | _PB.MONITOR_TRAP_FLAG
    | _PB.ACTIVATE_SECONDARY_CONTROLS
)
_SERVED: Final = "KVM serves it in the kernel"
_DELIVERED: Final = "KVM delivers it without an exit"
#: Field, bit, why it can't be had.
_REFUSED: Final[tuple[tuple[str, IntFlag, str], ...]] = (
    ("pin_based", PinBased.EXTERNAL_INTERRUPT_EXITING, "interrupts are the worker's to inject, none exits"),
    ("pin_based", PinBased.NMI_EXITING, _DELIVERED),
    ("pin_based", PinBased.PREEMPTION_TIMER, "KVM keeps it for itself"),
    ("processor_based", _PB.INTERRUPT_WINDOW_EXITING, "the worker needs the window itself"),
    ("processor_based", _PB.NMI_WINDOW_EXITING, "KVM does not tell of it"),
    ("processor_based", _PB.USE_TSC_OFFSETTING, "the TSC's offset is the VM's"),
    ("processor_based", _PB.USE_MSR_BITMAPS, "KVM's MSR filter is the worker's"),
    *(
        ("processor_based", bit, _SERVED)
        for bit in _PB
        if not bit & (_ENFORCED | _PB.INTERRUPT_WINDOW_EXITING | _PB.NMI_WINDOW_EXITING)
        and bit not in (_PB.USE_TSC_OFFSETTING, _PB.USE_MSR_BITMAPS)
    ),
    *(("secondary", bit, _SERVED) for bit in Secondary if bit is not Secondary.RDTSCP),
    *(("unconditional", bit, _SERVED) for bit in Unconditional),
)
_MASKS: Final = (
    ("exception_bitmap", _DELIVERED),
    ("page_fault_error_code_mask", _DELIVERED),
    ("page_fault_error_code_match", _DELIVERED),
    ("cr0_guest_host_mask", _SERVED),
    ("cr4_guest_host_mask", _SERVED),
)


class Controls(NamedTuple):
    """What is enforced now. `ports`: None, or a bit for each port whose accesses exit to the owner."""

    hlt: bool = False
    step: bool = False
    ports: bytes | None = None

    def exits(self, port: int, size: int) -> bool:
        """Whether an access to `size` ports from `port` on does (SDM vol. 3, 25.1.3)."""
        ports = self.ports
        return ports is not None and any(
            ports[(number & IO_PORTS - 1) >> 3] >> (number & 7) & 1 for number in range(port, port + size)
        )


_ALL_PORTS: Final = b"\xff" * IO_BITMAP_BYTES


def refused(execution: ExecutionControls) -> str | None:
    """The first control that is set and can't be enforced, and why, in one line."""
    for field, bit, why in _REFUSED:
        if getattr(execution, field) & bit:
            return f"accelerator kvm has no {bit.name}: {why}"
    for field, why in _MASKS:
        if getattr(execution, field):
            return f"accelerator kvm has no {field}: {why}"
    return None


def taken(execution: ExecutionControls) -> Controls:
    """What of them is enforced."""
    bits = execution.processor_based
    ports = None
    if bits & _PB.USE_IO_BITMAPS:
        ports = bytes(execution.io_bitmap)
    elif bits & _PB.UNCONDITIONAL_IO_EXITING:
        ports = _ALL_PORTS
    return Controls(bool(bits & _PB.HLT_EXITING), bool(bits & _PB.MONITOR_TRAP_FLAG), ports)
