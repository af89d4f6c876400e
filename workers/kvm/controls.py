"""Which controls KVM's user space interface can enforce (docs/control-block.md has the same table).

The rest is refused with the reason: a control that is set and does nothing would be worse.
"""

from enum import IntFlag
from typing import Final, NamedTuple

from mpvm.abi.control_bits import (
    EventType,
    InterruptionInformation,
    PinBased,
    ProcessorBased,
    Secondary,
    Unconditional,
)
from mpvm.abi.control_block import IO_BITMAP_BYTES, ControlBlock, ExecutionControls
from mpvm.abi.layout import IO_PORTS

_PB: Final = ProcessorBased
#: HLT is an exit anyway, ports are served by the worker, single step is KVM_SET_GUEST_DEBUG, the window is
#: `request_interrupt_window`, MSRs have KVM_X86_SET_MSR_FILTER, the TSC KVM_VCPU_TSC_OFFSET where the host
#: keeps it.
ENFORCED: Final = (
    _PB.HLT_EXITING
    | _PB.UNCONDITIONAL_IO_EXITING
    | _PB.USE_IO_BITMAPS
    | _PB.MONITOR_TRAP_FLAG
    | _PB.INTERRUPT_WINDOW_EXITING
    | _PB.USE_MSR_BITMAPS
    | _PB.USE_TSC_OFFSETTING
    | _PB.ACTIVATE_SECONDARY_CONTROLS
)
_SERVED: Final = "KVM serves it in the kernel"
_DELIVERED: Final = "KVM delivers it without an exit"
#: Field, bit, why it can't be had.
REFUSED: Final[tuple[tuple[str, IntFlag, str], ...]] = (
    ("pin_based", PinBased.EXTERNAL_INTERRUPT_EXITING, "interrupts are the worker's to inject, none exits"),
    ("pin_based", PinBased.NMI_EXITING, _DELIVERED),
    ("pin_based", PinBased.PREEMPTION_TIMER, "KVM keeps it for itself"),
    ("processor_based", _PB.NMI_WINDOW_EXITING, "KVM does not tell of it"),
    *(("processor_based", bit, _SERVED) for bit in _PB if not bit & (ENFORCED | _PB.NMI_WINDOW_EXITING)),
    *(("secondary", bit, _SERVED) for bit in Secondary if bit is not Secondary.RDTSCP),
    *(("unconditional", bit, _SERVED) for bit in Unconditional),
)
MASKS: Final = (
    ("exception_bitmap", _DELIVERED),
    ("page_fault_error_code_mask", _DELIVERED),
    ("page_fault_error_code_match", _DELIVERED),
    ("cr0_guest_host_mask", _SERVED),
    ("cr4_guest_host_mask", _SERVED),
)


class Controls(NamedTuple):
    """What is enforced now. `ports`: None, or a bit for each port whose accesses exit to the owner.

    `msrs`: None, or the MSR bitmap.
    """

    hlt: bool = False
    step: bool = False
    window: bool = False
    ports: bytes | None = None
    msrs: bytes | None = None
    tsc_offset: int = 0

    def exits(self, port: int, size: int) -> bool:
        """Whether an access to `size` ports from `port` on does (SDM vol. 3, 25.1.3)."""
        ports = self.ports
        return ports is not None and any(
            ports[(number & IO_PORTS - 1) >> 3] >> (number & 7) & 1 for number in range(port, port + size)
        )


_ALL_PORTS: Final = b"\xff" * IO_BITMAP_BYTES


SOFTWARE_EVENTS: Final = (
    EventType.SOFTWARE_INTERRUPT,
    EventType.PRIVILEGED_SOFTWARE_EXCEPTION,
    EventType.SOFTWARE_EXCEPTION,
)


def refused(control: ControlBlock) -> str | None:
    """The first control that is set and can't be enforced, and why, in one line."""
    execution, information = control.execution, control.entry.interruption_information
    for field, bit, why in REFUSED:
        if field == "secondary" and not execution.processor_based & _PB.ACTIVATE_SECONDARY_CONTROLS:
            continue
        if getattr(execution, field) & bit:
            return f"accelerator kvm has no {bit.name}: {why}"
    if information & InterruptionInformation.VALID and information >> 8 & 7 in SOFTWARE_EVENTS:
        name = EventType(information >> 8 & 7).name
        return f"accelerator kvm injects no {name}: KVM_SET_VCPU_EVENTS has no instruction length"
    for field, why in MASKS:
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
    return Controls(
        hlt=bool(bits & _PB.HLT_EXITING),
        step=bool(bits & _PB.MONITOR_TRAP_FLAG),
        window=bool(bits & _PB.INTERRUPT_WINDOW_EXITING),
        ports=ports,
        msrs=bytes(execution.msr_bitmap) if bits & _PB.USE_MSR_BITMAPS else None,
        tsc_offset=execution.tsc_offset if bits & _PB.USE_TSC_OFFSETTING else 0,
    )
