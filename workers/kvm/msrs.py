"""MSRs of a vCPU on KVM: whose an access is, the filter that makes it exit, the lists of entries and exits.

The local APIC's and the TSC's are the worker's (workers/engine/msr.c), the others KVM's.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Final

from mpvm.abi.control_block import MAX_MSR_LIST, ControlBlock
from mpvm.abi.kvm.constants import MsrFilter
from mpvm.abi.kvm.vcpu import Vcpu
from mpvm.abi.kvm.vm import MsrRange, Vm
from workers.kvm import state

_TSC: Final = 0x10
#: Not filtered: those of x2APIC. Without a local APIC KVM refuses them, which exits, too.
_OURS: Final = (
    _TSC,
    state.MSR_APIC_BASE,
    0x3B,  # IA32_TSC_ADJUST
    0x8B,  # IA32_BIOS_SIGN_ID
    0x6E0,  # IA32_TSC_DEADLINE
)
#: The MSR bitmap's parts (SDM vol. 3, 24.6.9): kind of access, first MSR, where its bits begin.
_PART_BYTES: Final = 1024
_PARTS: Final = (
    (MsrFilter.READ, 0, 0),
    (MsrFilter.READ, 0xC0000000, _PART_BYTES),
    (MsrFilter.WRITE, 0, 2 * _PART_BYTES),
    (MsrFilter.WRITE, 0xC0000000, 3 * _PART_BYTES),
)
_PART_MSRS: Final = 8 * _PART_BYTES
# FS and GS bases are loaded with their segments, x2APIC's registers not at all (SDM vol. 3, 26.4).
_NOT_LOADABLE: Final = (0xC0000100, 0xC0000101, *range(0x800, 0x900))
_NOT_OURS, _DONE = 0, 1


def exits(bitmap: bytes | None, index: int, kind: MsrFilter) -> bool:
    """Whether an access to an MSR exits by the MSR bitmap; None: there is none, and nothing does."""
    if bitmap is None:
        return False
    for part, first, at in _PARTS:
        if part is kind and first <= index < first + _PART_MSRS:
            place = index - first
            return bool(bitmap[at + place // 8] >> place % 8 & 1)
    return True


def set_filter(vm: Vm, bitmap: bytes | None) -> None:
    """Have the accesses exit that are the worker's, and those of the MSR bitmap."""
    if bitmap is None:
        vm.filter_msrs([MsrRange(index, 1) for index in _OURS])
        return
    allowed = [bytearray(0xFF ^ byte for byte in bitmap[at : at + _PART_BYTES]) for _, _, at in _PARTS]
    for (_, first, _), bits in zip(_PARTS, allowed, strict=True):
        for index in _OURS if first == 0 else ():
            bits[index // 8] &= ~(1 << index % 8)
    ranges = [
        MsrRange(first, _PART_MSRS, kind, bytes(bits))
        for (kind, first, _), bits in zip(_PARTS, allowed, strict=True)
    ]
    vm.filter_msrs(ranges, deny_others=True)


class Msrs:
    """Reads and writes as the guest's, and those of the lists; `changed` is called after a write of ours."""

    def __init__(
        self, core: ctypes.CDLL, apic: Any, vcpu: Vcpu, control: ControlBlock, changed: Callable[[], None]
    ) -> None:
        self._core = core
        self._apic = apic
        self._vcpu = vcpu
        self._control = control
        self._changed = changed
        self._value = ctypes.c_uint64()
        #: What the control block adds to the TSC.
        self.tsc_offset = 0

    def read(self, index: int, *, ask_kvm: bool) -> int | None:
        """The value; None is #GP. Of an MSR that is not ours KVM is asked if `ask_kvm`."""
        answer = self._core.apic_msr_read(self._apic, index, ctypes.byref(self._value))
        if answer == _DONE:
            return self._value.value + (self.tsc_offset if index == _TSC else 0) & (1 << 64) - 1
        if answer != _NOT_OURS or not ask_kvm:
            return None
        return self._vcpu.get_msrs([index]).get(index)

    def write(self, index: int, value: int, *, ask_kvm: bool) -> bool:
        """False is #GP."""
        if index == _TSC:
            value = value - self.tsc_offset & (1 << 64) - 1
        answer = self._core.apic_msr_write(self._apic, index, value)
        if answer == _DONE:
            if index == state.MSR_APIC_BASE:
                self._vcpu.set_msrs({index: self._control.guest.apic_base})
            self._changed()
            return True
        return answer == _NOT_OURS and ask_kvm and self._vcpu.set_msrs({index: value}) == 1

    def load(self) -> int:
        """The MSRs that an entry loads: the place of the first that can't be, from 1 on, or 0."""
        entry = self._control.entry
        for place in range(min(entry.msr_load_count, MAX_MSR_LIST)):
            msr = entry.msr_load[place]
            if msr.reserved or msr.index in _NOT_LOADABLE:
                return place + 1
            if not self.write(msr.index, msr.data, ask_kvm=True):
                return place + 1
        return 0

    def store(self) -> None:
        """The MSRs that an exit stores; 0 for one that there is not."""
        controls = self._control.exit_controls
        for place in range(min(controls.msr_store_count, MAX_MSR_LIST)):
            msr = controls.msr_store[place]
            msr.data = self.read(msr.index, ask_kvm=True) or 0
