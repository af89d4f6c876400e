"""Capabilities, flags and states of the KVM interface (linux/kvm.h, asm/kvm.h)."""

from enum import IntEnum, IntFlag
from typing import Final

API_VERSION: Final = 12
#: Pages of the mapping of a vCPU: `kvm_run`, the data of port I/O, the coalesced ring.
PIO_PAGE_OFFSET: Final = 1
COALESCED_MMIO_PAGE_OFFSET: Final = 2
MSR_FILTER_MAX_BITMAP_SIZE: Final = 0x600
MSR_FILTER_DEFAULT_DENY: Final = 1
SREGS2_FLAGS_PDPTRS_VALID: Final = 1
#: The TSC's offset as an attribute of a vCPU.
VCPU_TSC_CTRL: Final = 0
VCPU_TSC_OFFSET: Final = 0


class Cap(IntEnum):
    """KVM_CAP_<name>, the argument of KVM_CHECK_EXTENSION."""

    IRQCHIP = 0
    HLT = 1
    USER_MEMORY = 3
    SET_TSS_ADDR = 4
    EXT_CPUID = 7
    NR_VCPUS = 9
    NR_MEMSLOTS = 10
    MP_STATE = 14
    COALESCED_MMIO = 15
    SYNC_MMU = 16
    DESTROY_MEMORY_REGION_WORKS = 21
    USER_NMI = 22
    SET_GUEST_DEBUG = 23
    IRQ_ROUTING = 25
    JOIN_MEMORY_REGIONS_WORKS = 30
    MCE = 31
    IRQFD = 32
    PIT2 = 33
    IOEVENTFD = 36
    SET_IDENTITY_MAP_ADDR = 37
    ADJUST_CLOCK = 39
    INTERNAL_ERROR_DATA = 40
    VCPU_EVENTS = 41
    DEBUGREGS = 50
    X86_ROBUST_SINGLESTEP = 51
    ENABLE_CAP = 54
    XSAVE = 55
    XCRS = 56
    TSC_CONTROL = 60
    GET_TSC_KHZ = 61
    MAX_VCPUS = 66
    TSC_DEADLINE_TIMER = 72
    SYNC_REGS = 74
    KVMCLOCK_CTRL = 76
    SIGNAL_MSI = 77
    READONLY_MEM = 81
    DEVICE_CTRL = 89
    EXT_EMUL_CPUID = 95
    ENABLE_CAP_VM = 98
    IOEVENTFD_NO_LENGTH = 100
    CHECK_EXTENSION_VM = 105
    DISABLE_QUIRKS = 116
    X86_SMM = 117
    SPLIT_IRQCHIP = 121
    IOEVENTFD_ANY_LENGTH = 122
    VCPU_ATTRIBUTES = 127
    MAX_VCPU_ID = 128
    X2APIC_API = 129
    IMMEDIATE_EXIT = 136
    X86_DISABLE_EXITS = 143
    GET_MSR_FEATURES = 153
    COALESCED_PIO = 162
    EXCEPTION_PAYLOAD = 164
    MANUAL_DIRTY_LOG_PROTECT2 = 168
    STEAL_TIME = 187
    X86_USER_SPACE_MSR = 188
    X86_MSR_FILTER = 189
    SET_GUEST_DEBUG2 = 195
    SREGS2 = 200
    EXIT_ON_EMULATION_FAILURE = 204
    XSAVE2 = 208
    DISABLE_QUIRKS2 = 213
    X86_TRIPLE_FAULT_EVENT = 218


class MemFlag(IntFlag):
    """KVM_MEM_<name>, of a memory slot."""

    LOG_DIRTY_PAGES = 1 << 0
    READONLY = 1 << 1


class MpState(IntEnum):
    """KVM_MP_STATE_<name>."""

    RUNNABLE = 0
    UNINITIALIZED = 1
    INIT_RECEIVED = 2
    HALTED = 3
    SIPI_RECEIVED = 4
    STOPPED = 5


class VcpuEventValid(IntFlag):
    """KVM_VCPUEVENT_VALID_<name>: which fields KVM_SET_VCPU_EVENTS takes."""

    NMI_PENDING = 0x01
    SIPI_VECTOR = 0x02
    SHADOW = 0x04
    SMM = 0x08
    PAYLOAD = 0x10
    TRIPLE_FAULT = 0x20


class Shadow(IntFlag):
    """KVM_X86_SHADOW_<name>: why interrupts are held back for an instruction."""

    INT_MOV_SS = 1
    INT_STI = 2


class GuestDebug(IntFlag):
    """KVM_GUESTDBG_<name>."""

    ENABLE = 1
    SINGLESTEP = 2
    USE_SW_BP = 0x10000
    USE_HW_BP = 0x20000
    INJECT_DB = 0x40000
    INJECT_BP = 0x80000
    BLOCKIRQ = 0x100000


class MsrExitReason(IntFlag):
    """KVM_MSR_EXIT_REASON_<name>: which accesses exit, and why one did."""

    INVAL = 1
    UNKNOWN = 2
    FILTER = 4


class MsrFilter(IntFlag):
    """KVM_MSR_FILTER_<name>."""

    READ = 1
    WRITE = 2


class IoeventfdFlag(IntFlag):
    """KVM_IOEVENTFD_FLAG_<name>."""

    DATAMATCH = 1
    PIO = 2
    DEASSIGN = 4


class CpuidFlag(IntFlag):
    """KVM_CPUID_FLAG_<name>; the spelling is the header's."""

    SIGNIFCANT_INDEX = 1
    STATEFUL_FUNC = 2
    STATE_READ_NEXT = 4
