"""Exit reasons: KVM's names and numbers, and the SDM's for what KVM serves inside the kernel.

Below 64: linux/kvm.h, KVM_EXIT_*; Documentation/virt/kvm/api.rst, 5. From 64 on: 64 and the SDM's basic exit
reason (vol. 3, appendix C), for events that exit when an execution control says so.
"""

from enum import IntEnum
from typing import Final

VMX_EXIT: Final = 64


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
    EXTERNAL_INTERRUPT = VMX_EXIT + 1
    NMI_WINDOW = VMX_EXIT + 8
    TASK_SWITCH = VMX_EXIT + 9
    CPUID = VMX_EXIT + 10
    INVD = VMX_EXIT + 13
    INVLPG = VMX_EXIT + 14
    RDPMC = VMX_EXIT + 15
    RDTSC = VMX_EXIT + 16
    CR_ACCESS = VMX_EXIT + 28
    DR_ACCESS = VMX_EXIT + 29
    MWAIT = VMX_EXIT + 36
    MONITOR_TRAP_FLAG = VMX_EXIT + 37
    MONITOR = VMX_EXIT + 39
    PAUSE = VMX_EXIT + 40
    GDTR_IDTR = VMX_EXIT + 46
    LDTR_TR = VMX_EXIT + 47
    RDTSCP = VMX_EXIT + 51
    PREEMPTION_TIMER = VMX_EXIT + 52
    WBINVD = VMX_EXIT + 54
    XSETBV = VMX_EXIT + 55
    RDRAND = VMX_EXIT + 57
    INVPCID = VMX_EXIT + 58


class IoDirection(IntEnum):
    """Direction of a port or memory access, as KVM_EXIT_IO_IN and KVM_EXIT_IO_OUT."""

    IN = 0
    OUT = 1


class ExtInt(IntEnum):
    """The answer to IRQ_WINDOW_OPEN: VALID and the vector in the low byte, or 0 when none is due any more."""

    VALID = 0x100
