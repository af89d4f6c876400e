"""Layouts of the KVM interface (linux/kvm.h, asm/kvm.h): `kvm_regs` is `Regs`, fields have their own names.

A structure that ends in an array of any length has no such field here; `with_entries` makes one with it.
"""

import ctypes
from functools import cache
from typing import Any

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
s32 = ctypes.c_int32


class UserspaceMemoryRegion(ctypes.Structure):
    """KVM_SET_USER_MEMORY_REGION; sizes in bytes."""

    _fields_ = [
        ("slot", u32),
        ("flags", u32),
        ("guest_phys_addr", u64),
        ("memory_size", u64),
        ("userspace_addr", u64),
    ]


class DirtyLog(ctypes.Structure):
    """KVM_GET_DIRTY_LOG."""

    _fields_ = [("slot", u32), ("padding1", u32), ("dirty_bitmap", u64)]


class ClearDirtyLog(ctypes.Structure):
    """KVM_CLEAR_DIRTY_LOG."""

    _fields_ = [("slot", u32), ("num_pages", u32), ("first_page", u64), ("dirty_bitmap", u64)]


class IrqLevel(ctypes.Structure):
    """KVM_IRQ_LINE."""

    _fields_ = [("irq", u32), ("level", u32)]


class CoalescedMmioZone(ctypes.Structure):
    """KVM_REGISTER_COALESCED_MMIO; `pio`: the addresses are ports."""

    _fields_ = [("addr", u64), ("size", u32), ("pio", u32)]


class CoalescedMmio(ctypes.Structure):
    """A write in the coalesced ring."""

    _fields_ = [("phys_addr", u64), ("len", u32), ("pio", u32), ("data", u8 * 8)]


class CoalescedMmioRing(ctypes.Structure):
    """The coalesced ring's head, in its own page of a vCPU's mapping; `CoalescedMmio` follow."""

    _fields_ = [("first", u32), ("last", u32)]


class Ioeventfd(ctypes.Structure):
    """KVM_IOEVENTFD."""

    _fields_ = [
        ("datamatch", u64),
        ("addr", u64),
        ("len", u32),
        ("fd", s32),
        ("flags", u32),
        ("pad", u8 * 36),
    ]


class Irqfd(ctypes.Structure):
    """KVM_IRQFD."""

    _fields_ = [("fd", u32), ("gsi", u32), ("flags", u32), ("resamplefd", u32), ("pad", u8 * 16)]


class PitConfig(ctypes.Structure):
    """KVM_CREATE_PIT2."""

    _fields_ = [("flags", u32), ("pad", u32 * 15)]


class ClockData(ctypes.Structure):
    """KVM_GET_CLOCK, KVM_SET_CLOCK; ns."""

    _fields_ = [
        ("clock", u64),
        ("flags", u32),
        ("pad0", u32),
        ("realtime", u64),
        ("host_tsc", u64),
        ("pad", u32 * 4),
    ]


class Msi(ctypes.Structure):
    """KVM_SIGNAL_MSI."""

    _fields_ = [
        ("address_lo", u32),
        ("address_hi", u32),
        ("data", u32),
        ("flags", u32),
        ("devid", u32),
        ("pad", u8 * 12),
    ]


class CreateDevice(ctypes.Structure):
    """KVM_CREATE_DEVICE."""

    _fields_ = [("type", u32), ("fd", u32), ("flags", u32)]


class DeviceAttr(ctypes.Structure):
    """KVM_SET_DEVICE_ATTR; `addr` is where the value is in this process."""

    _fields_ = [("flags", u32), ("group", u32), ("attr", u64), ("addr", u64)]


class EnableCap(ctypes.Structure):
    """KVM_ENABLE_CAP."""

    _fields_ = [("cap", u32), ("flags", u32), ("args", u64 * 4), ("pad", u8 * 64)]


class MsrFilterRange(ctypes.Structure):
    """MSRs of a KVM_X86_SET_MSR_FILTER; a bit that is clear in `bitmap` denies."""

    _fields_ = [("flags", u32), ("nmsrs", u32), ("base", u32), ("bitmap", u64)]


class MsrFilter(ctypes.Structure):
    """KVM_X86_SET_MSR_FILTER."""

    _fields_ = [("flags", u32), ("ranges", MsrFilterRange * 16)]


class Regs(ctypes.Structure):
    """KVM_GET_REGS."""

    _fields_ = [
        ("rax", u64),
        ("rbx", u64),
        ("rcx", u64),
        ("rdx", u64),
        ("rsi", u64),
        ("rdi", u64),
        ("rsp", u64),
        ("rbp", u64),
        ("r8", u64),
        ("r9", u64),
        ("r10", u64),
        ("r11", u64),
        ("r12", u64),
        ("r13", u64),
        ("r14", u64),
        ("r15", u64),
        ("rip", u64),
        ("rflags", u64),
    ]


class Segment(ctypes.Structure):
    """A segment register with its hidden part."""

    _fields_ = [
        ("base", u64),
        ("limit", u32),
        ("selector", u16),
        ("type", u8),
        ("present", u8),
        ("dpl", u8),
        ("db", u8),
        ("s", u8),
        ("l", u8),
        ("g", u8),
        ("avl", u8),
        ("unusable", u8),
        ("padding", u8),
    ]


class Dtable(ctypes.Structure):
    """GDTR or IDTR."""

    _fields_ = [("base", u64), ("limit", u16), ("padding", u16 * 3)]


_SEGMENTS_AND_CONTROL: list[tuple[str, type[Any]]] = [
    ("cs", Segment),
    ("ds", Segment),
    ("es", Segment),
    ("fs", Segment),
    ("gs", Segment),
    ("ss", Segment),
    ("tr", Segment),
    ("ldt", Segment),
    ("gdt", Dtable),
    ("idt", Dtable),
    ("cr0", u64),
    ("cr2", u64),
    ("cr3", u64),
    ("cr4", u64),
    ("cr8", u64),
    ("efer", u64),
    ("apic_base", u64),
]


class Sregs(ctypes.Structure):
    """KVM_GET_SREGS; `interrupt_bitmap` has the vector that KVM_INTERRUPT has left and no entry has taken."""

    _fields_ = [*_SEGMENTS_AND_CONTROL, ("interrupt_bitmap", u64 * 4)]


class Sregs2(ctypes.Structure):
    """KVM_GET_SREGS2."""

    _fields_ = [*_SEGMENTS_AND_CONTROL, ("flags", u64), ("pdptrs", u64 * 4)]


class Fpu(ctypes.Structure):
    """KVM_GET_FPU."""

    _fields_ = [
        ("fpr", u8 * 16 * 8),
        ("fcw", u16),
        ("fsw", u16),
        ("ftwx", u8),
        ("pad1", u8),
        ("last_opcode", u16),
        ("last_ip", u64),
        ("last_dp", u64),
        ("xmm", u8 * 16 * 16),
        ("mxcsr", u32),
        ("pad2", u32),
    ]


class Xsave(ctypes.Structure):
    """KVM_GET_XSAVE: the XSAVE area in standard format."""

    _fields_ = [("region", u32 * 1024)]


class Xcr(ctypes.Structure):
    """An extended control register."""

    _fields_ = [("xcr", u32), ("reserved", u32), ("value", u64)]


class Xcrs(ctypes.Structure):
    """KVM_GET_XCRS."""

    _fields_ = [("nr_xcrs", u32), ("flags", u32), ("xcrs", Xcr * 16), ("padding", u64 * 16)]


class MsrEntry(ctypes.Structure):
    """An MSR and its value."""

    _fields_ = [("index", u32), ("reserved", u32), ("data", u64)]


class Msrs(ctypes.Structure):
    """KVM_GET_MSRS; `MsrEntry` follow."""

    _fields_ = [("nmsrs", u32), ("pad", u32)]


class MsrList(ctypes.Structure):
    """KVM_GET_MSR_INDEX_LIST; numbers of 32 bits follow."""

    _fields_ = [("nmsrs", u32)]


class CpuidEntry2(ctypes.Structure):
    """A leaf of CPUID; `flags` as `constants.CpuidFlag`."""

    _fields_ = [
        ("function", u32),
        ("index", u32),
        ("flags", u32),
        ("eax", u32),
        ("ebx", u32),
        ("ecx", u32),
        ("edx", u32),
        ("padding", u32 * 3),
    ]


class Cpuid2(ctypes.Structure):
    """KVM_SET_CPUID2; `CpuidEntry2` follow."""

    _fields_ = [("nent", u32), ("padding", u32)]


class LapicState(ctypes.Structure):
    """KVM_GET_LAPIC: the register page's first quarter."""

    _fields_ = [("regs", u8 * 0x400)]


class Translation(ctypes.Structure):
    """KVM_TRANSLATE."""

    _fields_ = [
        ("linear_address", u64),
        ("physical_address", u64),
        ("valid", u8),
        ("writeable", u8),
        ("usermode", u8),
        ("pad", u8 * 5),
    ]


class Interrupt(ctypes.Structure):
    """KVM_INTERRUPT; `irq` is the vector."""

    _fields_ = [("irq", u32)]


class SignalMask(ctypes.Structure):
    """KVM_SET_SIGNAL_MASK; `len` bytes of a sigset follow, which the kernel wants to be 8."""

    _fields_ = [("len", u32)]


class MpState(ctypes.Structure):
    """KVM_GET_MP_STATE."""

    _fields_ = [("mp_state", u32)]


class GuestDebugArch(ctypes.Structure):
    """DR0 to DR3 and DR7 for KVM_GUESTDBG_USE_HW_BP."""

    _fields_ = [("debugreg", u64 * 8)]


class GuestDebug(ctypes.Structure):
    """KVM_SET_GUEST_DEBUG."""

    _fields_ = [("control", u32), ("pad", u32), ("arch", GuestDebugArch)]


class DebugExitArch(ctypes.Structure):
    """What a KVM_EXIT_DEBUG is about."""

    _fields_ = [("exception", u32), ("pad", u32), ("pc", u64), ("dr6", u64), ("dr7", u64)]


class _EventException(ctypes.Structure):
    _fields_ = [("injected", u8), ("nr", u8), ("has_error_code", u8), ("pending", u8), ("error_code", u32)]


class _EventInterrupt(ctypes.Structure):
    _fields_ = [("injected", u8), ("nr", u8), ("soft", u8), ("shadow", u8)]


class _EventNmi(ctypes.Structure):
    _fields_ = [("injected", u8), ("pending", u8), ("masked", u8), ("pad", u8)]


class _EventSmi(ctypes.Structure):
    _fields_ = [("smm", u8), ("pending", u8), ("smm_inside_nmi", u8), ("latched_init", u8)]


class _EventTripleFault(ctypes.Structure):
    _fields_ = [("pending", u8)]


class VcpuEvents(ctypes.Structure):
    """KVM_GET_VCPU_EVENTS."""

    _fields_ = [
        ("exception", _EventException),
        ("interrupt", _EventInterrupt),
        ("nmi", _EventNmi),
        ("sipi_vector", u32),
        ("flags", u32),
        ("smi", _EventSmi),
        ("triple_fault", _EventTripleFault),
        ("reserved", u8 * 26),
        ("exception_has_payload", u8),
        ("exception_payload", u64),
    ]


class Debugregs(ctypes.Structure):
    """KVM_GET_DEBUGREGS."""

    _fields_ = [("db", u64 * 4), ("dr6", u64), ("dr7", u64), ("flags", u64), ("reserved", u64 * 9)]


class SyncRegs(ctypes.Structure):
    """KVM_CAP_SYNC_REGS: registers in `Run`."""

    _fields_ = [("regs", Regs), ("sregs", Sregs), ("events", VcpuEvents)]


class _RunHw(ctypes.Structure):
    _fields_ = [("hardware_exit_reason", u64)]


class _RunFailEntry(ctypes.Structure):
    _fields_ = [("hardware_entry_failure_reason", u64), ("cpu", u32)]


class _RunException(ctypes.Structure):
    _fields_ = [("exception", u32), ("error_code", u32)]


class _RunIo(ctypes.Structure):
    _fields_ = [("direction", u8), ("size", u8), ("port", u16), ("count", u32), ("data_offset", u64)]


class _RunDebug(ctypes.Structure):
    _fields_ = [("arch", DebugExitArch)]


class RunMmio(ctypes.Structure):
    """What a KVM_EXIT_MMIO is about."""

    _fields_ = [("phys_addr", u64), ("data", u8 * 8), ("len", u32), ("is_write", u8)]


class _RunHypercall(ctypes.Structure):
    _fields_ = [("nr", u64), ("args", u64 * 6), ("ret", u64), ("longmode", u32), ("pad", u32)]


class _RunInternal(ctypes.Structure):
    _fields_ = [("suberror", u32), ("ndata", u32), ("data", u64 * 16)]


class _RunSystemEvent(ctypes.Structure):
    _fields_ = [("type", u32), ("ndata", u32), ("data", u64 * 16)]


class _RunEoi(ctypes.Structure):
    _fields_ = [("vector", u8)]


class _RunMsr(ctypes.Structure):
    _fields_ = [("error", u8), ("pad", u8 * 7), ("reason", u32), ("index", u32), ("data", u64)]


class _RunExit(ctypes.Union):
    _fields_ = [
        ("hw", _RunHw),
        ("fail_entry", _RunFailEntry),
        ("ex", _RunException),
        ("io", _RunIo),
        ("debug", _RunDebug),
        ("mmio", RunMmio),
        ("hypercall", _RunHypercall),
        ("internal", _RunInternal),
        ("system_event", _RunSystemEvent),
        ("eoi", _RunEoi),
        ("msr", _RunMsr),
        ("padding", u8 * 256),
    ]


class _RunSync(ctypes.Union):
    _fields_ = [("regs", SyncRegs), ("padding", u8 * 2048)]


class Run(ctypes.Structure):
    """`struct kvm_run`, at the start of a vCPU's mapping."""

    _anonymous_ = ("exit",)
    _fields_ = [
        ("request_interrupt_window", u8),
        ("immediate_exit", u8),
        ("padding1", u8 * 6),
        ("exit_reason", u32),
        ("ready_for_interrupt_injection", u8),
        ("if_flag", u8),
        ("flags", u16),
        ("cr8", u64),
        ("apic_base", u64),
        ("exit", _RunExit),
        ("kvm_valid_regs", u64),
        ("kvm_dirty_regs", u64),
        ("s", _RunSync),
    ]


@cache
def with_entries(head: type[ctypes.Structure], entry: Any, count: int) -> type[Any]:
    """`head` with an array `entries` of `count` after it."""
    fields = [("head", head), ("entries", entry * count)]
    return type(
        f"{head.__name__}WithEntries", (ctypes.Structure,), {"_fields_": fields, "_anonymous_": ("head",)}
    )
