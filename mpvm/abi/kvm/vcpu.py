"""The handle of a vCPU."""

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from mpvm.abi.kvm import structs
from mpvm.abi.kvm.constants import Cap
from mpvm.abi.kvm.handle import Handle
from mpvm.abi.kvm.ioctl import Ioctl

_SIGSET_BYTES = 8
_Argument = TypeVar("_Argument", bound=ctypes.Structure)


class Vcpu(Handle):
    """Registers, events and `run`. `kvm_run` is the shared structure, `mapping` all of the shared pages."""

    def __init__(self, fd: int, mmap_size: int) -> None:
        super().__init__(fd)
        try:
            self.mapping = mmap.mmap(fd, mmap_size)
        except OSError:
            os.close(fd)
            raise
        self.kvm_run = structs.Run.from_buffer(self.mapping)

    def close(self) -> None:
        """Unmap and close; a part of `kvm_run` that somebody still has keeps the mapping."""
        if self._fd >= 0:
            del self.kvm_run
            with contextlib.suppress(BufferError):
                self.mapping.close()
        super().close()

    def run(self) -> int:
        """Run guest code until an exit; its reason. `InterruptedError` when a signal came."""
        self.ioctl(Ioctl.RUN)
        return int(self.kvm_run.exit_reason)

    def get_regs(self) -> structs.Regs:
        """General registers, RIP, RFLAGS."""
        return self._get(Ioctl.GET_REGS, structs.Regs())

    def set_regs(self, regs: structs.Regs) -> None:
        """Set them."""
        self.ioctl(Ioctl.SET_REGS, regs)

    def get_sregs(self) -> structs.Sregs:
        """Segments, descriptor tables, control registers."""
        return self._get(Ioctl.GET_SREGS, structs.Sregs())

    def set_sregs(self, sregs: structs.Sregs) -> None:
        """Set them."""
        self.ioctl(Ioctl.SET_SREGS, sregs)

    def get_sregs2(self) -> structs.Sregs2:
        """The same with the PDPTEs that the CPU has loaded."""
        return self._get(Ioctl.GET_SREGS2, structs.Sregs2())

    def set_sregs2(self, sregs: structs.Sregs2) -> None:
        """Set them."""
        self.ioctl(Ioctl.SET_SREGS2, sregs)

    def get_fpu(self) -> structs.Fpu:
        """x87 and SSE."""
        return self._get(Ioctl.GET_FPU, structs.Fpu())

    def set_fpu(self, fpu: structs.Fpu) -> None:
        """Set them."""
        self.ioctl(Ioctl.SET_FPU, fpu)

    def get_xsave(self) -> structs.Xsave:
        """The XSAVE area."""
        return self._get(Ioctl.GET_XSAVE, structs.Xsave())

    def set_xsave(self, xsave: structs.Xsave) -> None:
        """Set it."""
        self.ioctl(Ioctl.SET_XSAVE, xsave)

    def get_xcrs(self) -> dict[int, int]:
        """Extended control registers by number."""
        argument = self._get(Ioctl.GET_XCRS, structs.Xcrs())
        return {entry.xcr: entry.value for entry in argument.xcrs[: argument.nr_xcrs]}

    def set_xcrs(self, values: Mapping[int, int]) -> None:
        """Set them."""
        argument = structs.Xcrs(len(values))
        for place, (xcr, value) in zip(argument.xcrs, values.items(), strict=False):
            place.xcr, place.value = xcr, value
        self.ioctl(Ioctl.SET_XCRS, argument)

    def get_msrs(self, indices: Sequence[int]) -> dict[int, int]:
        """Values by index; those from the first one on that KVM does not have are missing."""
        argument = _msrs([(index, 0) for index in indices])
        done = self.ioctl(Ioctl.GET_MSRS, argument)
        return {entry.index: entry.data for entry in argument.entries[:done]}

    def set_msrs(self, values: Mapping[int, int]) -> int:
        """Set them in order up to the first one that KVM refuses; how many it has set."""
        return self.ioctl(Ioctl.SET_MSRS, _msrs(list(values.items())))

    def get_cpuid2(self, room: int) -> list[structs.CpuidEntry2]:
        """The leaves as they were set; `OSError` E2BIG when they are more than `room`."""
        argument = structs.with_entries(structs.Cpuid2, structs.CpuidEntry2, room)()
        argument.nent = room
        self.ioctl(Ioctl.GET_CPUID2, argument)
        return list(argument.entries[: argument.nent])

    def set_cpuid2(self, entries: Sequence[structs.CpuidEntry2]) -> None:
        """What CPUID says; before the first `run`."""
        argument = structs.with_entries(structs.Cpuid2, structs.CpuidEntry2, len(entries))()
        argument.nent = len(entries)
        argument.entries[:] = entries
        self.ioctl(Ioctl.SET_CPUID2, argument)

    def get_lapic(self) -> structs.LapicState:
        """The kernel's local APIC; EINVAL without one."""
        return self._get(Ioctl.GET_LAPIC, structs.LapicState())

    def set_lapic(self, lapic: structs.LapicState) -> None:
        """Set it."""
        self.ioctl(Ioctl.SET_LAPIC, lapic)

    def get_vcpu_events(self) -> structs.VcpuEvents:
        """What is pending, in delivery or blocked."""
        return self._get(Ioctl.GET_VCPU_EVENTS, structs.VcpuEvents())

    def set_vcpu_events(self, events: structs.VcpuEvents) -> None:
        """Set it."""
        self.ioctl(Ioctl.SET_VCPU_EVENTS, events)

    def get_debugregs(self) -> structs.Debugregs:
        """DR0 to DR3, DR6, DR7."""
        return self._get(Ioctl.GET_DEBUGREGS, structs.Debugregs())

    def set_debugregs(self, debugregs: structs.Debugregs) -> None:
        """Set them."""
        self.ioctl(Ioctl.SET_DEBUGREGS, debugregs)

    def get_mp_state(self) -> int:
        """`constants.MpState`."""
        return int(self._get(Ioctl.GET_MP_STATE, structs.MpState()).mp_state)

    def set_mp_state(self, state: int) -> None:
        """Set it; only RUNNABLE without the kernel's local APIC."""
        self.ioctl(Ioctl.SET_MP_STATE, structs.MpState(state))

    def interrupt(self, vector: int) -> None:
        """Deliver an external interrupt at the next entry, without the kernel's local APIC."""
        self.ioctl(Ioctl.INTERRUPT, structs.Interrupt(vector))

    def nmi(self) -> None:
        """Deliver an NMI as soon as it is not blocked."""
        self.ioctl(Ioctl.NMI)

    def set_signal_mask(self, blocked: Iterable[int] | None) -> None:
        """The signals that are blocked while in `run`, by number; None: as outside of it."""
        if blocked is None:
            # The ioctl with a null pointer.
            self.ioctl(Ioctl.SET_SIGNAL_MASK, 0)
            return
        mask = structs.with_entries(structs.SignalMask, structs.u8, _SIGSET_BYTES)()
        mask.len = _SIGSET_BYTES
        bits = sum(1 << signal - 1 for signal in set(blocked))
        mask.entries[:] = bits.to_bytes(_SIGSET_BYTES, "little")
        self.ioctl(Ioctl.SET_SIGNAL_MASK, mask)

    def set_guest_debug(self, control: int, debugreg: Sequence[int] = ()) -> None:
        """Single step and breakpoints (`constants.GuestDebug`); `debugreg`: DR0 to DR7 for USE_HW_BP."""
        argument = structs.GuestDebug(control)
        argument.arch.debugreg[: len(debugreg)] = debugreg
        self.ioctl(Ioctl.SET_GUEST_DEBUG, argument)

    def setup_mce(self, mcg_cap: int) -> None:
        """Machine-check banks, as IA32_MCG_CAP says them."""
        self.ioctl(Ioctl.X86_SETUP_MCE, ctypes.c_uint64(mcg_cap))

    def translate(self, linear_address: int) -> structs.Translation:
        """What the guest's page tables say of an address."""
        return self._get(Ioctl.TRANSLATE, structs.Translation(linear_address))

    def get_tsc_khz(self) -> int:
        """The guest TSC's rate."""
        return self.ioctl(Ioctl.GET_TSC_KHZ)

    def set_tsc_khz(self, khz: int) -> None:
        """Set it; EINVAL when the host can't scale."""
        self.ioctl(Ioctl.SET_TSC_KHZ, khz)

    def enable_cap(self, cap: Cap | int, *args: int) -> None:
        """Switch a capability of the vCPU on."""
        argument = structs.EnableCap(int(cap))
        argument.args[: len(args)] = args
        self.ioctl(Ioctl.ENABLE_CAP, argument)

    def get_attribute(self, group: int, attribute: int) -> int:
        """A 64-bit attribute of the vCPU."""
        value = ctypes.c_uint64()
        self.ioctl(Ioctl.GET_DEVICE_ATTR, structs.DeviceAttr(0, group, attribute, ctypes.addressof(value)))
        return value.value

    def set_attribute(self, group: int, attribute: int, value: int) -> None:
        """Set it; modulo 2**64."""
        word = ctypes.c_uint64(value)
        self.ioctl(Ioctl.SET_DEVICE_ATTR, structs.DeviceAttr(0, group, attribute, ctypes.addressof(word)))

    def _get(self, number: Ioctl, argument: _Argument) -> _Argument:
        self.ioctl(number, argument)
        return argument


def _msrs(values: Sequence[tuple[int, int]]) -> Any:
    argument = structs.with_entries(structs.Msrs, structs.MsrEntry, len(values))()
    argument.nmsrs = len(values)
    for place, (index, data) in zip(argument.entries, values, strict=True):
        place.index, place.data = index, data
    return argument
