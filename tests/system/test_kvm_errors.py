"""Bad calls of `mpvm.kvm` give the errno that KVM gives: each is made on the kernel's own, too."""

import errno
import os
from collections.abc import Callable
from typing import Any, Final

import pytest

from mpvm.kvm import Cap, MemFlag, MpState, structs
from tests.system.kvm_api import PAGE, Guest, forms, guest

_UNKNOWN: Final = 1 << 20
Call = Callable[[Guest], Any]


def _region(slot: int, flags: int, gpa: int, size: int, offset: int = 0) -> Call:
    return lambda g: g.vm.set_user_memory_region(slot, flags, gpa, size, g.memory.address + offset)


def _bad_sregs(**wrong: int) -> Call:
    def call(g: Guest) -> None:
        sregs = g.vcpu.get_sregs()
        for name, value in wrong.items():
            setattr(sregs, name, value)
        g.vcpu.set_sregs(sregs)

    return call


def _with_irqchip(call: Callable[[Any], Any]) -> Call:
    def made(g: Guest) -> None:
        with g.system.create_vm() as vm:
            vm.create_irqchip()
            call(vm)

    return made


def _closed(call: Call) -> Call:
    def made(g: Guest) -> None:
        g.close()
        call(g)

    return made


def _after_a_run(call: Call) -> Call:
    def made(g: Guest) -> None:
        g.vcpu.run()
        call(g)

    return made


def _twice(call: Call) -> Call:
    def made(g: Guest) -> None:
        call(g)
        call(g)

    return made


def _ioeventfd(fd: Callable[[], int], length: int = 4, **options: int) -> Call:
    return lambda g: g.vm.ioeventfd(fd(), 0xD0000000, length, **options)


def _eventfd() -> int:
    return os.eventfd(0)


def _no_eventfd() -> int:
    return os.open(os.devnull, os.O_RDONLY)


def _halted_interrupt(vm: Any) -> None:
    with vm.create_vcpu(0) as vcpu:
        vcpu.interrupt(0x20)


def _late_irqchip(g: Guest) -> None:
    g.vm.create_irqchip()


BAD_CALLS: Final[dict[str, tuple[Call, int]]] = {
    "a machine type that there is not": (lambda g: g.system.create_vm(77), errno.EINVAL),
    "a vCPU twice": (lambda g: g.vm.create_vcpu(0), errno.EEXIST),
    "a vCPU id beyond the last": (lambda g: g.vm.create_vcpu(1 << 20), errno.EINVAL),
    "an unaligned size": (_region(1, 0, 0x100000, 0x800), errno.EINVAL),
    "an unaligned address of the guest": (_region(1, 0, 0x100800, PAGE), errno.EINVAL),
    "an unaligned address of ours": (_region(1, 0, 0x100000, PAGE, 0x10), errno.EINVAL),
    "unknown flags of a slot": (_region(1, 1 << 31, 0x100000, PAGE), errno.EINVAL),
    "a slot beyond the last": (_region(1 << 15, 0, 0x100000, PAGE), errno.EINVAL),
    "a slot that wraps": (_region(1, 0, (1 << 64) - PAGE, 2 * PAGE), errno.EINVAL),
    "overlapping slots": (_region(1, 0, PAGE, PAGE), errno.EEXIST),
    "a slot that is moved onto another": (
        lambda g: (_region(1, 0, 0x100000, PAGE)(g), _region(1, 0, PAGE, PAGE)(g)),
        errno.EEXIST,
    ),
    "deleting no slot": (_region(1, 0, 0, 0), errno.EINVAL),
    "another size of a slot": (_region(0, 0, 0, PAGE), errno.EINVAL),
    "other memory of a slot": (_region(0, 0, 0, 16 * PAGE, PAGE), errno.EINVAL),
    "READONLY later": (_region(0, MemFlag.READONLY, 0, 16 * PAGE), errno.EINVAL),
    "the log of a slot without": (lambda g: g.vm.get_dirty_log(0, 16), errno.ENOENT),
    "the log of no slot": (lambda g: g.vm.get_dirty_log(3, 16), errno.ENOENT),
    "the log of a slot beyond the last": (lambda g: g.vm.get_dirty_log(1 << 15, 16), errno.EINVAL),
    "a TSS above 4 GiB": (lambda g: g.vm.set_tss_addr(1 << 32), errno.EINVAL),
    "an identity map after a vCPU": (lambda g: g.vm.set_identity_map_addr(0xFFFBC000), errno.EINVAL),
    "a line without irqchip": (lambda g: g.vm.irq_line(4, 1), errno.ENXIO),
    "an irqchip after a vCPU": (_late_irqchip, errno.EINVAL),
    "an irqchip twice": (_with_irqchip(lambda vm: vm.create_irqchip()), errno.EEXIST),
    "an interrupt with irqchip": (_with_irqchip(_halted_interrupt), errno.ENXIO),
    "an irqfd without irqchip": (lambda g: g.vm.irqfd(_eventfd(), 4), errno.EINVAL),
    "an irqfd of no eventfd": (_with_irqchip(lambda vm: vm.irqfd(_no_eventfd(), 4)), errno.EINVAL),
    "an irqfd of no descriptor": (_with_irqchip(lambda vm: vm.irqfd(9999, 4)), errno.EBADF),
    "an ioeventfd of odd length": (_ioeventfd(_eventfd, 3), errno.EINVAL),
    "an ioeventfd with unknown flags": (_ioeventfd(_eventfd, flags=_UNKNOWN), errno.EINVAL),
    "an ioeventfd of no descriptor": (_ioeventfd(lambda: 9999), errno.EBADF),
    "an ioeventfd of no eventfd": (_ioeventfd(_no_eventfd), errno.EINVAL),
    "an ioeventfd twice": (_twice(_ioeventfd(_eventfd)), errno.EEXIST),
    "taking away no ioeventfd": (_ioeventfd(_eventfd, flags=4), errno.ENOENT),
    "a device that there is not": (lambda g: g.vm.create_device(77), errno.ENODEV),
    "vector 256": (lambda g: g.vcpu.interrupt(256), errno.EINVAL),
    "a state without irqchip": (lambda g: g.vcpu.set_mp_state(MpState.HALTED), errno.EINVAL),
    "a state that there is not": (lambda g: g.vcpu.set_mp_state(77), errno.EINVAL),
    "the local APIC without irqchip": (lambda g: g.vcpu.get_lapic(), errno.EINVAL),
    "setting the local APIC without irqchip": (
        lambda g: g.vcpu.set_lapic(structs.LapicState()),
        errno.EINVAL,
    ),
    "paging without protection": (_bad_sregs(cr0=0x80000010), errno.EINVAL),
    "an unknown bit of CR4": (_bad_sregs(cr4=1 << 30), errno.EINVAL),
    "long mode that is active and not": (_bad_sregs(cr0=0x80000011, efer=0x100, cr4=0x20), errno.EINVAL),
    "XCR0 without x87": (lambda g: g.vcpu.set_xcrs({0: 2}), errno.EINVAL),
    "flags of the debug registers": (
        lambda g: g.vcpu.set_debugregs(structs.Debugregs(flags=1)),
        errno.EINVAL,
    ),
    "a DR7 of 33 bits": (lambda g: g.vcpu.set_debugregs(structs.Debugregs(dr7=1 << 32)), errno.EINVAL),
    "unknown flags of events": (
        lambda g: g.vcpu.set_vcpu_events(structs.VcpuEvents(flags=1 << 20)),
        errno.EINVAL,
    ),
    "256 MSRs at once": (lambda g: g.vcpu.get_msrs([0xC0000080] * 256), errno.E2BIG),
    "other CPUID after a run": (
        _after_a_run(lambda g: g.vcpu.set_cpuid2(g.system.get_supported_cpuid()[:3])),
        errno.EINVAL,
    ),
    "run after the end": (_closed(lambda g: g.vcpu.run()), errno.EBADF),
    "registers after the end": (_closed(lambda g: g.vcpu.get_regs()), errno.EBADF),
    "a slot after the end": (_closed(_region(1, 0, 0x100000, PAGE)), errno.EBADF),
    "a vCPU after the end": (_closed(lambda g: g.vm.create_vcpu(1)), errno.EBADF),
    "a VM after the end": (_closed(lambda g: g.system.create_vm()), errno.EBADF),
}


@pytest.mark.parametrize("call", BAD_CALLS)
@forms("unicorn", "kvm")
def test_a_bad_call_gives_kvms_errno(form: str, call: str) -> None:
    make, wanted = BAD_CALLS[call]
    with guest(form) as made, pytest.raises(OSError, match="KVM_") as raised:
        make(made)
    assert errno.errorcode[raised.value.errno or 0] == errno.errorcode[wanted]


@forms("unicorn", "kvm")
def test_an_unknown_extension_is_0(form: str) -> None:
    with guest(form) as made:
        assert made.system.check_extension(99999) == made.vm.check_extension(99999) == 0
        assert made.system.check_extension(Cap.USER_MEMORY) == 1


@forms("unicorn", "kvm")
def test_the_first_msr_that_is_not_there_ends_the_list(form: str) -> None:
    with guest(form) as made:
        assert list(made.vcpu.get_msrs([0xC0000080, 0x277, 0x12345678, 0x1A0])) == [0xC0000080, 0x277]
        assert made.vcpu.set_msrs({0xC0000081: 5, 0x12345678: 1, 0xC0000082: 6}) == 1
        assert made.vcpu.get_msrs([0xC0000081, 0xC0000082]) == {0xC0000081: 5, 0xC0000082: 0}
