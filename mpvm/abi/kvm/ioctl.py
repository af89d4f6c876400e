"""Numbers of KVM's ioctls (linux/kvm.h): direction, number and argument's size (asm-generic/ioctl.h)."""

import ctypes
from enum import IntEnum, unique
from typing import Any, Final

from mpvm.abi.kvm import structs

_KVMIO: Final = 0xAE
_WRITE, _READ = 1, 2
_u64 = ctypes.c_uint64


def _ioc(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | _KVMIO << 8 | number


def _io(number: int) -> int:
    return _ioc(0, number, 0)


def _ior(number: int, argument: type[Any]) -> int:
    return _ioc(_READ, number, ctypes.sizeof(argument))


def _iow(number: int, argument: type[Any]) -> int:
    return _ioc(_WRITE, number, ctypes.sizeof(argument))


def _iowr(number: int, argument: type[Any]) -> int:
    return _ioc(_READ | _WRITE, number, ctypes.sizeof(argument))


@unique
class Ioctl(IntEnum):
    """KVM_<name>: of the system, of a VM, of a vCPU."""

    GET_API_VERSION = _io(0x00)
    CREATE_VM = _io(0x01)
    GET_MSR_INDEX_LIST = _iowr(0x02, structs.MsrList)
    CHECK_EXTENSION = _io(0x03)
    GET_VCPU_MMAP_SIZE = _io(0x04)
    GET_SUPPORTED_CPUID = _iowr(0x05, structs.Cpuid2)
    GET_EMULATED_CPUID = _iowr(0x09, structs.Cpuid2)
    GET_MSR_FEATURE_INDEX_LIST = _iowr(0x0A, structs.MsrList)

    CREATE_VCPU = _io(0x41)
    GET_DIRTY_LOG = _iow(0x42, structs.DirtyLog)
    SET_USER_MEMORY_REGION = _iow(0x46, structs.UserspaceMemoryRegion)
    SET_TSS_ADDR = _io(0x47)
    SET_IDENTITY_MAP_ADDR = _iow(0x48, _u64)
    CREATE_IRQCHIP = _io(0x60)
    IRQ_LINE = _iow(0x61, structs.IrqLevel)
    REGISTER_COALESCED_MMIO = _iow(0x67, structs.CoalescedMmioZone)
    UNREGISTER_COALESCED_MMIO = _iow(0x68, structs.CoalescedMmioZone)
    IRQFD = _iow(0x76, structs.Irqfd)
    CREATE_PIT2 = _iow(0x77, structs.PitConfig)
    IOEVENTFD = _iow(0x79, structs.Ioeventfd)
    SET_CLOCK = _iow(0x7B, structs.ClockData)
    GET_CLOCK = _ior(0x7C, structs.ClockData)
    SIGNAL_MSI = _iow(0xA5, structs.Msi)
    X86_SET_MSR_FILTER = _iow(0xC6, structs.MsrFilter)
    CLEAR_DIRTY_LOG = _iowr(0xC0, structs.ClearDirtyLog)
    CREATE_DEVICE = _iowr(0xE0, structs.CreateDevice)
    SET_DEVICE_ATTR = _iow(0xE1, structs.DeviceAttr)
    GET_DEVICE_ATTR = _iow(0xE2, structs.DeviceAttr)
    HAS_DEVICE_ATTR = _iow(0xE3, structs.DeviceAttr)

    RUN = _io(0x80)
    GET_REGS = _ior(0x81, structs.Regs)
    SET_REGS = _iow(0x82, structs.Regs)
    GET_SREGS = _ior(0x83, structs.Sregs)
    SET_SREGS = _iow(0x84, structs.Sregs)
    TRANSLATE = _iowr(0x85, structs.Translation)
    INTERRUPT = _iow(0x86, structs.Interrupt)
    GET_MSRS = _iowr(0x88, structs.Msrs)
    SET_MSRS = _iow(0x89, structs.Msrs)
    SET_SIGNAL_MASK = _iow(0x8B, structs.SignalMask)
    GET_FPU = _ior(0x8C, structs.Fpu)
    SET_FPU = _iow(0x8D, structs.Fpu)
    GET_LAPIC = _ior(0x8E, structs.LapicState)
    SET_LAPIC = _iow(0x8F, structs.LapicState)
    SET_CPUID2 = _iow(0x90, structs.Cpuid2)
    GET_CPUID2 = _iowr(0x91, structs.Cpuid2)
    GET_MP_STATE = _ior(0x98, structs.MpState)
    SET_MP_STATE = _iow(0x99, structs.MpState)
    NMI = _io(0x9A)
    SET_GUEST_DEBUG = _iow(0x9B, structs.GuestDebug)
    X86_SETUP_MCE = _iow(0x9C, _u64)
    X86_GET_MCE_CAP_SUPPORTED = _ior(0x9D, _u64)
    GET_VCPU_EVENTS = _ior(0x9F, structs.VcpuEvents)
    SET_VCPU_EVENTS = _iow(0xA0, structs.VcpuEvents)
    GET_DEBUGREGS = _ior(0xA1, structs.Debugregs)
    SET_DEBUGREGS = _iow(0xA2, structs.Debugregs)
    SET_TSC_KHZ = _io(0xA2)
    GET_TSC_KHZ = _io(0xA3)
    ENABLE_CAP = _iow(0xA3, structs.EnableCap)
    GET_XSAVE = _ior(0xA4, structs.Xsave)
    SET_XSAVE = _iow(0xA5, structs.Xsave)
    GET_XCRS = _ior(0xA6, structs.Xcrs)
    SET_XCRS = _iow(0xA7, structs.Xcrs)
    KVMCLOCK_CTRL = _io(0xAD)
    SMI = _io(0xB7)
    GET_SREGS2 = _ior(0xCC, structs.Sregs2)
    SET_SREGS2 = _iow(0xCD, structs.Sregs2)
