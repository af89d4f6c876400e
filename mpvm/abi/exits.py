"""Exit reasons, KVM's names and numbers (linux/kvm.h, KVM_EXIT_*; Documentation/virt/kvm/api.rst 5)."""

from enum import IntEnum


class ExitReason(IntEnum):
    """Why `run()` came back. The C core has the same numbers from the generated header."""

    UNKNOWN = 0
    EXCEPTION = 1
    IO = 2
    HYPERCALL = 3
    DEBUG = 4
    HLT = 5
    MMIO = 6
    IRQ_WINDOW_OPEN = 7
    SHUTDOWN = 8
    FAIL_ENTRY = 9
    INTR = 10
    SET_TPR = 11
    NMI = 16
    INTERNAL_ERROR = 17
    SYSTEM_EVENT = 24
    IOAPIC_EOI = 26
    X86_RDMSR = 29
    X86_WRMSR = 30


class IoDirection(IntEnum):
    """Direction of a port or memory access, as KVM_EXIT_IO_IN and KVM_EXIT_IO_OUT."""

    IN = 0
    OUT = 1


class ExtInt(IntEnum):
    """The answer to IRQ_WINDOW_OPEN: VALID and the vector in the low byte, or 0 when none is due any more."""

    VALID = 0x100
